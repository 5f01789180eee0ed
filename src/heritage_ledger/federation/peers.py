"""Peers: whom this institution trusts for what, one small file each (`specs/federation.md`, "Peers").

A peer is found by its URL and believed by its log: entry 0 names every key that it uses, and stands in the
tree that the log's key signs. Who holds that one key, and has compared it with the institution's own word,
needs to trust nothing else that the URL says.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import (
    EvidenceInvalid,
    EvidenceMissing,
    HeritageError,
    OperationFailed,
    UsageError,
)
from heritage_ledger.events.event import check_origin, open_event
from heritage_ledger.federation.client import check_url
from heritage_ledger.federation.reverse import is_reverse
from heritage_ledger.home.deep import read_small
from heritage_ledger.home.durable import sync_folder, write_file, writing
from heritage_ledger.home.layout import asset_folder
from heritage_ledger.home.settings import check_origin as check_origin_form
from heritage_ledger.identity.didkey import format_did_key, parse_did_key
from heritage_ledger.identity.history import KeyHistory
from heritage_ledger.log.checkpoint import open_checkpoint, read_unverified
from heritage_ledger.log.cosignature import COSIGNATURES, open_vkey
from heritage_ledger.log.files import CHECKPOINT
from heritage_ledger.log.merkle import leaf_hash
from heritage_ledger.log.mirror import FetchedLog
from heritage_ledger.log.note import MAX_NOTE_SIZE, parse_vkey
from heritage_ledger.log.policy import (
    NONE,
    Policy,
    PolicyGroup,
    PolicyLog,
    PolicyWitness,
    by_all_keys,
    format_policy,
    parse_policy,
)
from heritage_ledger.log.witness import witness_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.client import Client
    from heritage_ledger.home.layout import Home
    from heritage_ledger.log.mirror import Fetch
    from heritage_ledger.log.note import NoteVerifier

MAX_PEER_FILE: Final = 1 << 16
_MADE: Final = (
    b"# Made by `heritage peer`, and again with every change of peers. Remove this line to keep your own.\n"
)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another institution's node. `node_key` is a did:key, `genesis` the leaf hash of entry 0 in hex."""

    origin: str
    institution: str
    url: str
    log_keys: tuple[str, ...]
    witness_keys: tuple[str, ...]
    node_key: str
    genesis: str
    witness: bool = True
    """Whether this institution's checkpoints wait for its cosignatures."""

    @property
    def calls_in(self) -> bool:
        """Say whether its node has no address of its own, and calls this one."""
        return is_reverse(self.url)

    def without_witness(self) -> Peer:
        """The same institution, whose cosignatures are not waited for."""
        return replace(self, witness=False)

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """What checks the checkpoints of its log."""
        return tuple(map(open_vkey, self.log_keys))

    @property
    def public_key(self) -> bytes:
        """The 32-byte key that signs its requests."""
        return parse_did_key(self.node_key)

    @property
    def public_keys(self) -> tuple[bytes, ...]:
        """Every key that it uses, without its name: each log key, each witness key, and the node key."""
        named = map(parse_vkey, (*self.log_keys, *self.witness_keys))
        return (*(key.public for key in named), self.public_key)


def peer_fetch(client: Client, prefix: str) -> Fetch:
    """Read the files of a log that a web server gives below `prefix`."""

    def fetch(path: str, limit: int) -> bytes | None:
        return client.get(f"{prefix}/{path}", limit=limit)

    return fetch


def discover(client: Client, url: str) -> Peer:
    """Read who the node at `url` is, from its own log; every part of it is checked against the others.

    Raises:
        TemporaryFailure, UsageError, EvidenceInvalid: as `Client` says.
        EvidenceInvalid: the log is not one that begins with a genesis event and is signed by its keys.
        EvidenceMissing: there is no log at this URL (`peer-no-log`).
    """
    check_url(url)  # of a member that calls in there is a card, and no URL that a person types
    url = url.rstrip("/")
    log = FetchedLog(Path("log"), peer_fetch(client, f"{url}/log"))
    data = client.get(f"{url}/log/{CHECKPOINT}", limit=MAX_NOTE_SIZE)
    if data is None:
        raise EvidenceMissing(
            "peer-no-log", "there is no log at this URL", path=url, advice="give the URL of the node itself"
        )
    entry = log.read_entry(0, read_unverified(data).size)
    return open_peer(data, entry, url, lambda size, root: log.prove_inclusion(0, size, root))


def open_peer(
    data: bytes, entry: bytes, url: str, prove: Callable[[int, bytes], object], *, witness: bool = True
) -> Peer:
    """Return whose log a checkpoint and entry 0 are of; `prove` raises unless the entry is in that tree.

    Raises:
        EvidenceInvalid: the log is not one that begins with a genesis event and is signed by its keys.
    """
    claim = read_unverified(data)
    genesis = open_event(entry)
    check_origin(genesis, claim.origin)
    check_origin_form(claim.origin)
    history = KeyHistory.from_genesis(genesis.document, verification_key=genesis.verification_key)
    epoch = history.key_at(0)
    verifiers = tuple(map(open_vkey, epoch.log_keys))
    checkpoint, _ = open_checkpoint(data, verifiers, claim.origin)
    prove(checkpoint.size, checkpoint.root)
    peer = Peer(
        origin=claim.origin,
        institution=genesis.institution.name,
        url=url,
        log_keys=epoch.log_keys,
        witness_keys=epoch.witness_keys,
        node_key=format_did_key(epoch.node_key),
        genesis=leaf_hash(entry).hex(),
        witness=witness,
    )
    check_names(peer)
    return peer


def check_names(peer: Peer) -> None:
    """Refuse keys that are not the institution's by their names, those of its log and those of its witness.

    Who copies another's witness keys into its own genesis cannot be counted by that one's cosignatures, and
    nobody is counted before a cosignature under its own name came: that is how possession shows.

    Raises:
        EvidenceInvalid: a key bears another name (`peer-key-name`), or cannot be read (codes of `open_vkey`).
    """
    for keys, name in ((peer.log_keys, peer.origin), (peer.witness_keys, witness_name(peer.origin))):
        for vkey in keys:
            open_vkey(vkey)
            key = parse_vkey(vkey)
            is_witness = keys is peer.witness_keys
            if key.name != name or (is_witness and key.kind not in COSIGNATURES):
                raise EvidenceInvalid(
                    "peer-key-name",
                    "a key of the peer is not of the name and kind that its own would be",
                    path=peer.origin,
                    expected=f"{name}{', a key that cosigns' if is_witness else ''}",
                    found=f"{key.name[:80]}, kind {key.kind:02x}",
                    advice="do not trust this log: it claims keys that are not its own",
                    rule="specs/federation.md, Peers",
                )


def check_key(peer: Peer, vkey: str) -> None:
    """Raise `EvidenceInvalid` (`peer-key`) unless the log that was found at the URL is the one of `vkey`."""
    if vkey.strip() not in peer.log_keys:
        raise EvidenceInvalid(
            "peer-key",
            "the log at this URL is not the one of the given key",
            path=peer.url,
            expected=vkey.strip()[:80],
            found=peer.log_keys[0][:80],
            advice="ask the institution for its log's key by another way than this URL",
        )


class Peers:
    """The peer files of a home; read anew at every call, so that all processes see one truth."""

    def __init__(self, home: Home, own: str, own_keys: Callable[[], Sequence[str]]) -> None:
        """`own` is the origin of the home's own log, `own_keys` reads its verifier keys for the policy."""
        self._home = home
        self._own = own
        self._own_keys = own_keys

    def __iter__(self) -> Iterator[Peer]:
        """Yield every peer in order of origin; a file that is none is passed over (`strays` names it)."""
        found = (self._try(path) for path in self._files())
        yield from sorted((peer for peer in found if peer is not None), key=lambda peer: peer.origin)

    def strays(self) -> Iterator[Finding]:
        """Name the files among those of peers that cannot be read as one; nothing is done to them."""
        for path in self._files():
            try:
                self._open(path)
            except HeritageError as error:
                yield replace(error.finding, path=str(path))

    def _files(self) -> list[Path]:
        try:
            return sorted(self._home.peers.glob("[!.]*.json"))
        except OSError:
            return []

    def _open(self, path: Path) -> Peer:
        peer = _read(path)
        if path != self._path(peer.origin):
            raise _damaged(f"the file of {peer.origin}, under the name that it has")
        return peer

    def _try(self, path: Path) -> Peer | None:
        try:
            return self._open(path)
        except HeritageError:
            return None

    def get(self, which: str) -> Peer:
        """Return the peer that an origin or URL names.

        Raises:
            EvidenceMissing: there is none (`peer-unknown`).
        """
        for peer in self:
            if which.rstrip("/") in {peer.origin, peer.url}:
                return peer
        raise EvidenceMissing(
            "peer-unknown",
            "no peer of this name",
            path=which,
            advice="`heritage peer list` names them; `heritage peer add URL` adds one",
        )

    def find(self, origin: str) -> Peer | None:
        """Return the peer of a log, None if it is none, or its file cannot be read."""
        path = self._path(origin)
        return self._try(path) if path.is_file() else None

    def add(self, peer: Peer) -> None:
        """Trust `peer` from now on; its URL may change, its keys and its genesis never.

        The peer's file and the policy are both written, or neither is.

        Raises:
            UsageError: it is this institution itself (`peer-self`).
            EvidenceInvalid: the origin is known with another genesis or other keys (`peer-changed`); a key
                bears another's name (`peer-key-name`), or is another institution's too (`peer-key-shared`).
        """
        if peer.origin == self._own:
            raise UsageError("peer-self", "a node is no peer of itself", path=peer.url)
        known = self.find(peer.origin)
        if known is not None and (known.genesis, known.log_keys) != (peer.genesis, peer.log_keys):
            raise EvidenceInvalid(
                "peer-changed",
                "this origin is known with another beginning: it is another log",
                path=peer.origin,
                expected=known.genesis,
                found=peer.genesis,
                advice="an origin is never used again; ask the institution what happened",
            )
        check_names(peer)
        others = [one for one in self if one.origin != peer.origin]
        self._check_keys(peer, others)
        policy = self._made([*others, peer])
        with writing(self._home.peers):
            self._home.peers.mkdir(exist_ok=True)
        _replace({self._path(peer.origin): format_peer(peer)} | policy)

    def _check_keys(self, peer: Peer, others: Sequence[Peer]) -> None:
        """Refuse a key that somebody else has: which of the two owns it cannot be seen from here."""
        owners = {parse_vkey(vkey).public: self._own for vkey in self._own_keys()}
        for one in others:
            owners |= dict.fromkeys(one.public_keys, one.origin)
        for public in peer.public_keys:
            if public in owners:
                raise EvidenceInvalid(
                    "peer-key-shared",
                    "a key of the peer is another institution's too",
                    path=peer.origin,
                    expected=f"keys that {owners[public]} does not have",
                    found=public[:16].hex(),
                    advice="one of the two claims what is not its own; ask both, by another way than this",
                    rule="specs/federation.md, Peers",
                )

    def remove(self, which: str) -> Peer | None:
        """Trust a peer no more; its mirror and replicas stay, as evidence.

        Returns the peer, None where its file could not be read (it is removed by its origin).

        Raises:
            EvidenceMissing: there is none (`peer-unknown`).
        """
        path = self._path(which)
        peer = None if path.is_file() and self._try(path) is None else self.get(which)
        origin = which if peer is None else peer.origin
        _replace(self._made([one for one in self if one.origin != origin]))
        path = self._path(origin)
        with writing(path):
            path.unlink()
        sync_folder(path.parent)
        return peer

    def policy(self) -> Policy:
        """The witness policy: the file `policy` of the home; without one nobody is asked.

        A file that this software made counts an institution by all of its keys, whatever an earlier release
        wrote into it; one that is kept by hand means what it says.

        Raises:
            EvidenceInvalid: it cannot be read (codes of `parse_policy`).
        """
        path = self._home.policy
        if not path.exists():
            return self._usual([])
        with writing(path):
            data = path.read_bytes()
        policy = parse_policy(data)
        return by_all_keys(policy) if data.startswith(_MADE[:20]) else policy

    def _made(self, peers: Sequence[Peer]) -> dict[Path, bytes]:
        """The policy for these peers, by its file; nothing where the institution keeps its own."""
        path = self._home.policy
        with writing(path):
            if path.exists() and not path.read_bytes().startswith(_MADE[:20]):
                return {}
        ordered = sorted(peers, key=lambda peer: peer.origin)
        return {path: _MADE + format_policy(self._usual(ordered))}

    def _usual(self, peers: Sequence[Peer]) -> Policy:
        """Two thirds of the institutions, each by all of its keys."""
        witnesses: list[PolicyWitness] = []
        groups = []
        for peer in peers:
            if not peer.witness:
                continue
            names = [f"{peer.origin}/{at}" for at in range(len(peer.witness_keys))]
            witnesses += [
                PolicyWitness(name, vkey, f"{peer.url}/witness")
                for name, vkey in zip(names, peer.witness_keys, strict=True)
            ]
            groups.append(PolicyGroup(peer.origin, len(names), tuple(names)))
        if groups:
            members = tuple(group.name for group in groups)
            groups.append(PolicyGroup("federation", 1 + 2 * len(members) // 3, members))
        return Policy(
            tuple(PolicyLog(vkey) for vkey in self._own_keys()),
            tuple(witnesses),
            tuple(groups),
            "federation" if groups else NONE,
        )

    def _path(self, origin: str) -> Path:
        return self._home.peers / f"{asset_folder(origin)}.json"


def format_peer(peer: Peer) -> bytes:
    """Return the bytes of a peer's file."""
    document = asdict(peer)
    if peer.witness:
        del document["witness"]  # as every release before wrote and reads it
    return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def parse_peer(data: bytes) -> Peer:
    """Return the peer that a file describes.

    Raises:
        EvidenceInvalid: `peer-file`; `peer-key-name`, a key bears another institution's name.
    """
    names = {item.name for item in fields(Peer)}
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.keys() | {"witness"} != names:
            raise _damaged(", ".join(sorted(names)))
        witness = document.pop("witness", True)
        log_keys, witness_keys = (tuple(document.pop(name)) for name in ("log_keys", "witness_keys"))
        texts = (*document.values(), *log_keys, *witness_keys)
        if not all(isinstance(value, str) for value in texts) or not isinstance(witness, bool):
            raise _damaged("texts, and whether it is a witness")
        peer = Peer(**document, log_keys=log_keys, witness_keys=witness_keys, witness=witness)
        check_origin_form(peer.origin)
        if not peer.verifiers or not peer.public_keys:
            raise _damaged("one log key or more")
    except (ValueError, TypeError, RecursionError, UsageError) as error:
        raise _damaged("JSON as `heritage peer add` writes it") from error
    check_names(peer)
    return peer


def _replace(files: Mapping[Path, bytes]) -> None:
    """Write files, all or none: whatever needs room is on the disk before the first one is renamed."""
    staged = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, data in files.items():
            write_file(staged[path], data, mode=0o644, replace=True)
        for path, new in staged.items():
            with writing(path):
                new.replace(path)
    finally:
        for new in staged.values():
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
    for folder in {path.parent for path in files}:
        sync_folder(folder)


def _read(path: Path) -> Peer:
    with writing(path):
        data = read_small(path, MAX_PEER_FILE)
    if len(data) > MAX_PEER_FILE:
        raise OperationFailed("peer-file-size", "the file of a peer is too large", path=str(path))
    return parse_peer(data)


def _damaged(expected: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "peer-file",
        "the file of a peer cannot be read",
        expected=expected,
        advice="remove the peer and add it again; compare its keys with the institution's own word",
    )
