"""Check a whole home without believing its index: keys, state, log, every package, and the index itself.

Nothing in the home is written, not even the side files of its databases: SQLite's are copied to a temporary
folder first, a server's are only read. What the index should hold is made anew and compared row by row.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import (
    DiskProblem,
    EvidenceMissing,
    Finding,
    HeritageError,
    KeyProblem,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.fixity.evidence import EntryReader, LogEvidence, open_evidence, open_history
from heritage_ledger.fixity.packages import Recorded, verify_package
from heritage_ledger.fixity.verdict import Outcome, Stage, Verdict, judge, not_checked
from heritage_ledger.home.durable import writing
from heritage_ledger.home.keyring import NEXT, present_keys, read_header, read_public_keys
from heritage_ledger.home.release import note_path
from heritage_ledger.home.sqlite import sidecars
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.didkey import format_multikey
from heritage_ledger.identity.history import key_digest
from heritage_ledger.index.absorb import add_content, add_event, count_tag_files
from heritage_ledger.index.selection import select
from heritage_ledger.index.store import Index
from heritage_ledger.log.cosignature import (
    Ed25519CosignatureVerifier,
    Ed25519Verifier,
    MLDSA44CosignatureVerifier,
    open_vkey,
)
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.verify import check_log
from heritage_ledger.log.witness import witness_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.events.event import Event
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import Head
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.progress import Progress

MAX_ROWS_NAMED: Final = 20
"""Wrong rows of the index that are named; a rebuild makes all of them again."""
_PACKAGE_COLUMN: Final = {"packages": 0, "files": 0, "blocks": 0, "nodes": 1}
"""Where a dumped row says which package it is of."""
EVENTS_AT_ONCE: Final = 1_000
"""Events whose rows are made in one transaction."""


def log_verifiers(home: Home, origin: str, log: LogFiles) -> tuple[NoteVerifier, ...]:
    """Return the verifiers of the log's own keys: from the key files, or from entry 0 where they are gone.

    Raises:
        HeritageError: neither can be read.
    """
    try:
        keys = read_public_keys(home)
    except KeyProblem:
        history = open_history(log.read_entry(0, 1), origin)
        return tuple(open_vkey(key) for key in history.key_at(0).log_keys)
    return (Ed25519Verifier(origin, keys.log), MLDSA44CosignatureVerifier(origin, keys.log_mldsa44))


def verify_home(
    home: Home,
    settings: Settings,
    progress: Progress,
    *,
    kubo: KuboEngine | None = None,
    names: Sequence[str] = (),
) -> Iterator[Verdict]:
    """Check everything in the home from the stored bytes; yield the home's verdict last.

    With `kubo` every block that it holds is read too. With `names` (assets, package CIDs) the other packages
    are not read, and their rows in the index not compared.

    Packages come in the order of the log, then the home itself with the stages `keys`, `log`, `state` and
    `index`.

    Raises:
        EvidenceMissing: a name matches nothing in the log (`not-found`); what is wrong with the log itself
            is told with it.
    """
    with tempfile.TemporaryDirectory(prefix="heritage-verify-") as folder:
        yield from _Inspection(home, settings, Path(folder), progress, kubo).verdicts(names)


def verify_log(home: Home, settings: Settings, progress: Progress) -> Verdict:
    """Check the log of a home from its files, and against the head in its state; nothing is written."""
    with tempfile.TemporaryDirectory(prefix="heritage-verify-") as folder:
        return _Inspection(home, settings, Path(folder), progress, None).log_verdict()


class _Inspection:
    """One deep check; `scratch` is a temporary folder outside of the home."""

    def __init__(
        self, home: Home, settings: Settings, scratch: Path, progress: Progress, kubo: KuboEngine | None
    ) -> None:
        self.home = home
        self.origin = settings.origin
        self.database = settings.database
        self.scratch = scratch
        self.progress = progress
        self.kubo = kubo
        self.log = LogFiles(home.log)
        self.recorded: list[Recorded] = []
        self.pending: list[tuple[int, Event]] = []
        self.is_in_order = True
        self.damaged: set[int] = set()
        self.unread: set[int] = set()

    def log_verdict(self) -> Verdict:
        """Check log and state alone."""
        verifiers = log_verifiers(self.home, self.origin, self.log)
        evidence = open_evidence(self.home, self.origin, verifiers)
        state, head = self._state()
        return Verdict(f"log {self.origin}", (self._log(evidence, verifiers, head, None), state))

    def verdicts(self, names: Sequence[str]) -> Iterator[Verdict]:
        """Check keys and state, then log, packages and index."""
        verifiers = log_verifiers(self.home, self.origin, self.log)
        evidence = open_evidence(self.home, self.origin, verifiers)
        state, head = self._state()
        expected = Index.open(self.scratch / "expected.db", origin=self.origin)
        with expected:
            log = self._log(evidence, verifiers, head, expected)
            for recorded in self._chosen(names, log):
                yield self._package(evidence, recorded, expected)
            stages = (
                self._keys(evidence),
                log,
                state,
                self._unrecorded(is_log_whole=log.outcome is Outcome.PASS),
                self._index(expected, is_log_whole=log.outcome is Outcome.PASS),
            )
            yield Verdict(subject=f"home of {self.origin}", stages=stages)

    def _chosen(self, names: Sequence[str], log: Stage) -> list[Recorded]:
        try:
            chosen = select(
                self.recorded, names, lambda one: (one.asset, f"{one.asset} v{one.version}", one.package_cid)
            )
        except EvidenceMissing as error:
            error.findings += log.findings  # a damaged log may have had it
            raise
        self.unread = {one.log_index for one in self.recorded} - {one.log_index for one in chosen}
        return chosen

    def _package(self, evidence: LogEvidence, recorded: Recorded, expected: Index) -> Verdict:
        def keep(graph: PackageGraph) -> None:
            add_content(expected, recorded.log_index, graph)

        self.progress.begin(f"verify {recorded.asset} version {recorded.version}")
        verdict = verify_package(self.home, evidence, recorded, self.progress, kubo=self.kubo, keep=keep)
        if any(stage.outcome is not Outcome.PASS for stage in verdict.stages[:3]):
            self.damaged.add(recorded.log_index)
        return verdict

    def _state(self) -> tuple[Stage, Head | None]:
        try:
            with StateStore.open(self._stored(self.home.state), upgrade=False) as store:
                head = store.head(self.origin)
        except TemporaryFailure as error:
            return not_checked("state", str(error)), None
        except HeritageError as error:
            return judge("state", [self._named(error, "state.db")]), None
        if head is None:
            missing = Finding(
                "log-head-missing",
                "state.db holds no head of this log",
                "state.db",
                expected=self.origin,
                advice="restore state.db from a backup; a log is never begun twice",
            )
            return judge("state", [missing]), None
        return judge("state", [], detail=f"head at {head.size} entries"), head

    def _stored(self, database: Path) -> Path | str:
        """What to open: the server, or a copy of file and side files, so that the home stays as it is."""
        if self.database is not None:
            return self.database
        for path in (database, *sidecars(database)):
            with writing(path), contextlib.suppress(FileNotFoundError):
                shutil.copyfile(path, self.scratch / path.name)
        return self.scratch / database.name

    def _named(self, error: HeritageError, name: str) -> Finding:
        return error.finding if self.database else replace(error.finding, path=name)

    def _log(
        self,
        evidence: LogEvidence,
        verifiers: Sequence[NoteVerifier],
        head: Head | None,
        expected: Index | None,
    ) -> Stage:
        self.progress.begin("verify the log", files=head.size if head else None)

        entries = EntryReader(evidence)

        def each_entry(index: int, entry: bytes) -> Iterator[Finding]:
            self.progress.advance(files=1)
            event, found = entries.open(index, entry)
            yield from found
            if event is not None and expected is not None:
                self._note(index, event, expected)

        findings = list(
            check_log(self.log, self.origin, verifiers, read_head=lambda: head, each_entry=each_entry)
        )
        findings += evidence.history_findings
        if expected is not None:
            self._flush(expected)
        checkpoint = evidence.checkpoint
        size = head.size if head is not None else None if checkpoint is None else checkpoint.size
        if size is None:
            detail = f"{entries.count} entries read, of how many is not known"
        else:
            detail = f"{size} entries" if size == entries.count else f"{entries.count} of {size} entries read"
        return judge("log", findings, detail=detail)

    def _note(self, index: int, event: Event, expected: Index) -> None:
        package = event.package
        if package is not None:
            self.recorded.append(
                Recorded(index, package.asset_id, package.version, package.cid, package.payload_cid)
            )
        self.pending.append((index, event))
        if len(self.pending) >= EVENTS_AT_ONCE:
            self._flush(expected)

    def _flush(self, expected: Index) -> None:
        """Make the rows that the index should have for the events read so far."""
        if not self.is_in_order:
            return
        try:
            with expected.begin() as writer:
                for index, event in self.pending:
                    add_event(writer, index, event, self._tag_files(index, event), self.home)
        except HeritageError:
            self.is_in_order = False  # an entry is missing or damaged; the log stage says which
        self.pending.clear()

    def _tag_files(self, index: int, event: Event) -> int:
        """Count the tag files of the event's bag; one that cannot be read is left out of the comparison."""
        try:
            return count_tag_files(self.home, event)
        except (DiskProblem, OperationFailed):
            self.damaged.add(index)
            return 0

    def _keys(self, evidence: LogEvidence) -> Stage:
        """The key files are whole, and are those that entry 0 names; their secrets are not opened."""
        findings = []
        publics = {}
        present = present_keys(self.home)
        for name in present:
            try:
                publics[name] = read_header(self.home.keys / name).public
            except KeyProblem as error:
                findings.append(replace(error.finding, path=f"keys/{name}"))
        if evidence.history is None:
            return judge("keys", findings, detail="entry 0 cannot be read, so they are compared with nothing")
        epoch = evidence.history.key_at(0)
        texts = {name: _key_text(name, self.origin, public) for name, public in publics.items()}
        for name, text in texts.items():
            promised = {key_digest(text)} & set(epoch.next_key_digests)
            in_use = {
                format_multikey(epoch.event_key),
                format_multikey(epoch.node_key),
                *epoch.log_keys,
                *epoch.witness_keys,
            }
            if not (promised if name in NEXT else text in in_use):
                findings.append(
                    Finding(
                        "key-not-in-log",
                        "the key is not the one that entry 0 names",
                        f"keys/{name}",
                        found=text[:80],
                        advice="restore the key file from a backup of this home",
                    )
                )
        return judge("keys", findings, detail=f"{len(publics)} files, secrets not opened{_away(present)}")

    def _unrecorded(self, *, is_log_whole: bool) -> Stage:
        """Find folders under `packages/` of which the log knows nothing."""
        if not is_log_whole:
            return not_checked("packages", "the log is damaged, so not all that it records is known")
        known = {self.home.package(item.asset, item.version) for item in self.recorded}
        notes = {note_path(folder) for folder in known}
        try:
            lying = [path for folder in self.home.packages.iterdir() for path in _in(folder)]
        except OSError as error:
            return not_checked("packages", f"the folder packages cannot be read: {error.strerror}")
        found = [
            Finding(
                "package-unrecorded",
                "a folder in packages/ that no event records",
                str(path.relative_to(self.home.root)),
                advice="an unclean stop may have left it: the next `heritage ingest` sets it aside",
            )
            for path in sorted(lying)
            if path not in known | notes
        ]
        return judge("packages", found, detail=f"{len(known)} recorded")

    def _index(self, expected: Index, *, is_log_whole: bool) -> Stage:
        """Compare the index row by row with what log and bags give; damaged packages are left out."""
        if not is_log_whole or not self.is_in_order:
            return not_checked("index", "the log is damaged, so what the index should hold is not known")
        try:
            with Index.open(self._stored(self.home.index), origin=self.origin, make=False) as stored:
                stored.check_intact()
                findings = list(_different_rows(self._rows(expected), self._rows(stored)))
        except TemporaryFailure as error:
            return not_checked("index", str(error))
        except HeritageError as error:
            return judge("index", [self._named(error, "index.db")])
        left_out = [f"{len(self.damaged)} damaged packages"] if self.damaged else []
        left_out += [f"{len(self.unread)} packages that were not asked for"] if self.unread else []
        detail = f"{' and '.join(left_out)} left out" if left_out else "every row compared"
        return judge("index", findings, detail=detail)

    def _rows(self, index: Index) -> Iterator[tuple[str, tuple[Any, ...]]]:
        for table, row in index.dump():
            column = _PACKAGE_COLUMN.get(table)
            if column is None or row[column] not in self.damaged | self.unread:
                yield table, row


def _different_rows(
    expected: Iterator[tuple[str, tuple[Any, ...]]], stored: Iterator[tuple[str, tuple[Any, ...]]]
) -> Iterator[Finding]:
    """Name the rows in which two sorted dumps differ, up to `MAX_ROWS_NAMED`."""
    named = 0
    for wanted, found in zip_longest(expected, stored):
        if wanted == found:
            continue
        named += 1
        table = (wanted or found or ("?",))[0]
        yield Finding(
            "index-row",
            f"a row of the table {table} is not what log and bags say",
            "index.db",
            expected=None if wanted is None else repr(wanted[1])[:160],
            found="no row" if found is None else repr(found[1])[:160],
            advice="run `heritage index rebuild`; nothing is lost",
        )
        if named == MAX_ROWS_NAMED:
            return


def _in(folder: Path) -> list[Path]:
    """The names in `folder`; a file in its place has none."""
    try:
        return list(folder.iterdir())
    except NotADirectoryError:
        return []


def _away(present: Sequence[str]) -> str:
    """Say that successors are kept elsewhere, as they may be."""
    away = sum(name not in present for name in NEXT)
    return f", {away} next keys kept elsewhere" if away else ""


def _key_text(name: str, origin: str, public: bytes) -> str:
    match name.removeprefix("next-"):
        case "log-ed25519.json":
            return Ed25519Verifier(origin, public).vkey
        case "log-mldsa44.json":
            return MLDSA44CosignatureVerifier(origin, public).vkey
        case "witness-ed25519.json":
            return Ed25519CosignatureVerifier(witness_name(origin), public).vkey
        case "witness-mldsa44.json":
            return MLDSA44CosignatureVerifier(witness_name(origin), public).vkey
        case _:
            return format_multikey(public)
