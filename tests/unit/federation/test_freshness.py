"""The decision whether a home is the newest copy of its log: every rule, and who can stop it."""

import itertools

import pytest

from heritage_ledger.federation.freshness import Basis, Claimed, Confirmed, Forgot, Silent, decide
from heritage_ledger.log.policy import NONE, Policy, PolicyGroup, PolicyWitness


def policy(count, kinds=2, threshold=None):
    witnesses, groups = [], []
    for at in range(count):
        names = tuple(f"w{at}/{kind}" for kind in range(kinds))
        witnesses += [PolicyWitness(name, "unread", f"https://w{at}.example") for name in names]
        groups.append(PolicyGroup(f"w{at}", kinds, names))
    every = tuple(group.name for group in groups)
    groups.append(PolicyGroup("all", threshold or 1 + 2 * count // 3, every))
    return Policy((), tuple(witnesses), tuple(groups), "all")


def url(at):
    return f"https://w{at}.example"


def confirmed(at, kinds=2):
    return Confirmed(frozenset(f"w{at}/{kind}" for kind in range(kinds)))


SILENT, LIAR, LOST = Silent("down"), Claimed("1000000000000 entries"), Forgot("2 entries")


def test_a_quorum_decides_whatever_the_marks_say():
    answers = {url(at): confirmed(at) for at in range(3)} | {url(3): LIAR}
    assert decide(policy(4), answers, doubt=True, proven=False) is Basis.WITNESSES


@pytest.mark.parametrize("other", [SILENT, LIAR, LOST])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_without_doubt_nobody_stops_a_home(count, other):
    assert (
        decide(policy(count), {url(at): other for at in range(count)}, doubt=False, proven=True)
        is Basis.MARKS
    )
    assert decide(policy(count), {}, doubt=False, proven=True) is Basis.MARKS


@pytest.mark.parametrize(
    ("count", "answered", "wanted"),
    [
        (1, 0, None), (1, 1, Basis.WITNESSES), (2, 0, None), (2, 1, Basis.ENOUGH), (2, 2, Basis.WITNESSES),
        (3, 0, None), (3, 1, None), (3, 2, Basis.ENOUGH), (4, 1, None), (4, 2, Basis.ENOUGH),
        (4, 3, Basis.WITNESSES), (7, 3, None), (7, 4, Basis.ENOUGH),
    ],
)  # fmt: skip
def test_in_doubt_enough_of_those_who_answer_decide(count, answered, wanted):
    answers = {url(at): confirmed(at) if at < answered else SILENT for at in range(count)}
    assert decide(policy(count), answers, doubt=True, proven=False) is wanted


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_after_a_reboot_silence_does_not_stop_a_home(count):
    for other in (SILENT, LOST):
        answers = {url(at): other for at in range(count)}
        assert decide(policy(count), answers, doubt=False, proven=False) is Basis.MARKS


@pytest.mark.parametrize(
    ("count", "wanted"), [(1, None), (2, Basis.ENOUGH), (3, Basis.ENOUGH), (4, Basis.WITNESSES)]
)
def test_after_a_reboot_one_liar_stops_a_home_only_where_he_is_alone(count, wanted):
    answers = {url(at): confirmed(at) for at in range(count)} | {url(0): LIAR}
    assert decide(policy(count), answers, doubt=False, proven=False) is wanted


def test_in_doubt_one_claim_leaves_it_open():
    for claims in itertools.product((confirmed, LIAR), repeat=2):
        answers = {url(at): one(at) if one is confirmed else one for at, one in enumerate(claims)}
        wanted = Basis.WITNESSES if LIAR not in claims else None
        assert decide(policy(2), answers, doubt=True, proven=False) is wanted


def test_a_witness_that_forgot_confirms_nothing():
    assert decide(policy(1), {url(0): LOST}, doubt=True, proven=False) is None
    assert decide(policy(2), {url(0): LOST, url(1): confirmed(1)}, doubt=True, proven=False) is Basis.ENOUGH


def test_one_kind_of_two_keys_is_no_confirmation():
    half = Confirmed(frozenset({"w0/0"}))
    assert decide(policy(1), {url(0): half}, doubt=True, proven=False) is None
    assert decide(policy(2), {url(0): half, url(1): SILENT}, doubt=True, proven=False) is None


def test_what_met_the_policy_is_known_to_one_of_those_who_decide():
    """For every set of witnesses that may have met the policy, and every set that decides: they share one."""
    for count in range(1, 6):
        for threshold in range(1, count + 1):
            rules = policy(count, 1, threshold)
            for mask in range(1 << count):
                those = [at for at in range(count) if mask >> at & 1]
                answers = {url(at): confirmed(at, 1) for at in those}
                if decide(rules, answers, doubt=True, proven=False) is not Basis.ENOUGH:
                    continue
                assert not rules.is_met({f"w{at}/0" for at in range(count) if at not in those})


def test_nobody_is_asked_where_no_policy_asks_for_witnesses():
    assert decide(Policy((), (), (), NONE), {}, doubt=False, proven=True) is Basis.WITNESSES
