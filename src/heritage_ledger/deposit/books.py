"""The books of a home opened for writing: keys, log, index and the clock, kept in step with each other."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Protocol

from heritage_ledger.deposit.release import release
from heritage_ledger.deposit.staging import Claim, finish_left, is_left, settle_left
from heritage_ledger.errors import EvidenceInvalid, TemporaryFailure
from heritage_ledger.events.agents import Agent, AgentKind, institution_id
from heritage_ledger.events.chronology import check_clock
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.home import lock
from heritage_ledger.home.marks import keep_unsure, read_unsure
from heritage_ledger.home.settings import check_not_moved
from heritage_ledger.index.absorb import absorb, add_content_from_bag, is_complete
from heritage_ledger.log.append import Appender
from heritage_ledger.log.cosignature import (
    Ed25519CosignatureSigner,
    Ed25519NoteSigner,
    MLDSA44CosignatureSigner,
    claimed_times,
)
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.note import parse_note
from heritage_ledger.log.witness import witness_name
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.errors import Finding
    from heritage_ledger.home.keyring import Keyring, NodeKeyring
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.index.store import Index
    from heritage_ledger.log.note import NoteSigner


_TRIES: Final = 5
"""How often the guard is asked again because its answer grew old while the lock was waited for."""


class Guard(Protocol):
    """Keeps the log from being forked (`heritage_ledger.federation.guard`)."""

    def begin(self) -> None:
        """Begin to make sure, in the background."""

    def ensure(self) -> None:
        """Make sure that this home is the newest copy of its log; raises where that is not known."""

    def holds(self) -> bool:
        """Say whether it is still sure, under the append lock."""


def log_signers(origin: str, keys: Keyring) -> tuple[NoteSigner, ...]:
    """Who signs every checkpoint: Ed25519 because every reader knows it, ML-DSA-44 to outlive it."""
    return (
        Ed25519NoteSigner.of(origin, keys.log),
        MLDSA44CosignatureSigner.of(origin, keys.log_mldsa44),
    )


def witness_signers(
    origin: str, keys: NodeKeyring
) -> tuple[Ed25519CosignatureSigner, MLDSA44CosignatureSigner]:
    """Who cosigns the checkpoints of others, for the same two reasons."""
    name = witness_name(origin)
    return (
        Ed25519CosignatureSigner.of(name, keys.witness),
        MLDSA44CosignatureSigner.of(name, keys.witness_mldsa44),
    )


def _ignore(_: Finding) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that a deposit writes to."""

    home: Home
    settings: Settings
    state: StateStore
    index: Index
    keys: Keyring
    software: Agent
    kubo: KuboEngine | None
    guard: Guard
    warn: Callable[[Finding], None] = _ignore
    """Told, before a signature, what should be known of it; each code once."""
    appender: Appender = field(init=False)
    log: LogFiles = field(init=False)
    _warned: set[str] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Open the log for appending."""
        signers = log_signers(self.settings.origin, self.keys)
        appender = Appender(self.home.log, self.state, self.settings.origin, signers)
        object.__setattr__(self, "appender", appender)
        object.__setattr__(self, "log", LogFiles(self.home.log))

    def close(self) -> None:
        """Let go of the log; state and index belong to the caller."""
        self.appender.close()

    @property
    def institution(self) -> Agent:
        """The institution, as its events name it."""
        return Agent(institution_id(self.settings.origin), AgentKind.ORGANIZATION, self.settings.institution)

    def moment(self) -> datetime:
        """What this machine's clock says."""
        return datetime.now(UTC)

    def now(self) -> str:
        """The time, as events write it."""
        return format_timestamp(self.moment())

    def time(self) -> int:
        """The time in POSIX seconds, as checkpoint signatures write it."""
        return int(self.moment().timestamp())

    def check_clock(self) -> tuple[Finding, ...]:
        """Return, and tell, a warning where the clock contradicts the log and its witnesses.

        The caller holds the append lock, and is about to sign. Nothing is refused: a deposit that waits for a
        clock may never be made.
        """
        findings = check_clock(self.moment(), self._known_times())
        for finding in findings:
            if finding.code not in self._warned:
                self._warned.add(finding.code)
                self.warn(finding)
        return findings

    def _known_times(self) -> Iterator[tuple[str, str | int]]:
        """What the last entry, the head's checkpoint and the last witnessed one say of the time."""
        size = self.size()
        last = self.index.event(size - 1) if size else None
        if last is not None:
            yield f"entry {last.log_index}", last.created
        head = self.state.head(self.settings.origin)
        notes = [] if head is None else [head.checkpoint]
        with contextlib.suppress(OSError):
            notes.append(self.home.witnessed.read_bytes())
        for note in notes:
            with contextlib.suppress(EvidenceInvalid):  # who judges the log says so
                yield from claimed_times(parse_note(note).signatures)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the append lock: the lock file, and the lock in the database where that is a server.

        It is sure then that this home is the newest copy of its log; witnesses are waited for without the
        lock.

        Raises:
            HomeLocked: another process kept it (`home-locked`).
            OperationFailed: the databases were moved since these books were opened (`database-moved`), or the
                log must not grow (`log-frozen`, `log-behind`).
            TemporaryFailure: the server does not answer, or too few witnesses do (`witnesses-silent`).
            EvidenceMissing: this home may be an old copy (`log-unsure`, `log-tail-missing`).
        """
        for _ in range(_TRIES):
            self.guard.ensure()
            with lock.hold(self.home.lock, passing=True), self.state.hold():
                if self.guard.holds():
                    check_not_moved(self.home.settings, self.settings)
                    yield
                    return
        raise TemporaryFailure(
            "witnesses-silent",
            "what the witnesses said grew old each time before it was this process's turn to write",
            path=self.settings.origin,
            advice="run the same command again",
        )

    def settle(self) -> None:
        """Bring log, index and staging into step after whatever happened before.

        The caller holds the append lock.
        """
        size = self.appender.recover().size
        absorb(self.index, self.log, self.home, size)
        settle_left(self.home, self.is_recorded)

    def finish_left(self) -> None:
        """Add the file rows that are missing because a process died after its deposit was recorded.

        Needs the append lock only for a moment: a sealed bag does not change while it is read. Where nothing
        was left, nobody is waited for.
        """
        if not is_left(self.home):
            return
        with self.exclusive():
            self.settle()
        finish_left(self.home, self._complete)

    def catch_up(self) -> None:
        """Bring the index up to the head after an append that ended between both; else nobody is waited for.

        Whoever asks the index what was recorded already, before recording it, calls this first.

        Raises:
            HeritageError: as `exclusive`.
        """
        if self.index.absorbed() < self.size():
            with self.exclusive():
                self.settle()

    def _complete(self, claim: Claim) -> None:
        row = self.index.package(claim.asset, claim.version)
        if row is None:
            return
        if not is_complete(self.index, row.log_index):
            get = None if self.kubo is None else self.kubo.get
            add_content_from_bag(self.index, self.home, row, SILENT, get=get)
        if claim.release and self.kubo is not None:
            release(self.home, self.kubo, row)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the next event notes of this home: the word of a person that it is the newest copy."""
        unsure = read_unsure(self.home)
        return () if unsure is None or unsure.newest is None else (unsure.newest,)

    def noted(self) -> None:
        """Say that an event with the notes is in the log."""
        unsure = read_unsure(self.home)
        if unsure is not None and unsure.newest is not None:
            keep_unsure(self.home, replace(unsure, newest=None))

    def size(self) -> int:
        """How many entries the log has."""
        head = self.state.head(self.settings.origin)
        assert head is not None
        return head.size

    def next_version(self, asset: str) -> int:
        """The version that the next package of `asset` gets."""
        row = self.index.asset(asset)
        return 1 if row is None else row.latest_version + 1

    def is_recorded(self, asset: str, version: int) -> bool:
        """Say whether the log has an event for this version."""
        return self.index.package(asset, version) is not None
