"""Fixity: checks that what is held is what came in."""
