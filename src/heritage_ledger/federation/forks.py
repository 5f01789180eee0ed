"""Fork proofs of a home: kept for ever, spread, and the end of all trust in the log that they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.home.durable import write_file, writing
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.log.fork import Fork, ForkProof, check_fork, format_fork, parse_fork

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.note import NoteVerifier

SUFFIX: Final = ".fork.json"


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
    """Check a proof and keep it; a second one about the same sizes changes nothing.

    Raises:
        EvidenceInvalid: it does not show a fork (codes of `check_fork`).
        DiskProblem: it cannot be written.
    """
    fork = check_fork(proof, verifiers, origin)
    path = home.forks / _name(fork)
    with writing(path):
        home.forks.mkdir(exist_ok=True)
        if not path.exists():
            write_file(path, format_fork(proof), mode=0o644)
    return StoredFork(origin, fork.first.size, fork.second.size, path)


def stored_forks(home: Home, origin: str | None = None) -> Iterator[StoredFork]:
    """Yield the proofs that are kept, all or those of one log; a file that is none is passed over."""
    prefix = "" if origin is None else asset_folder(origin)
    for path in sorted(home.forks.glob(f"{prefix}*{SUFFIX}")) if home.forks.is_dir() else ():
        try:
            proof = parse_fork(path.read_bytes())
        except (OSError, EvidenceInvalid):
            continue
        found = proof.origin
        if origin is None or found == origin:
            sizes = path.name.removesuffix(SUFFIX).rsplit("-", 2)[1:]
            branch = home.branch_of(found, path.name.removesuffix(SUFFIX))
            yield StoredFork(found, int(sizes[0]), int(sizes[1]), path, branch.index.exists())


def is_frozen(home: Home, origin: str) -> bool:
    """Say whether a fork of the log is known; then nothing of it is taken or cosigned any more."""
    return next(stored_forks(home, origin), None) is not None


def _name(fork: Fork) -> str:
    return f"{asset_folder(fork.origin)}-{fork.first.size}-{fork.second.size}{SUFFIX}"
