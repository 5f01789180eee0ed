"""Deposit: how files and bags come into custody."""
