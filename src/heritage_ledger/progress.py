"""What long work tells while it runs; whoever shows it decides how."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told from the thread that does the work, often; must be cheap. What it raises ends the work."""

    def begin(self, phase: str, *, files: int | None = None, size: int | None = None) -> None:
        """Start a phase (`survey`, `copy`, `seal`, `record`, `verify`, …), with totals where known.

        `files` counts files, `size` bytes.
        """

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Add to what the current phase has done."""


class Silent:
    """Shows nothing."""

    def begin(self, phase: str, *, files: int | None = None, size: int | None = None) -> None:
        """Show nothing."""

    def advance(self, *, files: int = 0, size: int = 0) -> None:
        """Show nothing."""


SILENT = Silent()
