"""Every case of specs/vectors/log.json, and that the file is what its generator makes."""

import json

import pytest

from heritage_ledger.errors import HeritageError
from heritage_ledger.log import merkle, tiles
from heritage_ledger.log.checkpoint import open_checkpoint
from heritage_ledger.log.cosignature import open_vkey
from heritage_ledger.log.note import open_note
from heritage_ledger.log.proof import check_tlog_proof, format_tlog_proof, parse_tlog_proof
from vectors import make_log

DOCUMENT = json.loads(make_log.TARGET.read_text())
CASES = DOCUMENT["cases"]
unhex = bytes.fromhex


def root(entries):
    return merkle.root_of([merkle.leaf_hash(unhex(entry)) for entry in entries]).hex()


def check_inclusion(leaf, index, size, proof, root):
    merkle.check_inclusion(unhex(leaf), index, size, [unhex(value) for value in proof], unhex(root))


def check_consistency(old_size, new_size, proof, old_root, new_root):
    hashes = [unhex(value) for value in proof]
    merkle.check_consistency(old_size, new_size, hashes, unhex(old_root), unhex(new_root))


def opened_note(note, vkeys):
    opened = open_note(unhex(note), [open_vkey(key) for key in vkeys])
    return {
        "text": opened.text.hex(),
        "verified": [line.name for line in opened.verified],
        "unknown": [line.name for line in opened.unknown],
    }


def opened_vkey(vkey):
    verifier = open_vkey(vkey)
    assert verifier.vkey == vkey
    return {"name": verifier.name, "key_id": verifier.key_id.hex()}


def opened_checkpoint(checkpoint, vkeys, origin):
    opened, note = open_checkpoint(checkpoint.encode(), [open_vkey(key) for key in vkeys], origin)
    return {"size": opened.size, "root": opened.root.hex(), "verified": len(note.verified)}


def parse_path(path):
    place = tiles.parse_path(path)
    assert place.path == path
    return [getattr(place, "level", None), place.index, place.width]


def decode_bundle(data, width):
    entries = tiles.decode_bundle(unhex(data), width)
    assert tiles.encode_bundle(entries).hex() == data
    return [entry.hex() for entry in entries]


def check_proof(proof, entry, origin, vkeys):
    parsed = parse_tlog_proof(proof.encode())
    assert format_tlog_proof(parsed).decode() == proof
    check_tlog_proof(parsed, unhex(entry), [open_vkey(key) for key in vkeys], origin)


OPERATIONS = {
    "root": root,
    "check_inclusion": check_inclusion,
    "check_consistency": check_consistency,
    "open_note": opened_note,
    "open_vkey": opened_vkey,
    "open_checkpoint": opened_checkpoint,
    "parse_path": parse_path,
    "decode_bundle": decode_bundle,
    "check_proof": check_proof,
}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(case):
    given = dict(case["given"])
    run = OPERATIONS[given.pop("op")]
    expect = case["expect"]
    if isinstance(expect, dict) and "error" in expect:
        with pytest.raises(HeritageError) as caught:
            run(**given)
        assert caught.value.code == expect["error"], case["why"]
    else:
        assert run(**given) == expect, case["why"]


def test_file_is_what_the_generator_makes():
    assert make_log.make(DOCUMENT["kept"]["mldsa44_line"]) == DOCUMENT


def test_ids_are_unique_and_wrong_cases_are_not_fewer():
    ids = [case["id"] for case in CASES]
    wrong = sum(isinstance(case["expect"], dict) and "error" in case["expect"] for case in CASES)
    assert len(ids) == len(set(ids))
    assert wrong >= len(CASES) - wrong
