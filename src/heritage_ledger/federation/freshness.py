"""Is this home the newest copy of its log? What counts as an answer, and the decision.

A witness **confirms** a head by cosigning it now: then it is the largest of this log that the witness has
seen. A bare number, such as that of a 409, is a **claim**: it proves nothing, since anyone may say any
number. A witness that holds less than it once cosigned has **forgotten**, and its word says nothing. Silence,
and the absence of a log, are no statement. What proves that there is more is a checkpoint with this log's own
signature, which is not an answer to weigh but a fact; whoever has one does not come here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heritage_ledger.log.policy import Policy


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The witness keys, by their names in the policy, that cosigned the head when they were asked."""

    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class Claimed:
    """A witness says without proof that it holds something else: `said`, and where it names one `size`."""

    said: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Forgot:
    """A witness holds less than the home's own files show that it cosigned."""

    said: str


@dataclass(frozen=True, slots=True)
class Silent:
    """A witness says nothing about this log; `said` is why, for a person."""

    said: str


Answer = Confirmed | Claimed | Forgot | Silent


class Basis(Enum):
    """What a home may be believed by to be the newest copy."""

    WITNESSES = "the quorum of its policy confirmed its head"
    MARKS = "nothing speaks against the marks of the home"
    ENOUGH = "enough of the witnesses that answer confirmed its head"


def decide(policy: Policy, answers: Mapping[str, Answer], *, doubt: bool, proven: bool) -> Basis | None:
    """Say what a home is believed by to be the newest copy of its log; None where that is not known.

    1. A quorum of the policy confirmed the head.
    2. Nobody decides, but the marks of the home do not speak against it: then silence does not stop it, and a
       claim neither where a mark shows that nothing was rolled back since the machine runs. After a reboot,
       which takes that mark away, a claim stops it unless the others are enough as in 3.
    3. There is doubt. Nobody claims more, at least half of the witnesses confirmed the head, and they are so
       many that no checkpoint can have met the policy without one of them.

    Args:
        policy: the home's own.
        answers: by URL; a witness that is not asked counts as silent.
        doubt: whether the marks, or a restore, speak against the home.
        proven: whether the mark on tmpfs shows its heads to be the newest.
    """
    confirmed = frozenset[str]().union(*(one.names for one in answers.values() if isinstance(one, Confirmed)))
    if policy.is_met(confirmed):
        return Basis.WITNESSES
    is_claimed = any(isinstance(one, Claimed) for one in answers.values())
    if not doubt and (proven or not is_claimed):
        return Basis.MARKS
    if doubt and is_claimed:
        return None
    every = {witness.name for witness in policy.witnesses}
    urls = {witness.url or witness.name for witness in policy.witnesses}
    lacking = {witness.url or witness.name for witness in policy.witnesses if witness.name not in confirmed}
    is_half = 2 * len(urls - lacking) >= len(urls) > len(lacking)
    return Basis.ENOUGH if is_half and not policy.is_met(every - confirmed) else None
