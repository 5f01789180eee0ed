"""Witnessing: cosign a checkpoint if the log only grew (C2SP tlog-witness v1.0.0; `specs/federation.md`).

    old 20852014
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=        a consistency proof, a hash a line
    …
                                                        an empty line
    <the signed checkpoint>

What a cosignature says: at this time the witness saw this tree, it was the largest of that log that it had
seen, and it holds everything that the witness ever cosigned. The heads that say so lie with the log's own in
`state.db` and move by compare-and-swap before the answer goes out. A witness whose heads may be old, after a
restore, cosigns nothing of a log before it has taken a floor of it (`heritage_ledger.federation.floor`); one
that lost them for good retires its keys. The time that it names for a log never goes back.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from heritage_ledger.errors import EvidenceInvalid, HeritageError, TemporaryFailure
from heritage_ledger.home.state import Head
from heritage_ledger.log.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_hash,
    parse_size,
    read_unverified,
)
from heritage_ledger.log.cosignature import cosignature_time
from heritage_ledger.log.merkle import MAX_PROOF_HASHES, check_consistency
from heritage_ledger.log.note import (
    MAX_NOTE_SIZE,
    Note,
    NoteSigner,
    Signature,
    format_note,
    open_note,
    parse_note,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.note import NoteVerifier

MAX_REQUEST_SIZE: Final = MAX_NOTE_SIZE + 64 * MAX_PROOF_HASHES
"""Bytes of a request: the proof and the checkpoint."""
SIZE_TYPE: Final = "text/x.tlog.size"
"""Media type of an answer that names the size which the witness holds."""


class CosignatureSigner(NoteSigner, Protocol):
    """A key that cosigns, and what checks its cosignatures."""

    @property
    def verifier(self) -> NoteVerifier:
        """Its public key."""


class WitnessRefusal(HeritageError):
    """A request that is not cosigned. `status` is the HTTP status that says why; `size` goes with 409."""

    def __init__(
        self, code: str, message: str, *, status: int, size: int | None = None, found: str | None = None
    ) -> None:
        super().__init__(code, message, found=found, rule="C2SP tlog-witness, add-checkpoint")
        self.status = status
        self.size = size


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request as read, nothing in it checked: the size known to the witness, the proof, the checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def format_request(request: AddCheckpoint) -> bytes:
    """Return the body of a request."""
    lines = [f"old {request.old_size}", *(base64.b64encode(value).decode() for value in request.proof)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + request.checkpoint


def parse_request(data: bytes) -> AddCheckpoint:
    """Read the body of a request; formatting the result gives `data` back.

    Raises:
        WitnessRefusal: `witness-request` (400), it has another form.
    """
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        first, *rest = head.decode("ascii").split("\n")
        old, space, size = first.partition(" ")
        proof = tuple(parse_hash(line) for line in rest)
        if not gap or (old, space) != ("old", " ") or len(proof) > MAX_PROOF_HASHES or None in proof:
            raise _malformed(repr(first[:40]))
        parse_note(checkpoint)
        return AddCheckpoint(parse_size(size), tuple(value for value in proof if value), checkpoint)
    except (UnicodeDecodeError, EvidenceInvalid) as error:
        raise _malformed(str(error)[:80]) from error


def witness_name(origin: str) -> str:
    """The key name under which the institution of the log `origin` cosigns the logs of others."""
    return f"{origin}/witness"


def witnessed_name(origin: str) -> str:
    """The name under which the state keeps what was cosigned of `origin`; no origin holds a space."""
    return f"witness {origin}"


class Witness:
    """Cosigns the checkpoints of known logs. Any thread may use it; what is promised lies in `state`."""

    def __init__(
        self,
        state: StateStore,
        signers: Sequence[CosignatureSigner],
        verifiers: Callable[[str], Sequence[NoteVerifier]],
        needs_floor: Callable[[str], bool] = lambda _: False,
    ) -> None:
        """Cosign with every one of `signers`.

        `verifiers` gives the keys of an origin, none if it is unknown; `needs_floor` says of an origin that
        its head here may be an old one, so that nothing of it is cosigned.
        """
        self._state = state
        self._signers = tuple(signers)
        self._verifiers = verifiers
        self._needs_floor = needs_floor

    def add_checkpoint(self, data: bytes, *, time: int) -> bytes:
        """Return the cosignature lines for the checkpoint of a request; the head is on the disk by then.

        Raises:
            WitnessRefusal: 400 `witness-request`, `witness-old-size`; 404 `witness-origin`; 403
                `witness-signature`; 409 `witness-conflict` with the size that is held; 422
                `witness-proof`, `witness-root`; 503 `witness-floor`.
            HeritageError: the state cannot be read or written; nothing was cosigned.
        """
        request = parse_request(data)
        checkpoint, note = self._open(request)
        if request.old_size > checkpoint.size:
            raise WitnessRefusal(
                "witness-old-size",
                "the old size is beyond the checkpoint",
                status=400,
                found=f"{request.old_size} > {checkpoint.size}",
            )
        if self._needs_floor(checkpoint.origin):
            raise WitnessRefusal(
                "witness-floor",
                "this witness was restored and does not know yet how much of the log it had cosigned",
                status=503,
                found=checkpoint.origin[:80],
            )
        name = witnessed_name(checkpoint.origin)
        head = self._state.head(name)
        known = 0 if head is None else head.size
        if request.old_size != known:
            raise _conflict(known)
        self._check_growth(request, checkpoint, head)
        return self._cosign(name, head, checkpoint, note, time)

    def _cosign(self, name: str, head: Head | None, checkpoint: Checkpoint, note: Note, time: int) -> bytes:
        """Keep the checkpoint as the newest of its log, and return the lines; the time never goes back."""
        time = max(time, 0 if head is None else self.last_time(head.checkpoint))
        ours = [Signature(one.name, one.key_id, one.sign(note.text, time)) for one in self._signers]
        kept = format_note(note.text, [*note.verified, *ours])
        self._keep(name, head, Head(checkpoint.size, checkpoint.root, kept))
        return format_note(note.text, ours)[len(note.text) + 1 :]

    def last_time(self, data: bytes) -> int:
        """The latest POSIX time at which this witness cosigned the checkpoint `data`; 0 where it did not."""
        try:
            note = open_note(data, [one.verifier for one in self._signers])
        except EvidenceInvalid:
            return 0
        return max((cosignature_time(one.payload) for one in note.verified), default=0)

    def raise_floor(
        self, data: bytes, *, prefix_root: Callable[[int], bytes], seen: Sequence[bytes], time: int
    ) -> None:
        """Cosign the checkpoint `data` as the least that is believed of its log, after a restore.

        Args:
            data: the largest checkpoint of the log that is known, signed by it.
            prefix_root: gives the root that its tree had at a smaller size.
            seen: checkpoints of the log that others hold; where this witness cosigned them, they say how late
                it was then.
            time: POSIX seconds.

        Raises:
            EvidenceInvalid: the log did not sign it.
            WitnessRefusal: what was cosigned here is not in that tree (`witness-root`): the log forked.
        """
        origin = read_unverified(data).origin
        checkpoint, note = open_checkpoint(data, self._verifiers(origin), origin)
        name = witnessed_name(origin)
        head = self._state.head(name)
        if head is not None and 0 < head.size <= checkpoint.size and prefix_root(head.size) != head.root:
            raise _other_root(prefix_root(head.size))
        latest = max((self.last_time(one) for one in seen), default=0)
        if head is None or head.size < checkpoint.size:
            self._cosign(name, head, checkpoint, note, max(time, latest))
        elif latest > self.last_time(head.checkpoint):  # it knows more, and had named a later time
            known, kept = open_checkpoint(head.checkpoint, self._verifiers(origin), origin)
            self._cosign(name, head, known, kept, latest)

    def latest(self, origin: str) -> bytes | None:
        """Return the last checkpoint of `origin` that was cosigned, with our cosignatures; None if none."""
        head = self._state.head(witnessed_name(origin))
        return None if head is None else head.checkpoint

    def _open(self, request: AddCheckpoint) -> tuple[Checkpoint, Note]:
        try:
            origin = read_unverified(request.checkpoint).origin
        except EvidenceInvalid as error:
            raise _malformed(str(error)[:80]) from error
        verifiers = self._verifiers(origin)
        if not verifiers:
            raise WitnessRefusal(
                "witness-origin", "this log is not known here", status=404, found=origin[:80]
            )
        try:
            return open_checkpoint(request.checkpoint, verifiers, origin)
        except EvidenceInvalid as error:
            raise WitnessRefusal(
                "witness-signature",
                "not every key of the log signed the checkpoint, or a signature is wrong",
                status=403,
                found=error.code,
            ) from error

    def _check_growth(self, request: AddCheckpoint, checkpoint: Checkpoint, head: Head | None) -> None:
        if head is None or head.size == 0:
            if request.proof:
                raise _bad_proof("a proof from size 0 is empty")
            return
        if checkpoint.size == head.size and checkpoint.root != head.root:
            raise _other_root(checkpoint.root)
        try:
            check_consistency(head.size, checkpoint.size, request.proof, head.root, checkpoint.root)
        except EvidenceInvalid as error:
            raise _bad_proof(error.message) from error

    def _keep(self, name: str, old: Head | None, new: Head) -> None:
        try:
            if old is None:
                self._state.create_head(name, new)
            else:
                self._state.swap_head(name, old.size, new)
        except TemporaryFailure as error:
            if error.code != "state-conflict":
                raise
            found = self._state.head(name)
            raise _conflict(0 if found is None else found.size) from error


def _other_root(root: bytes) -> WitnessRefusal:
    return WitnessRefusal(
        "witness-root",
        "another tree of this size was cosigned before: the log shows two histories",
        status=422,
        found=root.hex(),
    )


def _conflict(size: int) -> WitnessRefusal:
    return WitnessRefusal(
        "witness-conflict", "the log is known at another size", status=409, size=size, found=str(size)
    )


def _bad_proof(message: str) -> WitnessRefusal:
    return WitnessRefusal("witness-proof", f"the consistency proof does not hold: {message}", status=422)


def _malformed(found: str) -> WitnessRefusal:
    return WitnessRefusal("witness-request", "this is not an add-checkpoint request", status=400, found=found)
