"""Trees, notes and logs made by others: transparency-dev/merkle, Tessera, torchwood, C2SP, Go's x/mod."""

import base64
import json

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log import merkle
from heritage_ledger.log.checkpoint import open_checkpoint, read_unverified
from heritage_ledger.log.cosignature import Ed25519NoteSigner, cosignature_time, open_vkey
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.note import format_note, open_note, parse_note, sign_note
from heritage_ledger.log.tiles import decode_bundle
from heritage_ledger.log.verify import check_tree
from heritage_testkit.outside import vectors

# hashes that are not 32 bytes: right in shape, refused by a strict check
RANDOM_ROOT = "subtree-root-valid-tree-root-random-proof-is-empty.json"
NOT_SHA256 = {
    "consistency/additional/sizes-are-equal-one-and-proof-is-empty.json",
    "subtreeconsistency/additional/sizes-are-equal-one-and-proof-is-empty.json",
    f"subtreeconsistency/additional/subtree-is-empty-sizes-are-equal-one-{RANDOM_ROOT}",
    f"subtreeconsistency/additional/subtree-is-empty-sizes-are-equal-zero-{RANDOM_ROOT}",
}
TESSERA_ORIGIN = "example.com/log/testdata"
TESSERA_KEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"

pytestmark = pytest.mark.external


def unbase64(text):
    return base64.b64decode(text or "")


def check_case(kind, case):
    proof = [unbase64(value) for value in case["proof"] or []]
    if kind == "inclusion":
        leaf, root = unbase64(case["leafHash"]), unbase64(case["root"])
        merkle.check_inclusion(leaf, case["leafIdx"], case["treeSize"], proof, root)
    elif kind == "subtreeinclusion":
        leaf, root = unbase64(case["leafHash"]), unbase64(case["root"])
        span = {"start": case["start"], "end": case["end"]}
        merkle.check_subtree_inclusion(leaf, case["leafIdx"], proof, root, **span)
    elif kind == "consistency":
        roots = unbase64(case["root1"]), unbase64(case["root2"])
        merkle.check_consistency(case["size1"], case["size2"], proof, *roots)
    else:
        roots = unbase64(case["root1"]), unbase64(case["root2"])
        span = {"start": case["start"], "end": case["end"], "size": case["size"]}
        merkle.check_subtree_consistency(proof, *roots, **span)


@pytest.mark.parametrize(
    ("kind", "count"),
    [("inclusion", 98), ("consistency", 98), ("subtreeinclusion", 204), ("subtreeconsistency", 118)],
)
def test_every_case_of_transparency_dev_merkle(kind, count):
    folder = vectors("merkle")
    paths = sorted((folder / kind).rglob("*.json"))
    assert len(paths) == count
    for path in paths:
        case = json.loads(path.read_text())
        name = path.relative_to(folder).as_posix()
        if not case["wantErr"] and name not in NOT_SHA256:
            check_case(kind, case)
            continue
        with pytest.raises(EvidenceInvalid) as caught:
            check_case(kind, case)
        if name in NOT_SHA256:
            assert caught.value.code == "merkle-hash-size", name


@pytest.mark.parametrize("size", range(16))
def test_tessera_checkpoint(size):
    data = (vectors("tessera-log") / f"checkpoint.{size}").read_bytes()
    checkpoint, note = open_checkpoint(data, [open_vkey(TESSERA_KEY)], TESSERA_ORIGIN)
    assert checkpoint.size == size
    assert len(note.verified) == 1
    parsed = parse_note(data)
    assert format_note(parsed.text, parsed.signatures) == data


@pytest.mark.parametrize("size", range(1, 16))
def test_tessera_tiles_and_bundles_come_to_each_signed_root(size):
    folder = vectors("tessera-log")
    files = LogFiles(folder)
    root = read_unverified((folder / f"checkpoint.{size}").read_bytes()).root
    assert list(check_tree(files, size, root)) == []
    assert files.root(size) == root
    entries = list(files.read_entries(0, size, size))
    assert entries == decode_bundle((folder / f"tile/entries/000.p/{size}").read_bytes(), size)
    for index, entry in enumerate(entries):
        proof = files.prove_inclusion(index, size, root)
        merkle.check_inclusion(merkle.leaf_hash(entry), index, size, proof, root)
        old = read_unverified((folder / f"checkpoint.{index + 1}").read_bytes()).root
        grown = files.prove_consistency(index + 1, size)
        merkle.check_consistency(index + 1, size, grown, old, root)


def test_mldsa44_checkpoint_by_litewitness():
    folder = vectors("tlog-mldsa")
    files = {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}
    note = next(text for text in files.values() if "\n\n— " in text).encode()
    key = next(text for text in files.values() if "\n\n— " not in text and "+" in text).strip()
    checkpoint, opened = open_checkpoint(note, [open_vkey(key)], "example.com/mldsa-log")
    assert checkpoint.size == 1
    assert cosignature_time(opened.verified[0].payload) == 0
    broken = note.replace(b"mldsa-log\n1\n", b"mldsa-log\n2\n")
    with pytest.raises(EvidenceInvalid) as caught:
        open_checkpoint(broken, [open_vkey(key)], "example.com/mldsa-log")
    assert caught.value.code == "note-signature"


def test_worked_example_of_c2sp_signed_note():
    key = open_vkey("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    signature = "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    note = f"This is an example message.\n\n— example.com/foo {signature}\n".encode()
    assert open_note(note, [key]).text == b"This is an example message.\n"


GO_TEXT = (
    b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
PETER_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
PETER_LINE = f"— PeterNeumann {PETER_SIGNATURE}\n"
ENOCH_SIGNATURE = (
    "rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ="
)
ENOCH_LINE = f"— EnochRoot {ENOCH_SIGNATURE}\n"


def test_notes_of_the_go_tests():
    note = GO_TEXT + b"\n" + (PETER_LINE + ENOCH_LINE).encode()
    opened = open_note(note, [open_vkey(PETER), open_vkey(ENOCH)])
    assert (len(opened.verified), len(opened.unknown)) == (2, 0)
    opened = open_note(note, [open_vkey(ENOCH)])
    assert (len(opened.verified), len(opened.unknown)) == (1, 1)


def test_signing_gives_the_bytes_that_go_signs():
    seed = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    signer = Ed25519NoteSigner.of("PeterNeumann", Ed25519Signer.from_seed(seed))
    assert signer.verifier.vkey == PETER
    assert sign_note(GO_TEXT, [signer], time=0) == GO_TEXT + b"\n" + PETER_LINE.encode()


def test_no_part_of_a_verifier_key_is_a_verifier_key():
    for start in range(len(PETER)):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                with pytest.raises(EvidenceInvalid):
                    open_vkey(PETER[start:end])


def test_no_changed_character_leaves_a_verifier_key():
    for at, character in enumerate(PETER):
        with pytest.raises(EvidenceInvalid):
            open_vkey(PETER[:at] + chr(ord(character) + 1) + PETER[at + 1 :])
