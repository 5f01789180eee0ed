"""Bags, content addresses and a signed append-only provenance log for institutions that keep things."""
