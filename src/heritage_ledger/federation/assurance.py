"""Never fork yourself: who writes makes sure that this home is not an old copy (`specs/federation.md`).

A restored backup, a cloned disk or a machine that went down hard may have forgotten entries that others have
seen; to append to such a log is to fork it. So the file `.standing` says on which disk the home was last
written, and whether that ended cleanly. Where it does not say so, the witnesses are asked for the largest
size that they hold, enough of them for the policy must answer, and what is missing is pulled from a peer's
mirror and checked by the home's own keys. Until then nothing is appended.

What is learned while a process writes counts at once: a fork proof about the own log, or a witness that holds
more than is here (`.behind`), is looked for before every append.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.federation.forks import is_frozen, keep_fork
from heritage_ledger.federation.peers import peer_fetch
from heritage_ledger.home import lock
from heritage_ledger.home.durable import write_all, write_file, writing
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror
from heritage_ledger.log.note import MAX_NOTE_SIZE
from heritage_ledger.log.policy import NONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.federation import Federation
    from heritage_ledger.home.layout import Home

_MACHINE: Final = Path("/etc/machine-id")


@contextlib.contextmanager
def assured(federation: Federation) -> Iterator[None]:
    """Let the home be written for the length of a block, once it is sure that it is not an old copy.

    Raises:
        TemporaryFailure: too few witnesses answer (`witnesses-silent`).
        EvidenceMissing: entries are missing here that no mirror gives (`log-tail-missing`).
        OperationFailed: this log has shown two histories (`log-frozen`).
    """
    _check_not_frozen(federation.home, federation.settings.origin)
    if federation.peers.policy().quorum == NONE:
        yield
        return
    path = federation.home.root / ".standing"
    with writing(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if _is_alone(descriptor):
            if not _is_clean(descriptor, federation):
                assure(federation)
            _write(descriptor, path, federation, clean=False)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if _behind(federation.home).exists():
            assure(federation)
        yield
        if _is_alone(descriptor):
            _write(descriptor, path, federation, clean=True)
    finally:
        os.close(descriptor)


def _is_alone(descriptor: int) -> bool:
    """Try to be the only process that writes this home; the others have made sure already."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _place(federation: Federation) -> dict[str, object]:
    """What changes when a home is copied or restored: the machine, and the numbers of its folders."""
    with contextlib.suppress(OSError):
        machine = _MACHINE.read_text(encoding="ascii").strip()
        return {"machine": machine, "keys": federation.home.keys.stat().st_ino}
    return {"machine": "", "keys": federation.home.keys.stat().st_ino}


def _is_clean(descriptor: int, federation: Federation) -> bool:
    try:
        found = json.loads(os.pread(descriptor, 4_096, 0))
    except (OSError, ValueError):
        return False
    return bool(found == {**_place(federation), "clean": True})


def _write(descriptor: int, path: Path, federation: Federation, *, clean: bool) -> None:
    data = json.dumps({**_place(federation), "clean": clean}).encode() + b"\n"
    with writing(path):
        os.ftruncate(descriptor, 0)
        write_all(descriptor, data, 0)
        os.fsync(descriptor)


def check_standing(home: Home, origin: str) -> None:
    """Refuse to append to a log that is known to be forked or behind; asked before every append.

    Raises:
        OperationFailed: it has shown two histories (`log-frozen`), or a witness holds more (`log-behind`).
    """
    _check_not_frozen(home, origin)
    if _behind(home).exists():
        raise OperationFailed(
            "log-behind",
            "a witness has cosigned entries of this log that are not here, so nothing is appended",
            path=origin,
            advice="this home is an old copy, or a second one is in use; run the command again: it looks for "
            "what is missing in the mirrors",
        )


def learn_behind(federation: Federation, said: Finding) -> None:
    """Stop appending because a witness holds more than is here, and try to bring it in at once."""
    data = json.dumps({"witness": said.path, "found": said.found}).encode() + b"\n"
    write_file(_behind(federation.home), data, mode=0o600, replace=True)
    with contextlib.suppress(HeritageError):
        assure(federation)


def _behind(home: Home) -> Path:
    return home.root / ".behind"


def _check_not_frozen(home: Home, origin: str) -> None:
    if is_frozen(home, origin):
        raise OperationFailed(
            "log-frozen",
            "this institution's own log has shown two histories; nothing more is appended to it",
            path=origin,
            advice="find out with the fork proof in forks/ which copy of the home is the true one; a new log "
            "begins with the next epoch of the origin",
        )


def assure(federation: Federation) -> int:
    """Ask the witnesses how far this log has come, bring in what is missing here, and return the size.

    Raises:
        TemporaryFailure, EvidenceMissing, OperationFailed: as `assured` says.
    """
    witnesses, policy = federation.witnesses, federation.peers.policy()
    largest, silent, answered = 0, [], set()
    for url, said in witnesses.sizes():
        if isinstance(said, HeritageError):
            silent.append(f"{url} ({said.code})")
            continue
        largest = max(largest, said)
        answered |= {one.name for one in policy.witnesses if one.url == url}
    if not policy.is_met(answered):
        raise TemporaryFailure(
            "witnesses-silent",
            "too few witnesses say how far this log has come, so nothing is appended",
            expected=f"answers of the quorum {policy.quorum}",
            found=f"no answer of {', '.join(silent)}",
            advice="run the same command again when they can be reached; reading works meanwhile",
        )
    return _catch_up(federation, largest)


def _catch_up(federation: Federation, largest: int) -> int:
    origin, home = federation.settings.origin, federation.home
    mirror = Mirror(home.log, federation.state, origin, federation.verifiers, name=origin)
    with lock.hold(home.lock), federation.state.hold():
        for peer in federation.peers:
            prefix = f"{peer.url}/mirrors/{origin}"
            try:
                data = federation.client.get(f"{prefix}/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
                if data is not None:
                    mirror.pull(FetchedLog(home.log, peer_fetch(federation.client, prefix)), data)
            except ForkFound as error:
                keep_fork(home, error.proof, federation.verifiers, origin)
                _check_not_frozen(home, origin)
            except HeritageError:
                continue  # another mirror may give it
        head = mirror.head()
    size = 0 if head is None else head.size
    if size < largest:
        raise EvidenceMissing(
            "log-tail-missing",
            "witnesses have cosigned entries that are not here, and no mirror gives them",
            path=origin,
            expected=f"{largest} entries",
            found=f"{size} entries",
            advice="bring the newest copy of this home back, or wait for the peer that mirrors it",
        )
    with writing(_behind(home)):
        _behind(home).unlink(missing_ok=True)
    return size
