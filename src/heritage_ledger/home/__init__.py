"""The home: one institution's folder, its settings, lock, state and durable writes."""
