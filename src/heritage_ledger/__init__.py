"""Bags, content addresses and a signed append-only provenance log for institutions that keep things."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heritage_ledger.ledger import Ledger

__all__ = ["Ledger"]


def __getattr__(name: str) -> object:
    """Import the façade at its first use, so that a small part of the library loads only itself."""
    if name == "Ledger":
        from heritage_ledger.ledger import Ledger  # noqa: PLC0415 - the point of this function

        return Ledger
    raise AttributeError(name)
