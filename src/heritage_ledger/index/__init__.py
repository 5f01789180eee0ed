"""The index: SQL tables that can be rebuilt from bags and log at any time."""
