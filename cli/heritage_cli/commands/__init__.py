"""Command groups of `heritage`, one file each."""
