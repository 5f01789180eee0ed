"""The federation as one institution sees it: its peers, their mirrors, and what it asks of them."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from heritage_ledger.deposit.stores import open_state
from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.client import Client, answer_error
from heritage_ledger.federation.forks import keep_fork, stored_forks
from heritage_ledger.federation.mirroring import mirror_of, sync_mirror
from heritage_ledger.federation.peers import Peers, check_key, discover
from heritage_ledger.federation.witnessing import Witnesses, standing
from heritage_ledger.fixity.home import log_verifiers
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.fork import MAX_FORK_SIZE, parse_fork
from heritage_ledger.log.policy import NONE, lint_policy
from heritage_ledger.log.witness import Witness
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.forks import StoredFork
    from heritage_ledger.federation.mirroring import Synced
    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.witnessing import Round, Standing
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.note import NoteSigner, NoteVerifier
    from heritage_ledger.progress import Progress

MAX_FORKS = 64
"""Fork proofs that are taken from one peer in one round."""


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """What is known here of one peer: how far its log is mirrored, and the forks that it showed."""

    peer: Peer
    size: int
    forks: tuple[StoredFork, ...]


class Federation:
    """The peers of one home. A context, or to be closed; any thread may use it, one `sync` at a time."""

    def __init__(self, home: Home, settings: Settings) -> None:
        """Nothing is opened yet."""
        self.home = home
        self.settings = settings
        self.client = Client(allow_private=settings.node.allow_private)
        self._held = contextlib.ExitStack()
        self._held.callback(self.client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and heads."""
        self._held.close()
        self.__dict__.pop("state", None)

    @cached_property
    def state(self) -> StateStore:
        """The heads, opened at first use."""
        return self._held.enter_context(open_state(self.home, self.settings))

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
        own = tuple(verifier.vkey for verifier in self.verifiers)
        return Peers(self.home, self.settings.origin, own)

    def discover(self, url: str, *, vkey: str | None = None) -> Peer:
        """Read who the node at `url` is; with `vkey` its log must be the one of that key.

        Raises:
            TemporaryFailure, UsageError, EvidenceInvalid, EvidenceMissing: as `peers.discover` says.
        """
        peer = discover(self.client, url)
        if vkey is not None:
            check_key(peer, vkey)
        return peer

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
        )

    def witness(self, signers: Sequence[NoteSigner]) -> Witness:
        """This institution as a witness of its peers' logs; a log that forked is cosigned no more."""

        def verifiers(origin: str) -> Sequence[NoteVerifier]:
            peer = self.peers.find(origin)
            return () if peer is None or self.is_frozen(origin) else peer.verifiers

        return Witness(self.state, signers, verifiers)

    def is_frozen(self, origin: str) -> bool:
        """Say whether a fork of the log is known."""
        return next(stored_forks(self.home, origin), None) is not None

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

    def status(self) -> Iterator[PeerStatus]:
        """What is known of each peer, without asking it."""
        for peer in self.peers:
            head = mirror_of(self.home, self.state, peer).head()
            forks = tuple(stored_forks(self.home, peer.origin))
            yield PeerStatus(peer, 0 if head is None else head.size, forks)

    def collect(self) -> Round | None:
        """Have the published checkpoint cosigned; None where no policy asks for that."""
        if self.peers.policy().quorum == NONE:
            return None
        return self.witnesses.collect()

    def sync(self, *, progress: Progress = SILENT) -> Iterator[Synced]:
        """Look at every peer once: its log into the mirror, the fork proofs that it keeps into `forks/`."""
        for peer in self.peers:
            synced = sync_mirror(self.home, self.state, peer, self.client, progress=progress)
            with contextlib.suppress(HeritageError):
                self._take_forks(peer)
            yield synced

    def _take_forks(self, peer: Peer) -> None:
        """Fetch the fork proofs that a peer keeps; each is checked by the keys that are held here."""
        url = f"{peer.url}/api/v1/forks"
        data = self.client.get(url)
        try:
            names = [item["file"] for item in json.loads(data or b'{"forks": []}')["forks"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise answer_error(url, "a list of forks", repr(data)[:80]) from error
        have = {fork.path.name for fork in stored_forks(self.home)}
        for name in names[:MAX_FORKS]:
            if isinstance(name, str) and name.isascii() and "/" not in name and name not in have:
                self.take_fork(self.client.get(f"{url}/{name}", limit=MAX_FORK_SIZE) or b"")

    def take_fork(self, data: bytes) -> StoredFork | None:
        """Check a fork proof that somebody sent, and keep it; None when it is about a log unknown here.

        Raises:
            EvidenceInvalid: it shows no fork.
        """
        proof = parse_fork(data)
        origin = proof.origin
        if origin == self.settings.origin:
            return keep_fork(self.home, proof, self.verifiers, origin)
        peer = self.peers.find(origin)
        return None if peer is None else keep_fork(self.home, proof, peer.verifiers, origin)
