"""Policies: which logs and witnesses count, and how many must have cosigned (`specs/federation.md`).

    log <vkey> [<url>]
    witness <name> <vkey> [<url>]
    group <name> all|any|<k> <member> …
    quorum <name>|none

The format is C2SP tlog-policy. Lines hold words parted by spaces and tabs; empty lines and lines that begin
with `#` say nothing. A name is defined before it is used, and is a member of one group at most. One public
key stands behind one log and one witness at most, whatever names it goes by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, Severity
from heritage_ledger.log.cosignature import (
    COSIGNATURE_ED25519,
    COSIGNATURE_MLDSA44,
    ED25519,
    cosignature_time,
    open_vkey,
)
from heritage_ledger.log.note import parse_vkey

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from heritage_ledger.log.note import Note, NoteVerifier

MAX_POLICY_SIZE: Final = 1 << 20
"""Bytes of a policy: an ML-DSA-44 key takes 1.8 kB, and a group of a hundred institutions has two each."""
MAX_LINES: Final = 4_096
SAFE_WITNESSES: Final = 4
"""Operators below which no quorum is both safe and able to lose one (sigsum-general, 2023-11)."""
MAX_COUNTED: Final = 12
"""Operators up to which every subset is tried for meeting the quorum; beyond, nothing is said of weakness."""

_FORBIDDEN: Final = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")
_COUNT: Final = re.compile(r"[1-9][0-9]{0,4}")
_LOG_KINDS: Final = frozenset({ED25519, COSIGNATURE_MLDSA44})
_WITNESS_KINDS: Final = frozenset({COSIGNATURE_ED25519, COSIGNATURE_MLDSA44})
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class PolicyLog:
    """A log that is accepted: its verifier key, whose name is its origin, and where it may be asked."""

    vkey: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyWitness:
    """A witness key under the name that groups use for it, and its submission prefix."""

    name: str
    vkey: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Members of which `threshold` must have witnessed a checkpoint."""

    name: str
    threshold: int
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as read; `quorum` names a witness or group, or is `none`."""

    logs: tuple[PolicyLog, ...]
    witnesses: tuple[PolicyWitness, ...]
    groups: tuple[PolicyGroup, ...]
    quorum: str

    @property
    def verifiers(self) -> tuple[NoteVerifier, ...]:
        """What checks the cosignatures of every witness."""
        return tuple(open_vkey(witness.vkey) for witness in self.witnesses)

    def is_met(self, cosigned: Collection[str]) -> bool:
        """Say whether the witnesses named in `cosigned` are a quorum."""
        met = set(cosigned) & {witness.name for witness in self.witnesses} | {NONE}
        for group in self.groups:
            if sum(member in met for member in group.members) >= group.threshold:
                met.add(group.name)
        return self.quorum in met

    def cosigned(self, note: Note) -> Mapping[str, int]:
        """Return the witnesses whose cosignatures `note` bears, with the POSIX seconds that each claims."""
        by_key = {
            (key.name, key.key_id): witness.name
            for witness in self.witnesses
            for key in (parse_vkey(witness.vkey),)
        }
        return {
            name: cosignature_time(signature.payload)
            for signature in note.verified
            if (name := by_key.get((signature.name, signature.key_id))) is not None
        }


def parse_policy(data: bytes) -> Policy:
    """Read a policy.

    Raises:
        EvidenceInvalid: `policy-malformed`, with the number of the line; `policy-too-large`; a code of
            `parse_vkey` for a key that is none.
    """
    if len(data) > MAX_POLICY_SIZE or data.count(b"\n") > MAX_LINES:
        raise EvidenceInvalid(
            "policy-too-large",
            "the policy is larger than any that is read",
            expected=f"at most {MAX_POLICY_SIZE} bytes and {MAX_LINES} lines",
            found=f"{len(data)} bytes",
        )
    if found := _FORBIDDEN.search(data):
        raise _malformed(data.count(b"\n", 0, found.start()) + 1, "no control characters", repr(found[0]))
    reader = _Reader()
    # names are octets to compare, whatever they mean: no byte is lost, and none is normalised
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in re.split("[ \t]+", line) if word]
        if words and not words[0].startswith("#"):
            reader.line(number, words)
    if reader.quorum is None:
        raise _malformed(0, "exactly one quorum line", "none")
    return Policy(tuple(reader.logs), tuple(reader.witnesses), tuple(reader.groups), reader.quorum)


def format_policy(policy: Policy) -> bytes:
    """Return the policy as text; reading it gives the same policy back.

    Raises:
        EvidenceInvalid: what `parse_policy` would say about it.
    """
    lines = [_line("log", log.vkey, log.url) for log in policy.logs]
    lines += [_line("witness", one.name, one.vkey, one.url) for one in policy.witnesses]
    lines += [_line("group", one.name, str(one.threshold), *one.members) for one in policy.groups]
    lines.append(_line("quorum", policy.quorum))
    data = "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")
    if parse_policy(data) != policy:
        raise _malformed(0, "a policy that reads back as itself", "another meaning")
    return data


def by_all_keys(policy: Policy) -> Policy:
    """Return the policy with every group that consists of witness keys alone asking for all of them.

    Such a group is one institution with its kinds of key; a quorum by any of them would fall with one kind.
    """
    keys = {witness.name for witness in policy.witnesses}
    groups = tuple(
        replace(group, threshold=len(group.members)) if keys.issuperset(group.members) else group
        for group in policy.groups
    )
    return replace(policy, groups=groups)


def lint_policy(policy: Policy, operators: Mapping[str, str], *, own: str | None = None) -> Iterator[Finding]:
    """Yield warnings about a quorum that is not safe over operators.

    With n operators, safety against a split view and progress when some are down need
    k ≥ 1 + ⌊2n/3⌋ of them (Niels Möller, sigsum-general 2023-11): one body's ten keys are one operator.

    Args:
        policy: to look at.
        operators: who runs each witness, by the witness's name; a name that is missing runs itself.
        own: the operator whose log is witnessed; its own word adds nothing.
    """
    if policy.quorum == NONE:
        yield _warning("policy-no-quorum", "no cosignature is asked for, so nobody else watches the log")
        return
    runs = {witness.name: operators.get(witness.name, witness.name) for witness in policy.witnesses}
    if own is not None and own in runs.values():
        yield _warning("policy-self-witness", "the institution is a witness of its own log", found=own)
    used = set(_reached(policy, policy.quorum)) & runs.keys()
    everyone = sorted({runs[name] for name in used} - {own})
    if len(everyone) < SAFE_WITNESSES:
        yield _warning(
            "policy-few-operators",
            "with so few operators the quorum is unsafe, or stops when one is away",
            expected=f"{SAFE_WITNESSES} or more",
            found=str(len(everyone)),
        )
    needed = 1 + 2 * len(everyone) // 3
    fewest = _fewest(policy, runs, everyone)
    if everyone and fewest < needed:
        yield _warning(
            "policy-weak-quorum",
            "so few operators can meet the quorum that two quorums may share none that is honest",
            expected=f"{needed} of {len(everyone)} operators",
            found=str(fewest),
        )


def _fewest(policy: Policy, runs: Mapping[str, str], everyone: Sequence[str]) -> int:
    """How many operators suffice; every subset is tried, up to 4,096 of them."""
    if len(everyone) > MAX_COUNTED:
        return len(everyone)
    best = len(everyone)
    for chosen in range(1 << len(everyone)):
        count = chosen.bit_count()
        if count < best:
            members = {operator for at, operator in enumerate(everyone) if chosen >> at & 1}
            if policy.is_met([name for name, operator in runs.items() if operator in members]):
                best = count
    return best


def _reached(policy: Policy, name: str) -> Iterator[str]:
    groups = {group.name: group for group in policy.groups}
    yield name
    if name in groups:
        for member in groups[name].members:
            yield from _reached(policy, member)


class _Reader:
    """Takes the lines of a policy in their order."""

    def __init__(self) -> None:
        self.logs: list[PolicyLog] = []
        self.witnesses: list[PolicyWitness] = []
        self.groups: list[PolicyGroup] = []
        self.quorum: str | None = None
        self._keys: dict[str, set[bytes]] = {"log": set(), "witness": set()}
        self._names: set[str] = {NONE}
        self._members: set[str] = {NONE}  # `none` is the member of no group

    def line(self, number: int, words: Sequence[str]) -> None:
        match words:
            case ["log", vkey, *url] if len(url) < 2:
                self._key(number, "log", vkey, _LOG_KINDS)
                self.logs.append(PolicyLog(vkey, *url))
            case ["witness", name, vkey, *url] if len(url) < 2:
                self._key(number, "witness", vkey, _WITNESS_KINDS)
                self._name(number, name)
                self.witnesses.append(PolicyWitness(name, vkey, *url))
            case ["group", name, threshold, *members] if members:
                self.groups.append(
                    PolicyGroup(name, self._threshold(number, threshold, members), tuple(members))
                )
                self._name(number, name)
            case ["quorum", name] if self.quorum is None:
                if name not in self._names:
                    raise _malformed(number, "a name defined above", name)
                self.quorum = name
            case _:
                raise _malformed(number, "a log, witness, group or the only quorum line", " ".join(words))

    def _key(self, number: int, kind: str, vkey: str, kinds: frozenset[int]) -> None:
        key = parse_vkey(vkey)
        if key.kind not in kinds:
            raise _malformed(number, f"a {kind}'s kind of key", f"kind 0x{key.kind:02x}")
        open_vkey(vkey)
        if key.public in self._keys[kind]:
            raise _malformed(number, f"each {kind} key once", vkey)
        self._keys[kind].add(key.public)

    def _name(self, number: int, name: str) -> None:
        if name in self._names:
            raise _malformed(number, "a name that is not taken", name)
        self._names.add(name)

    def _threshold(self, number: int, text: str, members: Sequence[str]) -> int:
        for member in members:
            if member not in self._names or member in self._members:
                raise _malformed(number, "members defined above, each in one group", member)
            self._members.add(member)
        value = {"all": len(members), "any": 1}.get(text) or (int(text) if _COUNT.fullmatch(text) else 0)
        if not 1 <= value <= len(members):
            raise _malformed(number, f"all, any or 1 to {len(members)}", text)
        return value


def _line(*words: str | None) -> str:
    return " ".join(word for word in words if word is not None)


def _warning(code: str, message: str, *, expected: str | None = None, found: str | None = None) -> Finding:
    return Finding(
        code, message, expected=expected, found=found, rule="specs/federation.md", severity=Severity.WARNING
    )


def _malformed(number: int, expected: str, found: str) -> EvidenceInvalid:
    shown = found.encode("utf-8", "backslashreplace").decode()[:120]
    return EvidenceInvalid(
        "policy-malformed",
        "this is not a witness policy",
        path=f"line {number}" if number else None,
        expected=expected,
        found=shown,
        rule="C2SP tlog-policy",
    )
