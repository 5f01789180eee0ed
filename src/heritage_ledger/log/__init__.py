"""The log: an append-only Merkle tree of events in C2SP formats."""
