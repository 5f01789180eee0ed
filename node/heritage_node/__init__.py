"""The node: the service that institutions run beside their ledger."""
