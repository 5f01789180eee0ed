"""Whoever opens a signed checkpoint says by which rule: every caller is listed, and a new one fails."""

from __future__ import annotations

import ast

from codes import SOURCES

EVERY = "every key of the log that is held must have signed"
NAMED = "each key that did not sign is named as a finding"
SOME = "cosignatures alone: whoever signed, counted afterwards"

CALLERS = {
    ("log/checkpoint.py", "open_checkpoint", "open_note"): EVERY,  # it asks for each of them itself
    ("log/files.py", "open_checkpoint", "open_checkpoint"): EVERY,
    ("log/fork.py", "check_fork", "open_checkpoint"): EVERY,
    ("log/mirror.py", "open_checkpoint", "open_checkpoint"): EVERY,
    ("log/mirror.py", "compare", "open_checkpoint"): EVERY,  # the mirror's own method
    ("log/mirror.py", "refill", "open_checkpoint"): EVERY,  # the same
    ("log/proof.py", "check_tlog_proof", "open_checkpoint"): EVERY,
    ("log/verify.py", "_check_checkpoint", "open_checkpoint"): NAMED,
    ("log/witness.py", "_open", "open_checkpoint"): EVERY,
    ("log/witness.py", "raise_floor", "open_checkpoint"): EVERY,
    ("log/witness.py", "last_time", "open_note"): SOME,
    ("federation/asking.py", "open", "open_checkpoint"): EVERY,
    ("federation/asking.py", "_accept", "open_note"): SOME,
    ("federation/floor.py", "_pull", "open_checkpoint"): EVERY,  # the mirror's own method
    ("federation/floor.py", "is_enough", "open_checkpoint"): EVERY,  # the mirror's own method
    ("federation/forks.py", "stripped", "open_checkpoint"): EVERY,
    ("federation/guard.py", "_own", "open_checkpoint"): EVERY,
    ("federation/guard.py", "ask_about", "open_checkpoint"): EVERY,
    ("federation/recover.py", "check_unseen", "open_checkpoint"): EVERY,
    ("federation/recover.py", "published", "open_checkpoint"): EVERY,
    ("federation/recover.py", "begin_heads", "open_checkpoint"): EVERY,
    ("federation/mirroring.py", "_bring", "open_checkpoint"): EVERY,
    ("federation/mirroring.py", "pull_shown", "open_checkpoint"): EVERY,
    ("federation/peers.py", "discover", "open_checkpoint"): EVERY,
    ("federation/witnessing.py", "_open", "open_checkpoint"): EVERY,
    ("federation/witnessing.py", "_accept", "open_note"): SOME,
    ("federation/witnessing.py", "read_witnessed", "open_checkpoint"): EVERY,
    ("fixity/evidence.py", "_cosigned", "open_checkpoint"): EVERY,
    ("fixity/evidence.py", "open_log", "open_checkpoint"): EVERY,
    ("ledger.py", "checkpoint", "open_checkpoint"): EVERY,
    ("ledger.py", "rebuild_index", "open_checkpoint"): EVERY,
    ("provenance/check.py", "_checkpoint", "open_checkpoint"): EVERY,
    ("provenance/check.py", "_other_kinds", "open_checkpoint"): EVERY,
    ("provenance/check.py", "_witnesses", "open_checkpoint"): EVERY,
    ("provenance/prove.py", "prove", "open_checkpoint"): EVERY,
}
"""The file, the function, and what it calls, with the rule that holds there."""
RELAXED = {NAMED, SOME}


def _calls():
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            for function in ast.walk(ast.parse(path.read_text())):
                if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                inner = {
                    id(node)
                    for nested in ast.walk(function)
                    if nested is not function and isinstance(nested, ast.FunctionDef | ast.AsyncFunctionDef)
                    for node in ast.walk(nested)
                }
                for call in ast.walk(function):
                    if isinstance(call, ast.Call) and id(call) not in inner:
                        name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
                        if name in {"open_checkpoint", "open_note"}:
                            yield (str(path.relative_to(root)), function.name, name), call


def test_every_caller_states_its_rule():
    found = dict(_calls())
    assert found.keys() == CALLERS.keys(), sorted(found.keys() ^ CALLERS.keys())
    for place, call in found.items():
        relaxed = any(word.arg == "every" for word in call.keywords)
        if place[2] == "open_checkpoint":
            assert relaxed is (CALLERS[place] in RELAXED), place


def test_nobody_else_opens_a_note():
    """Only who asks for every key, and who reads cosignatures alone, opens notes itself."""
    openers = {place[0] for place in CALLERS if place[2] == "open_note"}
    cosignatures = {place[0] for place, rule in CALLERS.items() if rule == SOME}
    assert openers == {"log/checkpoint.py"} | cosignatures
