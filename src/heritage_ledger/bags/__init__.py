"""Bags: RFC 8493 packages, written strictly and read with explanations."""
