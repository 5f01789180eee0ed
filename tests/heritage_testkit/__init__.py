"""What tests share: outside data, invariants, faults, processes."""
