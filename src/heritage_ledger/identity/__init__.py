"""Keys: who signs, how keys are written, sealed and followed through time."""
