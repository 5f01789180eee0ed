"""Fork proofs of a home: kept for ever, spread, and the end of all trust in the log that they show.

One proof a log is enough, so one is kept: without the signatures of strangers, which anyone may add to a
checkpoint by the megabyte. Which logs are frozen is read from the names of the files; each file is parsed
once, and again only when it changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, Finding
from heritage_ledger.federation.client import answer_error
from heritage_ledger.home.deep import read_small
from heritage_ledger.home.durable import write_file, writing
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.fork import MAX_FORK_SIZE, Fork, ForkProof, check_fork, format_fork, parse_fork
from heritage_ledger.log.note import format_note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.note import NoteVerifier

SUFFIX: Final = ".fork.json"
FORKS_HEADER: Final = "heritage-forks"
"""With its checkpoint a node says one word for the fork proofs that it keeps, another one for others."""
NO_FORKS: Final = "none"
"""The word of a node that keeps no fork proof."""
_SIZE: Final = "(?:0|[1-9][0-9]{0,18})"
_NAME: Final = re.compile(rf"(?P<log>.+)-(?P<first>{_SIZE})-(?P<second>{_SIZE}){re.escape(SUFFIX)}")


@dataclass(frozen=True, slots=True)
class StoredFork:
    """A fork proof in `forks/`: the log that it accuses, the sizes of both trees, and the file.

    `is_readable` says whether the entries of the second history are here too, beside those of the mirror.
    """

    origin: str
    first_size: int
    second_size: int
    path: Path
    is_readable: bool = False

    @property
    def name(self) -> str:
        """What the proof is called; its second history is read under this name."""
        return self.path.name.removesuffix(SUFFIX)


def keep_fork(home: Home, proof: ForkProof, verifiers: Sequence[NoteVerifier], origin: str) -> StoredFork:
    """Check a proof and keep it, unless one about this log is kept already: that one is returned then.

    Raises:
        EvidenceInvalid: it does not show a fork (codes of `check_fork`).
        DiskProblem: it cannot be written.
    """
    fork = check_fork(proof, verifiers, origin)
    kept = next(stored_forks(home, origin), None)
    if kept is not None:
        return kept
    path = home.forks / _name(fork)
    with writing(path):
        home.forks.mkdir(exist_ok=True)
    # a file of this name that is no proof, or it would be kept: it gives way
    write_file(path, format_fork(_signed_by_log(proof, verifiers, origin)), mode=0o644, replace=True)
    return StoredFork(origin, fork.first.size, fork.second.size, path)


def take_proof(home: Home, data: bytes, keys: Callable[[str], Sequence[NoteVerifier]]) -> StoredFork | None:
    """Check a proof that somebody sent, and keep it; None where `keys` knows none of the log's keys.

    Raises:
        EvidenceInvalid: it is no proof, or does not show a fork.
        DiskProblem: it cannot be written.
    """
    proof = parse_fork(data)
    verifiers = keys(proof.origin)
    return keep_fork(home, proof, verifiers, proof.origin) if verifiers else None


def parse_hints(url: str, data: bytes) -> dict[str, str]:
    """Return by origin the name of a proof that a peer lists at `url`: a hint what to ask it for, no more.

    Raises:
        EvidenceInvalid: it is no list of proofs (`peer-answer`).
    """
    try:
        hints = {item["origin"]: item["file"] for item in json.loads(data)["forks"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise answer_error(url, "a list of forks", repr(data)[:80]) from error
    return {
        origin: name
        for origin, name in hints.items()
        if isinstance(name, str) and name.isascii() and name.isprintable() and not set(name) & set("/?# ")
    }


def word_of(forks: Iterable[StoredFork]) -> str:
    """One word for some fork proofs, the same for the same ones."""
    names = sorted(fork.path.name for fork in forks)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:32] if names else NO_FORKS


def _signed_by_log(proof: ForkProof, verifiers: Sequence[NoteVerifier], origin: str) -> ForkProof:
    """The same proof with the signatures of the log alone: they are what it rests on."""

    def stripped(data: bytes) -> bytes:
        _, note = open_checkpoint(data, verifiers, origin)
        return format_note(note.text, note.verified)

    return ForkProof(stripped(proof.first), stripped(proof.second), proof.prefix_root, proof.hashes)


def stored_forks(home: Home, origin: str | None = None) -> Iterator[StoredFork]:
    """Yield the proofs that count, of all logs or one; a file that is none is passed over.

    One for each log, and those beside it (older homes kept many) whose second history can be read here.
    """
    found: set[str] = set()
    wanted = None if origin is None else asset_folder(origin)
    for path in _files(home):
        match = _NAME.fullmatch(path.name)
        if match is None or wanted not in {None, match["log"]}:
            continue
        log = match["log"]
        known = _origin_of(path)
        if known is None or asset_folder(known) != log or origin not in {None, known}:
            continue
        is_readable = home.branch_of(known, path.name.removesuffix(SUFFIX)).index.exists()
        if log not in found or is_readable:
            found.add(log)
            yield StoredFork(known, int(match["first"]), int(match["second"]), path, is_readable)


def is_frozen(home: Home, origin: str) -> bool:
    """Say whether a fork of the log is known; then nothing of it is taken or cosigned any more."""
    return next(stored_forks(home, origin), None) is not None


def stray_forks(home: Home) -> Iterator[Finding]:
    """Name what lies among the proofs and is none; nothing is done to it."""
    for path in _files(home):
        match = _NAME.fullmatch(path.name)
        known = None if match is None else _origin_of(path)
        if match is None or known is None or asset_folder(known) != match["log"]:
            yield Finding(
                "fork-file",
                "a file among the fork proofs is none, and is passed over",
                path=str(path),
                expected=f"a fork proof, named LOG-SIZE-SIZE{SUFFIX}",
                advice="look at it, and move it elsewhere: it says nothing about any log",
            )


def _files(home: Home) -> list[Path]:
    try:
        return sorted(path for path in home.forks.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    except OSError:
        return []


def _origin_of(path: Path) -> str | None:
    """Return the log that a proof accuses; None where the file is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _parsed_origin(os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=1024)
def _parsed_origin(path: str, size: int, changed: int, inode: int) -> str | None:  # noqa: ARG001 - the key
    if size > MAX_FORK_SIZE:
        return None
    try:
        return parse_fork(read_small(path, MAX_FORK_SIZE)).origin
    except (OSError, EvidenceInvalid):
        return None


def _name(fork: Fork) -> str:
    return f"{asset_folder(fork.origin)}-{fork.first.size}-{fork.second.size}{SUFFIX}"
