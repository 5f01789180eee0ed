"""Provenance: traces, and proofs that a stranger checks offline."""
