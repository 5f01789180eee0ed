"""Check a proof file with nothing but the institution's public log key, and a bag if there is one.

What passes is bound together: the checkpoint is signed by the given key; entry 0 and the event are in the
tree that it signs; entry 0 names that log key and the key that signed the event; and the bag's bytes have
the address that the event names (`specs/proof.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.errors import EvidenceInvalid, Finding, HeritageError, UsageError
from heritage_ledger.events.context import check_context_bytes
from heritage_ledger.events.event import Event, check_origin, open_event
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.fixity.evidence import open_history
from heritage_ledger.fixity.verdict import Outcome, Stage, Verdict, judge, not_checked
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.cosignature import open_vkey
from heritage_ledger.log.fork import check_fork, is_fork, parse_fork
from heritage_ledger.log.note import open_note
from heritage_ledger.log.policy import parse_policy
from heritage_ledger.log.proof import TlogProof, check_tlog_proof
from heritage_ledger.progress import SILENT
from heritage_ledger.provenance.proof import ProofFile, parse_proof

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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

    A fork proof is checked too: it passes when the log has signed two histories.

    Every given key must have signed. Without `bag` nothing is said about any bytes but the event's own. With
    `policy` (C2SP tlog-policy) enough witnesses must have cosigned the checkpoint too.

    Raises:
        UsageError: no key was given, or one cannot be read.
        EvidenceInvalid: `data` is not a proof file.
        OperationFailed: there is no bag at `bag`.
    """
    verifiers = [_open(vkey) for vkey in vkeys]
    if not verifiers:
        raise UsageError("log-key-missing", "a proof is checked against the institution's public log key")
    if is_fork(data):
        return _check_fork(data, verifiers)
    proof = parse_proof(data)
    subject: list[Event] = []
    stages = [
        _stage("checkpoint", lambda: _check_checkpoint(proof, verifiers)),
        _stage("inclusion", lambda: _check_inclusion(proof, verifiers)),
        _stage("event", lambda: _check_event(proof, vkeys, subject)),
    ]
    if policy is not None:
        stages.insert(1, _stage("witnesses", lambda: _check_witnesses(proof, verifiers, policy)))
    event = subject[0] if subject else None
    stages += _bag_stages(event, bag, progress)
    return Verdict(
        subject="proof" if event is None else f"proof of {event.id}",
        stages=tuple(stages),
        asset=None if event is None else event.asset_id,
        version=None if event is None else event.version,
        package_cid=None if event is None else event.package_cid,
    )


def _check_fork(data: bytes, verifiers: Sequence[NoteVerifier]) -> Verdict:
    """A fork proof that holds passes: its log has signed two histories."""
    proof = parse_fork(data)

    def check() -> str:
        fork = check_fork(proof, verifiers, _origin(verifiers))
        return (
            f"{fork.origin} signed two histories: {fork.first.size} entries, and {fork.second.size} "
            "that do not begin with them"
        )

    return Verdict(subject=f"fork proof against {proof.origin}", stages=(_stage("fork", check),))


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


def _stage(name: str, check: Callable[[], str | None]) -> Stage:
    try:
        detail = check()
    except HeritageError as error:
        return judge(name, [error.finding])
    return judge(name, [], detail=detail)


def _origin(verifiers: Sequence[NoteVerifier]) -> str:
    """A log's key bears the log's origin as its name."""
    return verifiers[0].name


def _check_checkpoint(proof: ProofFile, verifiers: Sequence[NoteVerifier]) -> str:
    for verifier in verifiers:
        open_checkpoint(proof.checkpoint, [verifier], _origin(verifiers))
    checkpoint, _ = open_checkpoint(proof.checkpoint, verifiers, _origin(verifiers))
    return f"{checkpoint.origin}, size {checkpoint.size}, signed by {len(verifiers)} given key(s)"


def _check_witnesses(proof: ProofFile, verifiers: Sequence[NoteVerifier], policy: bytes) -> str:
    rule = parse_policy(policy)
    cosigned = rule.cosigned(open_note(proof.checkpoint, [*verifiers, *rule.verifiers]))
    if not rule.is_met(cosigned):
        raise EvidenceInvalid(
            "witness-quorum",
            "too few witnesses of the policy have cosigned the checkpoint",
            expected=f"the quorum {rule.quorum}",
            found=", ".join(sorted(cosigned)) or "none of its witnesses",
            advice="ask for a newer proof: witnesses may have been away when this one was made",
        )
    return f"cosigned by {', '.join(sorted(cosigned))}"


def _check_inclusion(proof: ProofFile, verifiers: Sequence[NoteVerifier]) -> str:
    for item in proof.entries:
        check_tlog_proof(
            TlogProof(item.index, item.hashes, proof.checkpoint), item.entry, verifiers, _origin(verifiers)
        )
    return f"entry {proof.subject.index}"


def _check_event(proof: ProofFile, vkeys: Sequence[str], subject: list[Event]) -> str:
    event = _open_subject(proof, vkeys)
    subject.append(event)
    return f"{', '.join(event.types[1:-1])}, signed {event.created} for {event.institution.name}"


def _open_subject(proof: ProofFile, vkeys: Sequence[str]) -> Event:
    """Return the event, signed by the key that entry 0 of this very log puts in force."""
    first = proof.entries[0]
    if first.index != 0:
        raise EvidenceInvalid(
            "proof-genesis-missing",
            "the file does not hold entry 0, so it does not say whose keys count",
            expected="entry 0",
            found=f"entry {first.index}",
        )
    check_context_bytes(proof.context)
    event = open_event(proof.subject.entry)
    history = open_history(first.entry, event.origin)
    known = history.key_at(proof.subject.index).log_keys
    unknown = [vkey for vkey in vkeys if vkey.strip() not in known]
    if unknown:
        raise EvidenceInvalid(
            "proof-log-key",
            "entry 0 does not name the given log key",
            expected=", ".join(key[:60] for key in known),
            found=unknown[0][:60],
            advice="the key belongs to another log; ask the institution for its log's key",
        )
    check_origin(event, open_vkey(vkeys[0].strip()).name)
    history.check_event_key(proof.subject.index, event.verification_key)
    return event


def _bag_stages(event: Event | None, bag: Path | None, progress: Progress) -> list[Stage]:
    names = ("bag", "digests", "cid")
    if bag is None:
        return [not_checked(name, "no bag was given; use --bag", required=False) for name in names]
    if event is None or event.package_cid is None:
        why = "the event cannot be trusted" if event is None else "the event is about no package"
        return [not_checked(name, why) for name in names]
    progress.begin("verify")
    checked = check_bag(bag, Claim(event.package_cid, event.payload_cid, "the signed event"), progress)
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
