"""The façade: one institution's ledger, with the same verbs as the `heritage` command.

    from heritage_ledger import Ledger

    with Ledger.open(home) as ledger:
        receipt = ledger.ingest(folder, asset="https://museum.example/object/1887.12", agent="Ada Example")
        proof = ledger.prove(receipt.asset)

Reading needs no passphrase. Every error is a `heritage_ledger.errors.HeritageError` with a stable code.
"""

from __future__ import annotations

import contextlib
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from heritage_ledger.bags.write import parse_algorithms
from heritage_ledger.content.cid import format_cid
from heritage_ledger.deposit.adopt import Adoption, adopt
from heritage_ledger.deposit.books import Books
from heritage_ledger.deposit.copies import Copies
from heritage_ledger.deposit.engines import Engines, open_kubo
from heritage_ledger.deposit.genesis import begin_log, software
from heritage_ledger.deposit.ingest import Request, ingest, read_metadata
from heritage_ledger.deposit.naming import check_asset, check_title, new_asset, parse_agent
from heritage_ledger.deposit.stores import move_databases, open_index, open_state, rebuild_index
from heritage_ledger.federation.backup import backup
from heritage_ledger.federation.federation import Federation
from heritage_ledger.federation.recover import recover
from heritage_ledger.federation.restore import unpack
from heritage_ledger.fixity.doctor import examine
from heritage_ledger.fixity.evidence import LogEvidence, open_evidence
from heritage_ledger.fixity.home import log_verifiers, verify_home, verify_log
from heritage_ledger.fixity.packages import Recorded, verify_package
from heritage_ledger.fixity.rows import RowsCheck
from heritage_ledger.fixity.verdict import Verdict
from heritage_ledger.home.keyring import open_keys
from heritage_ledger.home.layout import Home, open_home
from heritage_ledger.home.settings import DEFAULT_CLASS, Settings, check_database, read_settings
from heritage_ledger.index.resolve import event_of, package_of, packages_named
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.cosignature import Ed25519Verifier, MLDSA44CosignatureVerifier
from heritage_ledger.log.files import LogFiles
from heritage_ledger.progress import SILENT
from heritage_ledger.provenance.prove import prove
from heritage_ledger.provenance.reader import Reader
from heritage_ledger.provenance.views import LogKey, Rebuilt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.deposit.receipt import Receipt
    from heritage_ledger.deposit.stores import DatabaseMoved
    from heritage_ledger.errors import Finding
    from heritage_ledger.events.agents import Agent
    from heritage_ledger.federation.backup import BackedUp
    from heritage_ledger.federation.recover import Recovered
    from heritage_ledger.fixity.verdict import Stage, Verdict
    from heritage_ledger.index.rows import PackageRow
    from heritage_ledger.index.store import Index
    from heritage_ledger.progress import Progress
    from heritage_ledger.provenance.trace import EventSummary, Trace
    from heritage_ledger.provenance.views import AssetSummary, PackageSummary, Shown


class Ledger:
    """One home, opened. A context, or to be closed. For one thread at a time."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        passphrase: Callable[[], bytes] | bytes | None,
        warn: Callable[[Finding], None] = lambda _: None,
    ) -> None:
        """Use `init` or `open`."""
        self.home = home
        self.settings = settings
        self._passphrase = passphrase
        self._warn = warn
        self._held = contextlib.ExitStack()

    @classmethod
    def init(
        cls,
        home: Path,
        *,
        institution: str,
        origin: str,
        passphrase: bytes | None,
        database: str | None = None,
    ) -> Self:
        """Make a new home, its keys, and the log with its genesis event.

        Args:
            home: an absent or empty folder.
            institution: its name, one line.
            origin: `<domain>/<name>/<epoch>`, never used before.
            passphrase: seals the keys; None leaves them open to whoever can read the files.
            database: `postgresql+psycopg://…` of an empty database for heads and index; SQLite without.

        Raises:
            UsageError: a name cannot be used.
            OperationFailed: the folder is a home already, or not empty.
        """
        settings = Settings(institution, origin, check_database(database))
        place = begin_log(Path(home), settings, passphrase)
        return cls(place, settings, passphrase)

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        passphrase: Callable[[], bytes] | bytes | None = None,
        warn: Callable[[Finding], None] = lambda _: None,
    ) -> Self:
        """Open the home in the folder `home`.

        `warn` is told, before a signature, what should be known of it: a clock that contradicts the log.

        Raises:
            NoHome: there is none.
            UsageError: its settings cannot be used.
        """
        place = open_home(Path(home))
        return cls(place, read_settings(place.settings), passphrase, warn)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of databases and keys."""
        self._held.close()
        for name in ("index", "books", "kubo", "federation"):
            self.__dict__.pop(name, None)

    @property
    def institution(self) -> str:
        """The institution's name."""
        return self.settings.institution

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self.settings.origin

    @property
    def log(self) -> LogFiles:
        """The log's files."""
        return LogFiles(self.home.log)

    @cached_property
    def index(self) -> Index:
        """The index, opened at first use and brought up to the published log."""
        checkpoint = self.evidence().checkpoint
        size = 0 if checkpoint is None else checkpoint.size
        return self._held.enter_context(open_index(self.home, self.settings, size))

    @cached_property
    def kubo(self) -> KuboEngine | None:
        """The daemon that holds the blocks, where the settings name one; nothing is asked of it yet."""
        if self.settings.content.engine != "kubo":
            return None
        return self._held.enter_context(open_kubo(self.settings, self.home))

    @property
    def engines(self) -> Engines:
        """What holds the blocks: its status, and moves from one engine to the other."""
        return Engines(self.home, self.settings, self.index, self.kubo)

    @cached_property
    def federation(self) -> Federation:
        """The peers of this institution; nothing is asked of them yet."""
        made = Federation(self.home, self.settings, lambda: self.books, lambda: self.kubo, self._passphrase)
        return self._held.enter_context(made)

    @property
    def copies(self) -> Copies:
        """The copies beyond this machine, at the target that the settings name."""
        return Copies(self.home, self.settings, self.index)

    @cached_property
    def books(self) -> Books:
        """Keys, log and index opened for writing; what an interrupted process left is finished first.

        Where witnesses watch the log, they are asked from here on whether this home is the newest copy of it.
        """
        guard = self.federation.guard
        guard.begin()
        keys = open_keys(self.home, self._passphrase)
        state = self._held.enter_context(open_state(self.home, self.settings))
        books = Books(
            self.home, self.settings, state, self.index, keys, software(), self.kubo, guard, self._warn
        )
        self._held.callback(books.close)
        books.finish_left()
        return books

    def evidence(self) -> LogEvidence:
        """The published log with its checkpoint and keys, read anew."""
        return open_evidence(self.home, self.origin, log_verifiers(self.home, self.origin, self.log))

    # taking in

    def ingest(
        self,
        source: Path,
        *,
        asset: str | None = None,
        title: str | None = None,
        agent: str | None = None,
        metadata: Path | None = None,
        move: bool = False,
        skip_junk: bool = False,
        skip_held: bool = False,
        algorithms: Sequence[str] = ("sha512",),
        storage_class: str = DEFAULT_CLASS,
        progress: Progress = SILENT,
    ) -> Receipt:
        """Package, address and record a folder of files, or one file; the receipt is on the disk.

        Args:
            source: the folder or file; it stays as it is unless `move` is set.
            asset: URI of the thing preserved; a second ingest of it makes its next version.
            title: one line for people.
            agent: who acted, as `Name` or `Name <URI>`; without it, this software.
            metadata: a file with one JSON object that goes into the bag as it is.
            move: remove the source files once the deposit is recorded.
            skip_junk: leave out what desktops make for themselves.
            skip_held: record nothing where the latest version of `asset`, or without `asset` any package, has
                the same payload; the receipt then names that package and is `held`, and the source stays.
            algorithms: manifests to write, in any spelling of their names; sha512 always is.
            storage_class: says in `heritage.toml` whether the bag stays on the disk beside the engine.
            progress: told what happens.

        Raises:
            UsageError, ProblemsFound, OperationFailed, DiskProblem, HomeLocked, KeyProblem, TemporaryFailure.
        """
        self.settings.keeps_bag(storage_class)
        request = Request(
            source=Path(source),
            asset=self._asset(asset) or new_asset(),
            title=self._title(title),
            actor=self._actor(agent),
            metadata=None if metadata is None else read_metadata(Path(metadata)),
            algorithms=parse_algorithms(("sha512", *algorithms)),
            move=move,
            skip_junk=skip_junk,
            skip_held=skip_held,
            is_named=asset is not None,
            storage_class=storage_class,
        )
        return ingest(self.books, request, progress)

    def adopt(
        self,
        bag: Path,
        *,
        asset: str | None = None,
        title: str | None = None,
        agent: str | None = None,
        skip_held: bool = False,
        storage_class: str = DEFAULT_CLASS,
        progress: Progress = SILENT,
    ) -> Receipt:
        """Validate a bag made elsewhere (a folder, tar, zip or 7z) and take it in unchanged.

        Without `asset` the bag's External-Identifier names it, if that is a URI. `skip_held` as for `ingest`.

        Raises:
            ProblemsFound: the bag is not valid; every reason is a finding.
            UsageError, EvidenceInvalid, OperationFailed, DiskProblem, HomeLocked, KeyProblem,
            TemporaryFailure.
        """
        self.settings.keeps_bag(storage_class)
        request = Adoption(
            Path(bag), self._asset(asset), self._title(title), self._actor(agent), storage_class, skip_held
        )
        return adopt(self.books, request, progress)

    def _asset(self, asset: str | None) -> str | None:
        if asset is not None:
            check_asset(asset)
        return asset

    def _title(self, title: str | None) -> str | None:
        if title is not None:
            check_title(title)
        return title

    def _actor(self, agent: str | None) -> Agent | None:
        return None if agent is None else parse_agent(agent, self.origin)

    # looking up

    @property
    def reader(self) -> Reader:
        """The own log, to look things up in; `federation.reader` is one over a mirror."""
        others = lambda: self.federation.logs(self.origin)  # noqa: E731 - asked for only by some questions
        return Reader(self.home, self.origin, self.index, self.evidence, others)

    def assets(self) -> Iterator[AssetSummary]:
        """Every asset with its latest version; see `Reader.assets`."""
        return self.reader.assets()

    def events(self, what: str | None = None) -> Iterator[EventSummary]:
        """All events about what `what` names, or all of the log; see `Reader.events`."""
        return self.reader.events(what)

    def show(self, what: str) -> Shown:
        """What is known about an asset, package, event or file; see `Reader.show`."""
        return self.reader.show(what)

    def trace(self, what: str) -> Trace:
        """The events and versions that something went through, each checked; see `Reader.trace`."""
        return self.reader.trace(what)

    # checking

    def verify(
        self, assets: Sequence[str] = (), *, deep: bool = False, progress: Progress = SILENT
    ) -> Iterator[Verdict]:
        """Check packages, all or those of `assets`, and yield a verdict for each; nothing is written.

        What the index says of a package is compared with its signed event, and the log is asked whether it
        took in more. With `deep` everything in the home is checked from its stored bytes, without believing
        the index; the last verdict is that of the home itself.

        Raises:
            EvidenceMissing: a name stands for no package (`not-found`).
        """
        if deep:
            yield from verify_home(self.home, self.settings, progress, kubo=self.kubo, names=assets)
            return
        evidence = self.evidence()
        rows = self._recorded(assets, evidence)
        check = RowsCheck(self.home, self.index)
        progress.begin("verify", files=sum(row.files for row in rows), size=sum(row.bytes for row in rows))
        for row in rows:
            recorded = Recorded(
                row.log_index,
                row.asset,
                row.version,
                format_cid(row.package_cid),
                format_cid(row.payload_cid),
            )
            compare = partial(check.stage, row)
            yield verify_package(self.home, evidence, recorded, progress, kubo=self.kubo, rows=compare)
        whole = {row.asset for row in rows} if assets else set()
        listed = [row for asset in whole for row in self.index.packages(asset)] if assets else rows
        yield from check.missing(evidence, listed, whole)

    def _recorded(self, names: Sequence[str], evidence: LogEvidence) -> list[PackageRow]:
        """The packages that are named, each once; all where none is. A deposit of this moment is left out."""
        size = None if evidence.checkpoint is None else evidence.checkpoint.size
        found = packages_named(self.index, names) if names else list(self.index.packages())
        return list({row.log_index: row for row in found if size is None or row.log_index < size}.values())

    def verify_log(self, *, progress: Progress = SILENT) -> Verdict:
        """Check every entry, tile and signature of the log, and that the head in the state fits."""
        return verify_log(self.home, self.settings, progress)

    def doctor(self) -> tuple[Stage, ...]:
        """Look at what surrounds the ledger: settings, disk, permissions, databases, leftovers."""
        return examine(self.home, self.settings)

    # keeping

    def backup(self, folder: Path, *, check: bool = False, progress: Progress = SILENT) -> BackedUp:
        """Bring the backup in `folder` up to this home, which may be in use; see `federation.backup`."""
        get = None if self.kubo is None else self.kubo.get
        return backup(self.federation, self.index, get, Path(folder), check=check, progress=progress)

    @classmethod
    def restore(
        cls,
        folder: Path,
        home: Path,
        *,
        passphrase: Callable[[], bytes] | bytes | None = None,
        progress: Progress = SILENT,
    ) -> Self:
        """Make a home of the backup in `folder`, and open it; `recover` says whether it may be written."""
        return cls.open(unpack(Path(folder), Path(home), progress=progress).root, passphrase=passphrase)

    def recover(self, *, newest: bool = False, progress: Progress = SILENT) -> Recovered:
        """Bring heads and log into step, and make sure that this home is the newest copy of its log.

        See `federation.recover`; with `newest` a person says so where nobody else can.
        """
        self.close()
        return recover(self.federation, newest=newest, progress=progress)

    # proving

    def prove(self, what: str, *, form: str = "heritage") -> bytes:
        """Return a proof file of one event.

        `what` is an event's id or log index; an asset, package or file stands for the event that recorded
        it last.
        `form` is `heritage` for a file with all the evidence, or `tlog-proof` for the C2SP proof alone.

        Raises:
            EvidenceMissing: nothing here has this name, or the checkpoint does not reach it.
            UsageError: several assets have what it names (`name-ambiguous`).
            EvidenceInvalid: the log is damaged; nothing is proved then.
        """
        log = self.log
        witnessed = self.home.witnessed.read_bytes() if self.home.witnessed.exists() else None
        index = event_of(self.index, what)
        return prove(
            log, log_verifiers(self.home, self.origin, log), self.origin, index, form, witnessed=witnessed
        )

    def export(
        self, asset: str, target: Path, *, version: int | None = None, progress: Progress = SILENT
    ) -> PackageSummary:
        """Write a package's bag into the new folder `target`, byte for byte, from the disk or the engine.

        `asset` may be any name of one package; without `version` the latest is meant.

        Raises:
            EvidenceMissing: there is no such package (`not-found`), or a block of it is missing.
            UsageError: packages of several assets have this name (`name-ambiguous`).
            EvidenceInvalid: the package is damaged; nothing is kept.
            OperationFailed: something lies at `target`.
        """
        row = package_of(self.index, asset, version)
        progress.begin("export", files=row.files + row.tag_files, size=row.bytes)
        self.engines.export(row, Path(target), progress)
        return self.reader.package(row)

    def checkpoint(self) -> bytes:
        """The published checkpoint: the signed size and root of the log.

        Raises:
            EvidenceMissing: none is published.
            EvidenceInvalid: it is not signed by every key of the log.
        """
        data = self.log.read_checkpoint()
        open_checkpoint(data, log_verifiers(self.home, self.origin, self.log), self.origin)
        return data

    def log_keys(self) -> tuple[LogKey, ...]:
        """The log's public keys, to hand out to whoever is to check proofs."""
        log = self.log
        return tuple(
            LogKey(_KINDS[type(verifier)], verifier.vkey)
            for verifier in log_verifiers(self.home, self.origin, log)
        )

    def log_size(self) -> int | None:
        """How many entries the published checkpoint covers; None where it cannot be trusted."""
        checkpoint = self.evidence().checkpoint
        return None if checkpoint is None else checkpoint.size

    def rebuild_index(self, *, progress: Progress = SILENT) -> Rebuilt:
        """Make the index again from bags and log; a damaged one is thrown away first.

        Raises:
            EvidenceInvalid: the log is damaged.
        """
        self.close()
        size = self.log.open_checkpoint(log_verifiers(self.home, self.origin, self.log), self.origin)[0].size
        get = None if self.kubo is None else self.kubo.get
        packages, findings = rebuild_index(self.home, self.settings, size, progress, get=get)
        return Rebuilt(size, packages, tuple(findings))

    def move_databases(self, to: str, *, progress: Progress = SILENT) -> DatabaseMoved:
        """Keep heads and index in `to` from now on: `sqlite`, or the URL of a PostgreSQL database.

        Raises:
            UsageError, EvidenceInvalid, HomeLocked, TemporaryFailure, KeyProblem, DiskProblem: as
            `heritage_ledger.deposit.stores.move_databases` says; the settings are as they were.
        """
        self.close()
        moved = move_databases(self.home, self.settings, to, progress)
        self.settings = read_settings(self.home.settings)
        return moved


_KINDS = {Ed25519Verifier: "Ed25519", MLDSA44CosignatureVerifier: "ML-DSA-44"}
