"""The federation as one institution sees it: its peers, their mirrors, and what it asks of them."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Self

from heritage_ledger.deposit.stores import open_state
from heritage_ledger.errors import EvidenceMissing, HeritageError, Severity
from heritage_ledger.federation.cards import make_card, open_card
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.clocks import note_clock
from heritage_ledger.federation.contacts import Contact, note_contact
from heritage_ledger.federation.cosigning import Cosigning
from heritage_ledger.federation.fence import ask_all, finding_about
from heritage_ledger.federation.floor import take_floor
from heritage_ledger.federation.fork_watch import ForkWatch
from heritage_ledger.federation.forks import is_frozen, stored_forks
from heritage_ledger.federation.greeting import greet
from heritage_ledger.federation.guard import Guard
from heritage_ledger.federation.mirroring import (
    Known,
    Synced,
    evidence_in,
    mirror_evidence,
    sync_mirror,
)
from heritage_ledger.federation.moving import follow
from heritage_ledger.federation.notices import CHECKPOINT_NOTICE, Notices
from heritage_ledger.federation.peers import Peers, check_key, discover
from heritage_ledger.federation.pledges import Duties, PackageHolders, package_holders
from heritage_ledger.federation.promises import Promises
from heritage_ledger.federation.protocol import Protocols
from heritage_ledger.federation.repairs import Repairs
from heritage_ledger.federation.replicas import Replicator
from heritage_ledger.federation.source import PeerBlocks
from heritage_ledger.federation.speaking import Speaker
from heritage_ledger.federation.status import status_of
from heritage_ledger.federation.witnessing import Witnesses, standing
from heritage_ledger.fixity.evidence import open_log
from heritage_ledger.fixity.home import log_verifiers
from heritage_ledger.home.keyring import open_node_keys
from heritage_ledger.home.settings_table import read_secret
from heritage_ledger.index.store import Index
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.mirror import mirrored_name
from heritage_ledger.log.policy import lint_policy
from heritage_ledger.log.witness import Witness
from heritage_ledger.progress import SILENT
from heritage_ledger.provenance.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.deposit.books import Books
    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.pledges import Pledge
    from heritage_ledger.federation.replicas import Replicated
    from heritage_ledger.federation.status import PeerStatus
    from heritage_ledger.federation.witnessing import Round, Standing
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.identity.keys import Ed25519Signer
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.log.witness import CosignatureSigner
    from heritage_ledger.progress import Progress

LONGEST_LOOK: Final = 86_400.0
"""Seconds that looking at all peers may take; each request has a deadline of its own long before."""


class Federation:
    """The peers of one home. A context, or to be closed; any thread may use it."""

    def __init__(
        self,
        home: Home,
        settings: Settings,
        books: Callable[[], Books],
        kubo: Callable[[], KuboEngine | None],
        passphrase: Callable[[], bytes] | bytes | None,
    ) -> None:
        """Nothing is opened yet; `books` and `passphrase` are asked for only to sign."""
        self.home = home
        self.settings = settings
        self._books = books
        self._kubo = kubo
        self._passphrase = passphrase
        self._signing = threading.RLock()
        self._duties = Duties()
        self._cosigned: dict[str, int] = {}
        self._known: dict[str, Known] = {}
        node = settings.node
        self.client = Client(
            allow_private=node.allow_private,
            ca_file=node.ca_file,
            proxy=node.proxy,
            proxy_login=lambda: read_secret(node.proxy_login),
        )
        self._held = contextlib.ExitStack()
        self._held.callback(self.client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and heads."""
        self._held.close()
        for name in ("state", "node_key", "guard"):
            self.__dict__.pop(name, None)

    @cached_property
    def state(self) -> StateStore:
        """The heads, opened at first use."""
        return self._held.enter_context(open_state(self.home, self.settings))

    @cached_property
    def node_key(self) -> Ed25519Signer:
        """The key that signs requests.

        Raises:
            KeyProblem: it is missing, or the passphrase wrong.
        """
        return open_node_keys(self.home, self._passphrase).node

    @property
    def log(self) -> LogFiles:
        """The own log."""
        return LogFiles(self.home.log)

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """What checks the own checkpoints."""
        return log_verifiers(self.home, self.settings.origin, self.log)

    @property
    def peers(self) -> Peers:
        """Whom this institution trusts."""
        return Peers(self.home, self.settings.origin, lambda: [one.vkey for one in self.verifiers])

    def discover(self, url: str, *, vkey: str | None = None) -> Peer:
        """Read who the node at `url` is; with `vkey` its log must be the one of that key.

        Raises:
            TemporaryFailure, UsageError, EvidenceInvalid, EvidenceMissing: as `peers.discover` says.
        """
        peer = discover(self.client, url)
        if vkey is not None:
            check_key(peer, vkey)
        return peer

    def introduced(self, card: bytes, *, vkey: str | None = None) -> Peer:
        """Return who an introduction file speaks of; with `vkey` its log must be the one of that key.

        Raises:
            EvidenceInvalid, UsageError: as `cards.open_card` says.
        """
        peer = open_card(card)
        if vkey is not None:
            check_key(peer, vkey)
        return peer

    def card(self) -> bytes:
        """The introduction file of this institution, for peers to add.

        Raises:
            UsageError: the settings do not say how its node is reached (`card-no-url`).
            EvidenceMissing, EvidenceInvalid: its log cannot be shown.
        """
        return make_card(self.log, self.verifiers, self.settings)

    def trust(self, peer: Peer) -> None:
        """Trust `peer` from now on, and begin anew with what its node speaks; see `Peers.add`."""
        self.peers.add(peer)
        self.protocols.forget(peer.origin)

    def follow(self, origin: str, url: str) -> Peer | None:
        """Know a peer by the URL that it says it moved to; None where it is known by that already.

        Raises:
            EvidenceInvalid: as `moving.follow` and `peers.discover` say.
        """
        return follow(self.client, self.peers, origin, url, mirrored=self.mirrored(origin))

    def greet(self, peer: Peer) -> Iterator[Finding]:
        """Ask a peer that was added for the first time, signed: what should be known of it."""
        yield from greet(self.speaker, peer)

    @property
    def witnesses(self) -> Witnesses:
        """The witnesses of the own log."""
        return Witnesses(
            self.home,
            self.log,
            self.state,
            self.settings.origin,
            verifiers=self.verifiers,
            policy=self.peers.policy(),
            client=self.client,
            cosigned=self._cosigned,
        )

    @cached_property
    def guard(self) -> Guard:
        """What keeps the own log from being forked; nothing is asked yet."""
        return Guard(
            self.home,
            self.settings.origin,
            state=lambda: self.state,
            peers=lambda: self.peers,
            verifiers=lambda: self.verifiers,
            client=self.client,
        )

    def witness(self, signers: Sequence[CosignatureSigner]) -> Witness:
        """This institution as a witness of its peers' logs; a log that forked is cosigned no more.

        After a restore nothing of a log is cosigned before `take_floor`.
        """

        def verifiers(origin: str) -> Sequence[NoteVerifier]:
            peer = self.peers.find(origin)
            return () if peer is None or self.is_frozen(origin) else peer.verifiers

        def needs_floor(origin: str) -> bool:
            unsure = self.state.look()
            return unsure is not None and unsure.needs_floor(origin)

        return Witness(self.state, signers, verifiers, needs_floor)

    def take_floor(self, peer: Peer, witness: Witness) -> tuple[Finding, ...]:
        """After a restore: learn how much of a peer's log this witness may have cosigned."""
        return take_floor(self.home, self.state, self.peers, peer, client=self.client, witness=witness)

    def mirrored(self, origin: str) -> int:
        """How many entries of a peer's log are mirrored here."""
        head = self.state.head(mirrored_name(origin))
        return 0 if head is None else head.size

    def is_frozen(self, origin: str) -> bool:
        """Say whether a fork of the log is known."""
        return is_frozen(self.home, origin)

    @cached_property
    def fork_watch(self) -> ForkWatch:
        """Fork proofs that others show, and files in `peers/` and `forks/` that are none."""
        return ForkWatch(self)

    def strays(self) -> list[Finding]:
        """Name the files in `peers/` and `forks/` that are none."""
        return self.fork_watch.strays()

    def standing(self) -> Standing:
        """How far the own log is witnessed, by the files of the home."""
        return standing(self.home, self.peers.policy(), self.verifiers, self.settings.origin)

    def lint(self) -> tuple[Finding, ...]:
        """Warnings about the policy."""
        operators = {
            witness.name: peer.origin
            for peer in self.peers
            for witness in self.peers.policy().witnesses
            if witness.vkey in peer.witness_keys
        }
        return tuple(lint_policy(self.peers.policy(), operators, own=self.settings.origin))

    @contextlib.contextmanager
    def reader(self, which: str) -> Iterator[Reader]:
        """The mirror of a peer's log, to look things up in; what it says is that institution's word.

        `which` may be the name of a fork proof too: then it is the second history that the log signed.

        Raises:
            EvidenceMissing: there is no such peer (`peer-unknown`), or no mirror yet (`index-missing`).
        """
        fork = next((one for one in stored_forks(self.home) if one.name == which), None)
        peer = self.peers.get(which if fork is None else fork.origin)
        place = self.home.branch_of(peer.origin, "" if fork is None else fork.name)
        with Index.open(place.index, origin=peer.origin, make=False) as index:
            others = lambda: self.logs(peer.origin)  # noqa: E731 - asked for only by some questions
            yield Reader(place, peer.origin, index, lambda: evidence_in(place, peer), others)

    def logs(self, but: str) -> Iterator[LogEvidence]:
        """Every log that is here, the own one first and then the mirrors, but for the log `but`."""
        if but != self.settings.origin:
            yield open_log(self.log, self.settings.origin, self.verifiers)
        for peer in self.peers:
            if peer.origin != but and self.home.mirror_of(peer.origin).log.is_dir():
                yield mirror_evidence(self.home, peer)

    def find(self, what: str) -> Peer | None:
        """Return a peer in whose mirror something has this name; None where there is none."""
        for peer in self.peers:
            with contextlib.suppress(EvidenceMissing), self.reader(peer.origin) as reader:
                reader.index.resolve(what)
                return peer
        return None

    def status(self) -> Iterator[PeerStatus]:
        """What is known of each peer, without asking it."""
        for peer in self.peers:
            yield status_of(self.home, self.state, peer)

    @property
    def cosigning(self) -> Cosigning:
        """What has the own checkpoint cosigned."""
        return Cosigning(self.home, self.witnesses, self.guard, self.peers.policy())

    def collect(self) -> Round | None:
        """Have the published checkpoint cosigned; None where no policy asks for that."""
        return self.cosigning.collect()

    def sync(self, *, progress: Progress = SILENT) -> Iterator[Synced]:
        """Look at every peer at once: its log into the mirror, the fork proofs that it keeps into `forks/`.

        What comes of each is yielded as it comes, so that one that is slow keeps none waiting.

        Raises:
            DiskProblem, HomeLocked, OperationFailed: this home cannot be written; after the other peers.
        """
        peers, failed = list(self.peers), None
        progress.begin("follow the peers", files=len(peers))
        for peer, said in ask_all(self.sync_peer, peers, seconds=LONGEST_LOOK):
            progress.advance(files=1)
            if isinstance(said, HeritageError):
                failed = said
            elif isinstance(said, Exception):
                size = self.mirrored(peer.origin)
                yield Synced(peer.origin, size, size, None, (finding_about(peer.origin, said),))
            else:
                if not any(one.severity is Severity.ERROR for one in said.findings):
                    note_contact(self.home.mirror_of(peer.origin), Contact(reached=int(time.time())))
                yield said
        if failed is not None:
            raise failed

    def sync_peer(self, peer: Peer, *, shown: bytes | None = None, progress: Progress = SILENT) -> Synced:
        """The same for one peer; different peers may be looked at from different threads at once.

        With `shown`, a checkpoint of its log that was cosigned here, only what that one has beyond the mirror
        is asked for, if anything.

        Raises:
            DiskProblem, HomeLocked, OperationFailed: this home cannot be written.
        """
        known = self._known.setdefault(peer.origin, Known())
        synced = sync_mirror(
            self.home,
            self.state,
            peer,
            self.client,
            settings=self.settings.node,
            known=known,
            shown=shown,
            progress=progress,
        )
        is_away = any(one.code in {"peer-away", "peer-unreachable", "peer-silent"} for one in synced.findings)
        is_asked, known.is_asked = known.is_asked, False
        if is_asked and not is_away and (known.forks is None or known.forks != known.taken):
            with contextlib.suppress(HeritageError):
                self.fork_watch.take_from(peer)
                known.taken = known.forks
        clock = note_clock(self.home.mirror_of(peer.origin), peer, self.client.clock_of(peer.url))
        return synced if clock is None else replace(synced, findings=(*synced.findings, clock))

    @cached_property
    def protocols(self) -> Protocols:
        """What each peer was seen to speak."""
        return Protocols(self.home)

    @property
    def speaker(self) -> Speaker:
        """What signs requests to peers."""
        return Speaker(self.client, lambda: self.node_key, self.settings.origin, self.protocols)

    @property
    def notices(self) -> Notices:
        """What tells peers that there is something new here."""
        return Notices(self.speaker)

    def announce(self) -> None:
        """Tell every peer that there is something new here; who does not hear it looks by itself later."""
        self.notices.tell_all(self.peers, CHECKPOINT_NOTICE)

    def spread(self, fork: StoredFork) -> None:
        """Send a fork proof to every peer."""
        self.notices.tell_all(self.peers, "fork", fork.path.read_bytes())

    def source(self, origin: str) -> PeerBlocks:
        """Blocks of packages of the log `origin`: asked of its own institution first, then of all others."""
        ordered = sorted(self.peers, key=lambda peer: peer.origin != origin)
        return PeerBlocks(self.speaker, ordered)

    # holding for others

    @cached_property
    def promises(self) -> Promises:
        """What this institution promised to hold for others, and holds."""
        return Promises(
            self.home, self.settings, self.peers, self._books, signing=self._signing, duties=self._duties
        )

    def pledge(
        self, which: str, until: datetime, *, assets: Sequence[str] = (), max_bytes: int | None = None
    ) -> Pledge:
        """Promise a peer to hold replicas of its packages; see `Promises.pledge`."""
        return self.promises.pledge(which, until, assets=assets, max_bytes=max_bytes)

    def pledges(self) -> dict[str, Pledge]:
        """The latest pledge of this institution for each log."""
        return self.promises.latest()

    def replicate(self, *, origin: str | None = None, progress: Progress = SILENT) -> Iterator[Replicated]:
        """Fetch what is pledged and not held yet, a package at a time, of all logs or of `origin`.

        Different logs may be served from different threads at once.
        """
        with self._signing:
            self._duties.follow(self._books())
        yield from Replicator(self.home, self._books(), self.peers, self._duties, self._signing).run(
            lambda peer: self.source(peer.origin), origin=origin, progress=progress
        )

    def copies(self, index: Index, what: str | None = None) -> Iterator[PackageHolders]:
        """Who holds the own packages, all or those of an asset or CID; see `package_holders`."""
        return package_holders(self.home, self.peers, self.settings, index, what)

    @cached_property
    def repairs(self) -> Repairs:
        """What compares packages with their addresses, and mends them."""
        return Repairs(self, self._books, self._kubo, signing=self._signing)

    def take_fork(self, data: bytes) -> StoredFork | None:
        """Check a fork proof that somebody sent, and keep it; None when it is about a log unknown here.

        Raises:
            EvidenceInvalid: it shows no fork.
        """
        return self.fork_watch.take(data)
