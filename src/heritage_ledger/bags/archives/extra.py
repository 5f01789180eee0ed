"""What is said where a format needs what is not installed."""

from __future__ import annotations

from typing import NoReturn

from heritage_ledger.errors import OperationFailed

COMMAND = "pip install 'heritage-ledger[archives]'"
"""Quoted, since shells take the brackets for a pattern."""


def needs_extra(form: str) -> NoReturn:
    """Refuse a format whose library is not installed.

    Raises:
        OperationFailed: `archive-needs-extra`.
    """
    raise OperationFailed(
        "archive-needs-extra",
        "the archive needs a library that is not installed",
        expected=COMMAND,
        found=f"no library for {form}",
        advice="install the extra `archives` and try again, or unpack it yourself and adopt the folder",
    )
