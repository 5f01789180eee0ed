"""Events: signed JSON-LD statements whose stored bytes are their canonical bytes."""
