"""Restore: a home again, from its keys and settings and from what others hold (`specs/federation.md`).

What an institution must keep away from the machine is small: `heritage.toml`, `keys/`, `peers/` and `policy`.
Log and packages come back from the peers, each byte checked by the institution's own keys; the log is not
begun again from nothing, but only as far as the witnesses say that it had come.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceMissing, OperationFailed
from heritage_ledger.home.durable import writing
from heritage_ledger.home.keyring import read_public_keys
from heritage_ledger.home.marks import Unsure, keep_unsure
from heritage_ledger.home.state import StateStore
from heritage_ledger.log.policy import NONE

if TYPE_CHECKING:
    from heritage_ledger.federation.federation import Federation


@dataclass(frozen=True, slots=True)
class Restored:
    """What came back: the log's size. Packages are brought back by a repair."""

    origin: str
    size: int


def _pull(federation: Federation) -> int:
    """Bring the log back from the mirrors, and make sure that the witnesses know no more of it."""
    size = federation.guard.catch_up()
    if size == 0:
        raise EvidenceMissing(
            "log-tail-missing",
            "no peer has ever seen this log",
            path=federation.settings.origin,
            expected="a mirror",
        )
    federation.guard.ensure()
    head = federation.state.head(federation.settings.origin)
    return size if head is None else head.size


def restore(federation: Federation) -> Restored:
    """Bring the log of a home back that has nothing but keys, settings, peers and policy.

    Raises:
        OperationFailed: there is a log or a state here already (`restore-not-empty`).
        EvidenceMissing: no peer is known that could give it back (`restore-no-peer`, `log-tail-missing`).
        KeyProblem: the keys are not there.
        TemporaryFailure: too few witnesses answer (`witnesses-silent`).
    """
    home, settings = federation.home, federation.settings
    read_public_keys(home)
    if home.state.exists() or (home.log / "checkpoint").exists():
        raise OperationFailed(
            "restore-not-empty",
            "there is a log in this home already",
            path=str(home.root),
            advice="`heritage peer sync` brings missing entries; `heritage repair` brings missing files",
        )
    if federation.peers.policy().quorum == NONE:
        raise EvidenceMissing(
            "restore-no-peer",
            "no peer is known that could say how far the log had come",
            path=str(home.peers),
            advice="bring back the folder peers/ and the file policy, or run `heritage peer add`",
        )
    with writing(home.root):
        for folder in (home.log, home.packages, home.quarantine, home.staging):
            folder.mkdir(exist_ok=True)
    StateStore.create(settings.kept_in(home.state), own=settings.origin).close()
    keep_unsure(home, Unsure(int(time.time()), "the home was restored from what others hold"))
    try:
        size = _pull(federation)
    except BaseException:
        federation.close()
        if settings.database is None:
            with writing(home.state):
                for left in home.root.glob("state.db*"):
                    left.unlink()
        raise
    return Restored(settings.origin, size)
