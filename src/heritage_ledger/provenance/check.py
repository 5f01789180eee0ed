"""Check a proof file with nothing but the institution's public log key, and a bag if there is one.

What passes is bound together: the checkpoint is signed by the given key; entry 0 and the event are in the
tree that it signs; entry 0 names that log key and the key that signed the event; and the bag's bytes have
the address that the event names (`specs/proof.md`).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError, Severity, UsageError
from heritage_ledger.events.chronology import Bounds, check_cosigned, check_time, earliest, show_cosigned
from heritage_ledger.events.context import check_context_bytes
from heritage_ledger.events.event import Event, check_origin, open_event, open_logged
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.fixity.bag import Claim, check_bag_at
from heritage_ledger.fixity.evidence import history_of
from heritage_ledger.fixity.verdict import Outcome, Stage, Verdict, judge, not_checked
from heritage_ledger.log.checkpoint import open_checkpoint, unsigned
from heritage_ledger.log.cosignature import open_vkey
from heritage_ledger.log.fork import check_fork, is_fork, parse_fork
from heritage_ledger.log.note import parse_vkey
from heritage_ledger.log.policy import NONE, Policy, parse_policy
from heritage_ledger.log.proof import TlogProof, check_tlog_proof
from heritage_ledger.progress import SILENT
from heritage_ledger.provenance.proof import ProofFile, parse_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from heritage_ledger.identity.history import KeyHistory
    from heritage_ledger.log.note import NoteVerifier
    from heritage_ledger.progress import Progress


def check_proof(
    data: bytes,
    vkeys: Sequence[str],
    *,
    bag: Path | None = None,
    policy: bytes | None = None,
    progress: Progress = SILENT,
) -> Verdict:
    """Check the proof file `data` for someone who holds the verifier keys `vkeys` of the institution's log.

    A fork proof is checked too: one that holds is `forked`, never a pass, and stands alone.

    Every given key must have signed; where entry 0 names another kind of key too, that is a warning. Without
    `bag` nothing is said about any bytes but the event's own. With `policy` (C2SP tlog-policy) the log must
    be one that it names, if it names any, and enough witnesses must have cosigned the checkpoint.

    Raises:
        UsageError: no key was given, or one cannot be read.
        EvidenceInvalid: `data` is not a proof file; it is a fork proof, and `bag` or `policy` was given
            (`proof-is-fork`).
        OperationFailed: there is no bag at `bag`.
    """
    keys = tuple(dict.fromkeys(vkey.strip() for vkey in vkeys))
    verifiers = [_open(vkey) for vkey in keys]
    if not verifiers:
        raise UsageError("log-key-missing", "a proof is checked against the institution's public log key")
    if is_fork(data):
        return _check_fork(data, verifiers, alone=bag is None and policy is None)
    proof = parse_proof(data)
    work = _Check(proof, keys, verifiers)
    stages = [*work.stages(policy), *_bag_stages(work.event, bag, progress)]
    event = work.event
    return Verdict(
        subject="proof" if event is None else f"proof of {event.id}",
        stages=tuple(stages),
        asset=None if event is None else event.asset_id,
        version=None if event is None else event.version,
        package_cid=None if event is None else event.package_cid,
    )


def _check_fork(data: bytes, verifiers: Sequence[NoteVerifier], *, alone: bool) -> Verdict:
    """A fork proof that holds is no pass: its log has signed two histories."""
    proof = parse_fork(data)
    if not alone:
        raise EvidenceInvalid(
            "proof-is-fork",
            "this is a fork proof: it says that the log signed two histories, and nothing about a bag or "
            "witnesses",
            path=proof.origin[:80],
            expected="the proof of an event",
            found="a fork proof",
            advice="check it with --log-key alone, and ask the institution what happened",
        )
    subject = f"fork proof against {proof.origin}"
    try:
        fork = check_fork(proof, verifiers, _origin(verifiers))
    except HeritageError as error:
        return Verdict(subject, (judge("fork", [error.finding]),))
    detail = (
        f"{fork.origin} signed two histories: {fork.first.size} entries, and {fork.second.size} "
        "that do not begin with them"
    )
    kinds = {_kind(verifier) for verifier in verifiers}
    findings = (_one_kind("the log may have another kind"),) if len(kinds) == 1 else ()
    return Verdict(subject, (Stage("fork", Outcome.FORKED, findings, detail),))


def _open(vkey: str) -> NoteVerifier:
    try:
        return open_vkey(vkey.strip())
    except EvidenceInvalid as error:
        raise UsageError(
            "log-key-invalid",
            "this is not a verifier key",
            expected="name+id+key, as `heritage log key` prints it",
            found=vkey[:80],
            advice="copy the key again from where the institution publishes it",
        ) from error


def _origin(verifiers: Sequence[NoteVerifier]) -> str:
    """A log's key bears the log's origin as its name."""
    return verifiers[0].name


def _kind(verifier: NoteVerifier) -> int:
    return parse_vkey(verifier.vkey).kind


class _Check:
    """One check of a proof. `event` is the event once it is to be believed, `history` whose keys count."""

    def __init__(self, proof: ProofFile, vkeys: Sequence[str], verifiers: Sequence[NoteVerifier]) -> None:
        self.event: Event | None = None
        self._proof = proof
        self._vkeys = vkeys
        self._verifiers = verifiers
        self._origin = _origin(verifiers)
        self._history: KeyHistory | None = None
        self._cosigned: Mapping[str, int] = {}

    def stages(self, policy: bytes | None) -> tuple[Stage, ...]:
        """Check everything but the bag; a stage that objects never stops the others."""
        checkpoint = _judged("checkpoint", self._checkpoint)
        witnesses = (
            not_checked("witnesses", "no policy was given; use --policy", required=False)
            if policy is None
            else self._witnesses(policy)
        )
        inclusion, event = _judged("inclusion", self._inclusion), _judged("event", self._event)
        if checkpoint.outcome is Outcome.PASS:
            checkpoint = judge("checkpoint", self._other_kinds(), detail=checkpoint.detail)
        return checkpoint, witnesses, inclusion, event

    def _checkpoint(self) -> tuple[str, tuple[Finding, ...]]:
        checkpoint, _ = open_checkpoint(self._proof.checkpoint, self._verifiers, self._origin)
        keys = "1 given key" if len(self._verifiers) == 1 else f"{len(self._verifiers)} given keys"
        return f"{checkpoint.origin}, size {checkpoint.size}, signed by {keys}", ()

    def _other_kinds(self) -> list[Finding]:
        """What the kinds of key that entry 0 names and the caller does not hold say of the checkpoint."""
        if self._history is None:
            return []
        held = set(map(_kind, self._verifiers))
        named = map(open_vkey, self._history.key_at(self._proof.subject.index).log_keys)
        others = [verifier for verifier in named if _kind(verifier) not in held]
        if not others:
            return []
        try:
            _, note = open_checkpoint(self._proof.checkpoint, self._verifiers, self._origin, witnesses=others)
        except HeritageError as error:
            return [error.finding]
        if unsigned(note, others):
            return [_one_kind("the other kind did not sign")]
        return [_one_kind("the other kind signed too, by entry 0's word")]

    def _witnesses(self, data: bytes) -> Stage:
        try:
            policy = parse_policy(data)
            _check_named(policy, self._verifiers)
            own = {verifier.vkey for verifier in self._verifiers}
            others = [verifier for verifier in policy.verifiers if verifier.vkey not in own]
            _, note = open_checkpoint(self._proof.checkpoint, self._verifiers, self._origin, witnesses=others)
            words = policy.cosigned(note)
            ours = {witness.name for witness in policy.witnesses if witness.vkey in own}
            cosigned = {name: seconds for name, seconds in words.items() if name not in ours}
            if policy.quorum == NONE:
                return not_checked("witnesses", "the policy asks for no witness, so none was looked for")
            _check_quorum(policy, cosigned)
        except HeritageError as error:
            return judge("witnesses", [error.finding])
        self._cosigned = cosigned
        detail = f"cosigned by {show_cosigned(cosigned)}"
        if (first := earliest(cosigned)) is not None:
            detail += f"; in the log no later than {format_timestamp(first[1])}"
        return judge("witnesses", check_cosigned(cosigned), detail=detail)

    def _inclusion(self) -> tuple[str, tuple[Finding, ...]]:
        for item in self._proof.entries:
            proof = TlogProof(item.index, item.hashes, self._proof.checkpoint)
            check_tlog_proof(proof, item.entry, self._verifiers, self._origin)
        return f"entry {self._proof.subject.index}", ()

    def _event(self) -> tuple[str, tuple[Finding, ...]]:
        """Open the event, signed by the key that entry 0 of this very log puts in force."""
        first, subject = self._proof.entries[0], self._proof.subject
        if first.index != 0:
            raise EvidenceInvalid(
                "proof-genesis-missing",
                "the file does not hold entry 0, so it does not say whose keys count",
                expected="entry 0",
                found=f"entry {first.index}",
            )
        check_context_bytes(self._proof.context)
        event, genesis = open_logged(subject.entry), open_event(first.entry)
        history = history_of(genesis, event.origin)
        known = history.key_at(subject.index).log_keys
        unknown = [vkey for vkey in self._vkeys if vkey not in known]
        if unknown:
            raise EvidenceInvalid(
                "proof-log-key",
                "entry 0 does not name the given log key",
                expected=", ".join(key[:60] for key in known),
                found=unknown[0][:60],
                advice="the key belongs to another log; ask the institution for its log's key",
            )
        check_origin(event, self._origin)
        history.check_event_key(subject.index, event.verification_key)
        self.event, self._history = event, history
        bounds = Bounds(genesis.created, self._previous(history), self._cosigned)
        detail = f"{', '.join(event.types[1:-1])}, signed {event.created} for {event.institution.name}"
        return detail, check_time(event.created, bounds)

    def _previous(self, history: KeyHistory) -> str | None:
        """The time of the entry before the event, where the file holds it and it can be read here."""
        before = self._proof.entries[-2] if len(self._proof.entries) > 1 else None
        if before is None or before.index != self._proof.subject.index - 1:
            return None
        with contextlib.suppress(HeritageError):
            event = open_logged(before.entry)
            check_origin(event, self._origin)
            history.check_event_key(before.index, event.verification_key)
            return event.created
        return None


def _judged(name: str, check: Callable[[], tuple[str, tuple[Finding, ...]]]) -> Stage:
    try:
        detail, findings = check()
    except HeritageError as error:
        return judge(name, [error.finding])
    return judge(name, findings, detail=detail)


def _one_kind(found: str) -> Finding:
    return Finding(
        "checkpoint-one-kind",
        "the checkpoint was checked by one kind of key only, and stands or falls with that kind",
        expected="a key of each kind that the log has",
        found=found,
        advice="give all of the log's keys, as `heritage log key` of the institution prints them",
        rule="specs/log.md, Origin, notes, checkpoints",
        severity=Severity.WARNING,
    )


def _check_named(policy: Policy, verifiers: Sequence[NoteVerifier]) -> None:
    """Raise `EvidenceInvalid` where the policy names logs, and this one is not among them."""
    named = {log.vkey for log in policy.logs}
    if named and named.isdisjoint(verifier.vkey for verifier in verifiers):
        raise EvidenceInvalid(
            "policy-other-log",
            "the policy is about other logs: it names none of the given keys",
            expected=", ".join(key[:60] for key in sorted(named)),
            found=verifiers[0].vkey[:60],
            advice="take the policy that was made for this log",
            rule="C2SP tlog-policy",
        )


def _check_quorum(policy: Policy, cosigned: Mapping[str, int]) -> None:
    if not policy.is_met(cosigned):
        raise EvidenceInvalid(
            "witness-quorum",
            "too few witnesses of the policy have cosigned the checkpoint",
            expected=f"the quorum {policy.quorum}",
            found=show_cosigned(cosigned) or "none of its witnesses",
            advice="ask for a newer proof: witnesses may have been away when this one was made",
        )


def _bag_stages(event: Event | None, bag: Path | None, progress: Progress) -> list[Stage]:
    names = ("bag", "digests", "cid")
    if bag is None:
        return [not_checked(name, "no bag was given; use --bag", required=False) for name in names]
    if event is None or event.package_cid is None:
        why = "the event cannot be trusted" if event is None else "the event is about no package"
        return [not_checked(name, why) for name in names]
    checked = check_bag_at(bag, Claim(event.package_cid, event.payload_cid, "the signed event"), progress)
    stages = list(checked.stages)
    if stages[2].outcome is Outcome.NOT_CHECKED:
        unread = Finding(
            "package-cid",
            "the bag is not the one that the signed event names: a file of it cannot be read",
            expected=event.package_cid,
            advice="the findings of the other stages name the files",
        )
        stages[2] = judge("cid", [unread])
    return stages
