"""Institutions that witness, mirror, replicate and repair each other (`specs/federation.md`)."""
