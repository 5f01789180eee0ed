"""Proof files: one spelling, and nothing in them that can be exchanged without being noticed."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError, UsageError
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.log.cosignature import open_vkey
from heritage_ledger.log.proof import check_tlog_proof, parse_tlog_proof
from heritage_ledger.provenance.check import check_proof
from heritage_ledger.provenance.proof import (
    MAX_ENTRIES,
    MAX_HASHES,
    ProofFile,
    ProvedEntry,
    format_proof,
    parse_proof,
)

ASSET = "urn:example:proved"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("proved")
    (root / "source").mkdir()
    (root / "source" / "a.txt").write_text("a")
    (root / "source" / "b.txt").write_text("b")
    with Ledger.init(
        root / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        ledger.ingest(root / "source", asset=ASSET)
        (root / "source" / "b.txt").write_text("B")
        ledger.ingest(root / "source", asset=ASSET)
    with Ledger.init(
        root / "other", institution="Other", origin="other.example/ledger/1", passphrase=None
    ) as ledger:
        ledger.ingest(root / "source", asset=ASSET)
    return root


@pytest.fixture(scope="module")
def proof(place):
    with Ledger.open(place / "home") as ledger:
        return ledger.prove(ASSET)


@pytest.fixture(scope="module")
def keys(place):
    with Ledger.open(place / "home") as ledger:
        return [key.vkey for key in ledger.log_keys()]


@pytest.fixture
def bag(place, tmp_path):
    (folder,) = (place / "home" / "packages").glob("*/2")
    shutil.copytree(folder, tmp_path / "bag")
    os.system(f"chmod -R u+w {tmp_path / 'bag'}")
    return tmp_path / "bag"


def _failed(data: bytes, keys, bag: Path | None = None) -> set[str]:
    """The stages that failed, or the code of the error."""
    try:
        verdict = check_proof(data, keys, bag=bag)
    except HeritageError as error:
        return {error.code}
    return {stage.name for stage in verdict.stages if stage.outcome is Outcome.FAIL}


def test_either_key_suffices_and_both_may_be_asked(proof, keys):
    for given in ([keys[0]], [keys[1]], keys):
        assert check_proof(proof, given).outcome is Outcome.PASS


def test_with_the_bag_its_bytes_are_bound_too(proof, keys, bag):
    verdict = check_proof(proof, keys, bag=bag)
    assert verdict.outcome is Outcome.PASS
    outcomes = {stage.name: stage.outcome for stage in verdict.stages}
    assert outcomes.pop("witnesses") is Outcome.NOT_CHECKED
    assert list(outcomes.values()) == [Outcome.PASS] * 6


def test_without_the_bag_nothing_is_said_about_it(proof, keys):
    verdict = check_proof(proof, keys)
    assert {stage.name for stage in verdict.stages if stage.outcome is Outcome.NOT_CHECKED} == {
        "witnesses",
        "bag",
        "digests",
        "cid",
    }


def test_a_bag_changed_with_its_manifests_made_to_fit_is_refused(proof, keys, bag, place):
    (other,) = (place / "home" / "packages").glob("*/1")
    assert _failed(proof, keys, other) == {"cid"}
    (bag / "data" / "a.txt").write_text("x")
    assert _failed(proof, keys, bag) == {"digests", "cid"}
    (bag / "data" / "a.txt").write_text("a")
    (bag / "extra.txt").write_text("not listed anywhere")
    assert "cid" in _failed(proof, keys, bag)


def test_the_key_of_another_log_is_refused(proof, place):
    with Ledger.open(place / "other") as ledger:
        foreign = [key.vkey for key in ledger.log_keys()]
    assert {"checkpoint", "inclusion", "event"} <= _failed(proof, foreign[:1])


def test_keys_that_are_none(proof):
    for given, code in (([], "log-key-missing"), (["not a key"], "log-key-invalid")):
        with pytest.raises(UsageError) as caught:
            check_proof(proof, given)
        assert caught.value.code == code


def test_another_logs_entries_under_this_checkpoint_are_refused(proof, keys, place):
    with Ledger.open(place / "other") as ledger:
        foreign = parse_proof(ledger.prove(ASSET))
    own = parse_proof(proof)
    swapped = ProofFile(own.checkpoint, own.context, (foreign.entries[0], own.entries[1]))
    assert {"inclusion", "event"} <= _failed(format_proof(swapped), keys)
    swapped = ProofFile(own.checkpoint, own.context, (own.entries[0], foreign.entries[1]))
    assert "inclusion" in _failed(format_proof(swapped), keys)
    without_genesis = ProofFile(own.checkpoint, own.context, own.entries[1:])
    assert _failed(format_proof(without_genesis), keys) == {"event"}
    other_context = ProofFile(own.checkpoint, own.context + b" ", own.entries)
    assert _failed(format_proof(other_context), keys) == {"event"}


def test_no_changed_byte_passes(proof, keys):
    chance = random.Random(20261123)
    for _ in range(150):
        at = chance.randrange(len(proof))
        changed = proof[:at] + bytes([proof[at] ^ 1 << chance.randrange(8)]) + proof[at + 1 :]
        assert _failed(changed, keys), at


def test_the_file_has_one_spelling(proof):
    assert format_proof(parse_proof(proof)) == proof
    document = json.loads(proof)
    for changed in (
        json.dumps(document).encode(),
        proof + b" ",
        proof[:-1],
        proof.replace(b'"version": 1', b'"version": 1, "extra": 1'),
        proof.replace(b'"version": 1', b'"version": 1.0'),
        b"\xef\xbb\xbf" + proof,
    ):
        with pytest.raises(EvidenceInvalid):
            parse_proof(changed)


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"null", b'{"type": "other"}', b"\xff", b"[" * 100_000])
def test_what_is_no_proof_file(text):
    with pytest.raises(EvidenceInvalid):
        parse_proof(text)


def test_limits():
    def made(entries: int, hashes: int) -> bytes:
        items = tuple(ProvedEntry(index, b"{}", (bytes(32),) * hashes) for index in range(entries))
        return format_proof(ProofFile(b"", b"", items))

    parse_proof(made(MAX_ENTRIES, 1))
    parse_proof(made(1, MAX_HASHES))
    for entries, hashes in ((MAX_ENTRIES + 1, 1), (1, MAX_HASHES + 1), (0, 0)):
        with pytest.raises(EvidenceInvalid) as caught:
            parse_proof(made(entries, hashes))
        assert caught.value.code == "proof-malformed"


def test_the_plain_tlog_proof_is_for_other_verifiers(place, keys, proof):
    with Ledger.open(place / "home") as ledger:
        plain = parse_tlog_proof(ledger.prove(ASSET, form="tlog-proof"))
        with pytest.raises(UsageError):
            ledger.prove(ASSET, form="other")
    entry = parse_proof(proof).subject.entry
    check_tlog_proof(plain, entry, [open_vkey(key) for key in keys], "museum.example/ledger/1")


def test_everything_that_has_a_name_can_be_proved_and_traced(place, keys):
    with Ledger.open(place / "home") as ledger:
        shown = ledger.show(ASSET)
        event = next(iter(ledger.events(ASSET)))
        file = ledger.show("data/a.txt").files[0].cid
        for what in (ASSET, event.event_id, "1", shown.packages[0].package_cid, "data/a.txt", file):
            assert check_proof(ledger.prove(what), keys).outcome is Outcome.PASS
        for what, steps in ((ASSET, 2), (shown.packages[0].package_cid, 1), ("data/a.txt", 2), (file, 2)):
            found = ledger.trace(what).steps
            assert len(found) == steps, what
            assert {(step.signature, step.inclusion) for step in found} == {(Outcome.PASS, Outcome.PASS)}
        assert len(ledger.trace(f"{ASSET}#data/b.txt").steps) == 2
        with pytest.raises(EvidenceMissing) as caught:
            ledger.prove("urn:example:none")
        assert caught.value.code == "not-found"
