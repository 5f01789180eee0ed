"""Revisions of the index's layout, one module each; `heritage_ledger.home.migrate` runs them."""
