"""The `heritage` command."""
