"""Revisions of the heads' layout, one module each; `heritage_ledger.home.migrate` runs them."""
