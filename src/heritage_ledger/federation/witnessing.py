"""Collecting cosignatures for one's own checkpoint (`specs/federation.md`, "Witnessing").

No key is needed: whoever can write the home can ask. What comes back is checked by the keys that the policy
names, added to the published checkpoint, and counted; an event is `witnessed` as soon as the checkpoint that
covers it meets the policy, and `pending` until then.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError, OperationFailed
from heritage_ledger.federation.client import Answer, answer_error, check_status
from heritage_ledger.federation.fence import ask_all, finding_about
from heritage_ledger.home import lock
from heritage_ledger.home.durable import write_file, writing
from heritage_ledger.log.append import publish_cosigned
from heritage_ledger.log.checkpoint import Checkpoint, open_checkpoint, parse_size
from heritage_ledger.log.note import MAX_NOTE_SIZE, Note, Signature, format_note, open_note
from heritage_ledger.log.policy import NONE
from heritage_ledger.log.witness import SIZE_TYPE, AddCheckpoint, format_request

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from heritage_ledger.errors import Finding
    from heritage_ledger.federation.client import Client
    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.state import StateStore
    from heritage_ledger.log.files import LogFiles
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.log.policy import Policy

ROUND_SECONDS: Final = 60.0
"""How long one round waits for witnesses; who is slower is told of, and asked again in the next one."""
TRIES: Final = 4
"""Answers of 409 that are followed: others may ask for the same log between two of our requests."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the log is witnessed: `size` entries of the newest checkpoint that meets the policy.

    `cosigned` has the witnesses of the policy that cosigned it, with the POSIX seconds they claim. Without a
    quorum in the policy `required` is False, and nothing waits for anyone. `findings` say why what was
    witnessed cannot be read; `size` is 0 then, for nothing can be counted on.
    """

    required: bool
    size: int
    cosigned: Mapping[str, int]
    findings: tuple[Finding, ...] = ()

    def says(self, index: int) -> str:
        """Return `witnessed`, `pending`, or `unwitnessed` where no policy asks for witnesses."""
        if not self.required:
            return "unwitnessed"
        return "witnessed" if index < self.size else "pending"


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of asking did: the size that was shown, who cosigned, and what went wrong."""

    size: int
    cosigned: tuple[str, ...]
    is_met: bool
    findings: tuple[Finding, ...]


@dataclass
class Showing:
    """One checkpoint on its way to the witnesses `missing` that have not cosigned it, by their URLs."""

    checkpoint: Checkpoint
    note: Note
    missing: tuple[str, ...]
    lines: dict[tuple[str, bytes], Signature]
    turn: threading.Lock = field(default_factory=threading.Lock)


class Witnesses:
    """The witnesses that a policy names for the log `origin`, asked over `client`."""

    def __init__(
        self,
        home: Home,
        log: LogFiles,
        state: StateStore,
        origin: str,
        *,
        verifiers: Sequence[NoteVerifier],
        policy: Policy,
        client: Client,
        cosigned: dict[str, int] | None = None,
    ) -> None:
        """`verifiers` are those of the log's own keys; `cosigned` remembers sizes by the witness's URL."""
        self._home = home
        self._log = log
        self._state = state
        self._origin = origin
        self._verifiers = tuple(verifiers)
        self._policy = policy
        self._client = client
        self._cosigned = {} if cosigned is None else cosigned

    @property
    def urls(self) -> tuple[str, ...]:
        """Where witnesses are asked; one URL may speak for several keys."""
        return tuple(dict.fromkeys(one.url for one in self._policy.witnesses if one.url is not None))

    def collect(self, *, seconds: float = ROUND_SECONDS) -> Round:
        """Show the published checkpoint to every witness that has not cosigned it, and publish what they say.

        One that hangs keeps nobody from being witnessed, and this for `seconds` at most.

        Raises:
            EvidenceInvalid, EvidenceMissing: the log itself cannot be read.
        """
        showing = self.show()
        findings = []
        for url, said in ask_all(lambda url: self.ask(url, showing), showing.missing, seconds=seconds):
            if isinstance(said, Exception):
                findings.append(_about(url, said))
        return self.round(showing, findings)

    def _open(self, data: bytes) -> tuple[Checkpoint, Note]:
        """The own checkpoint with its cosignatures: every own key must have signed, witnesses may have."""
        return open_checkpoint(data, self._verifiers, self._origin, witnesses=self._policy.verifiers)

    def show(self) -> Showing:
        """Read the published checkpoint, and see who has not cosigned it.

        Raises:
            EvidenceInvalid, EvidenceMissing: the log cannot be read.
        """
        checkpoint, note = self._open(self._log.read_checkpoint())
        lines = {(one.name, one.key_id): one for one in note.verified}
        return Showing(checkpoint, note, self._missing(note), lines)

    def ask(self, url: str, showing: Showing) -> None:
        """Have one witness cosign, and publish what it says; any thread may ask another one.

        Raises:
            HeritageError: it does not; nothing changed.
        """
        lines = self._ask(url, showing.checkpoint, showing.note)
        self._cosigned[url] = showing.checkpoint.size
        with showing.turn:
            showing.lines |= {(one.name, one.key_id): one for one in lines}
            self._take(showing)

    def round(self, showing: Showing, findings: Sequence[Finding]) -> Round:
        """What came of a checkpoint that was shown."""
        with showing.turn:
            cosigned, is_met = self._take(showing)
        return Round(showing.checkpoint.size, tuple(sorted(cosigned)), is_met, tuple(findings))

    def _take(self, showing: Showing) -> tuple[Collection[str], bool]:
        """Publish the checkpoint with all signatures; return who cosigned, and whether that is enough."""
        if len(showing.lines) > len(showing.note.verified):
            self._publish(showing)
        data = self._signed(showing)
        cosigned = self._policy.cosigned(self._open(data)[1])
        is_met = self._policy.is_met(cosigned)
        if is_met:
            self._keep_witnessed(data, showing.checkpoint, len(showing.lines))
        return cosigned, is_met

    def _signed(self, showing: Showing) -> bytes:
        own = {(one.name, one.key_id) for one in self._verifiers}
        ordered = sorted(showing.lines.values(), key=lambda one: (one.name, one.key_id) not in own)
        return format_note(showing.note.text, ordered)

    def _missing(self, note: Note) -> tuple[str, ...]:
        have = self._policy.cosigned(note)
        return tuple(
            dict.fromkeys(
                one.url for one in self._policy.witnesses if one.url is not None and one.name not in have
            )
        )

    def _ask(self, url: str, checkpoint: Checkpoint, note: Note) -> tuple[Signature, ...]:
        own = {(one.name, one.key_id) for one in self._verifiers}
        # a witness may take no more than 16 KiB: it gets the log's own signatures and nobody else's
        signed = format_note(note.text, [one for one in note.verified if (one.name, one.key_id) in own])
        old = self._last_cosigned(url, checkpoint.size)
        for _ in range(TRIES):
            proof = self._log.prove_consistency(old, checkpoint.size) if 0 < old < checkpoint.size else ()
            body = format_request(AddCheckpoint(old, proof, signed))
            answer = self._client.ask("POST", f"{url}/add-checkpoint", body=body, limit=MAX_NOTE_SIZE)
            if answer.status != 409:
                return self._accept(url, note, answer)
            old = self._size_of(url, answer)
            if old > checkpoint.size:
                raise OperationFailed(
                    "log-behind-witness",
                    "a witness has cosigned a larger log than the one that is here",
                    path=url,
                    expected=f"at most {checkpoint.size} entries",
                    found=f"{old} entries",
                    advice="this home is an old copy, or a second one is in use: do not append; run "
                    "`heritage peer sync`, which brings the missing entries from a mirror",
                )
        raise answer_error(url, "one size at a time", "another one with every request")

    def _last_cosigned(self, url: str, size: int) -> int:
        """The size that a witness cosigned last, as far as is known here: else it must be asked twice."""
        if url not in self._cosigned:
            self._cosigned[url] = 0
            with contextlib.suppress(HeritageError):
                found = read_witnessed(self._home, self._verifiers, self._policy, self._origin)
                names = () if found is None else self._policy.cosigned(found[1])
                if found and any(one.url == url and one.name in names for one in self._policy.witnesses):
                    self._cosigned[url] = found[0].size
        old = self._cosigned[url]
        return old if old <= size else 0

    def _size_of(self, url: str, answer: Answer) -> int:
        if answer.headers.get("content-type", "").partition(";")[0].strip() != SIZE_TYPE:
            raise OperationFailed(
                "witness-refused",
                "a witness knows another tree of this size: the log shows two histories",
                path=url,
                advice="do not append; compare this home with its backups and with its mirrors",
            )
        try:
            return parse_size(answer.body.decode("ascii").removesuffix("\n"))
        except (UnicodeDecodeError, EvidenceInvalid) as error:
            raise answer_error(url, "a size", repr(answer.body[:40])) from error

    def _accept(self, url: str, note: Note, answer: Answer) -> tuple[Signature, ...]:
        if answer.status == 422:
            raise OperationFailed(
                "witness-refused",
                "a witness has seen another history of this log",
                path=url,
                found=answer.body[:200].decode(errors="replace"),
                advice="do not append; compare this home with its backups and with its mirrors",
            )
        check_status(answer, url)
        try:
            opened = open_note(note.text + b"\n" + answer.body, self._policy.verifiers)
        except EvidenceInvalid as error:
            raise answer_error(url, "cosignatures by the keys of the policy", error.code) from error
        return opened.verified

    def _publish(self, showing: Showing) -> None:
        """Put the cosignatures under the published checkpoint, unless the log has grown meanwhile."""
        with lock.hold(self._home.lock, passing=True), self._state.hold():
            with contextlib.suppress(EvidenceInvalid, EvidenceMissing):  # another process may have asked too
                _, note = self._open(self._log.read_checkpoint())
                if note.text == showing.note.text:
                    known = {(one.name, one.key_id): one for one in note.verified}
                    showing.lines = known | showing.lines
            publish_cosigned(self._home.log, self._state, showing.checkpoint, self._signed(showing))

    def _keep_witnessed(self, data: bytes, checkpoint: Checkpoint, signatures: int) -> None:
        known = read_witnessed(self._home, self._verifiers, self._policy, self._origin)
        if known is None or (known[0].size, len(known[1].verified)) < (checkpoint.size, signatures):
            write_file(self._home.witnessed, data, mode=0o644, replace=True)

    def standing(self) -> Standing:
        """How far the log is witnessed, by the files of the home alone."""
        return standing(self._home, self._policy, self._verifiers, self._origin)


def standing(home: Home, policy: Policy, verifiers: Sequence[NoteVerifier], origin: str) -> Standing:
    """How far the log in `home` is witnessed, by its files alone."""
    if policy.quorum == NONE:
        return Standing(required=False, size=0, cosigned={})
    try:
        found = read_witnessed(home, verifiers, policy, origin)
    except (EvidenceInvalid, EvidenceMissing) as error:
        unread = replace(error.finding, path="log/witnessed")
        return Standing(required=True, size=0, cosigned={}, findings=(unread,))
    if found is not None:
        cosigned = policy.cosigned(found[1])
        if policy.is_met(cosigned):
            return Standing(required=True, size=found[0].size, cosigned=cosigned)
    return Standing(required=True, size=0, cosigned={})


def read_witnessed(
    home: Home, verifiers: Sequence[NoteVerifier], policy: Policy, origin: str
) -> tuple[Checkpoint, Note] | None:
    """Return the newest checkpoint that met the policy, checked; None where there is none."""
    with writing(home.witnessed):
        try:
            data = home.witnessed.read_bytes()
        except FileNotFoundError:
            return None
    return open_checkpoint(data, verifiers, origin, witnesses=policy.verifiers)


def _about(url: str, error: Exception) -> Finding:
    found = finding_about(url, error)
    return replace(found, message=found.message.removeprefix(f"{url}: "), path=found.path or url)
