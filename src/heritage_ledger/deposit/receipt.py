"""What a deposit gives back: where the bag lies, how it is addressed, which event records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from heritage_ledger.errors import Finding


@dataclass(frozen=True, slots=True)
class Receipt:
    """One acknowledged deposit: everything named here is on the disk and in the log.

    `files` and `size` (bytes) count the payload; `shared` counts payload bytes that lie on the disk once,
    together with an earlier version; `findings` are warnings met on the way; `checkpoint` is the signed
    note of the log that includes the event. Where `released` is set the bag has left `bag_path`: the engine
    alone holds it. Where `held` is set nothing was recorded: the same payload was there already, as what is
    named here.
    """

    asset: str
    version: int
    title: str | None
    package_cid: str
    payload_cid: str
    log_index: int
    event_id: str
    bag_path: Path
    files: int
    size: int
    shared: int
    findings: tuple[Finding, ...]
    checkpoint: bytes
    released: bool = False
    held: bool = False
