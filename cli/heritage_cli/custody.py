"""What `ingest` and `adopt` share: who acted, and the receipt."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from heritage_cli import text
from heritage_cli.escape import printable
from heritage_cli.output import jsonable
from heritage_cli.session import Ending

if TYPE_CHECKING:
    from heritage_cli.session import Session
    from heritage_ledger.deposit.receipt import Receipt

AGENT_VARIABLE: Final = "HERITAGE_AGENT"
_IN_VERDICT: Final = (
    "asset",
    "version",
    "title",
    "package_cid",
    "payload_cid",
    "log_index",
    "event_id",
    "bag_path",
    "released",
    "held",
    "files",
    "size",
    "shared",
)


def acting(named: str | None) -> str | None:
    """Return who acts: `--agent`, else HERITAGE_AGENT, else nobody but this software.

    The login name is not taken: it says who owns a terminal, not who answers for a deposit.
    """
    return named if named is not None else os.environ.get(AGENT_VARIABLE) or None


def give_receipt(session: Session, receipt: Receipt) -> Ending:
    """Give the receipt, and return the ending that carries it."""
    if not receipt.held:
        session.kept = (
            f"version {receipt.version} of {receipt.asset} is recorded in log entry {receipt.log_index}"
        )
    session.clear()
    output = session.output
    untold = tuple(finding for finding in receipt.findings if finding not in session.warned)
    if output.as_json:
        for finding in untold:
            output.line("finding", finding)
    output.result("receipt", receipt, text.receipt_lines(replace(receipt, findings=untold), output))
    output.talk(f"next: heritage verify {printable(receipt.asset)}")
    fields = {name: getattr(receipt, name) for name in _IN_VERDICT}
    return Ending(fields=jsonable(fields) | {"findings": 0, "warnings": len(receipt.findings)})
