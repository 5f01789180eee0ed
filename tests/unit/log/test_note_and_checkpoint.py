"""Notes, checkpoints, cosignatures and proofs: round trips, limits, and rules beside the vectors."""

import pytest

from heritage_ledger.errors import EvidenceInvalid, UsageError
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log import checkpoint as checkpoints
from heritage_ledger.log import cosignature, note, proof
from heritage_ledger.log.merkle import EMPTY_ROOT, MAX_PROOF_HASHES, leaf_hash
from heritage_ledger.log.tiles import TILE_WIDTH, bundles_of, encode_bundle, encode_entry, tile_path, tiles_of

ORIGIN = "museum.example/ledger/1"
ED25519 = cosignature.Ed25519NoteSigner.of(ORIGIN, Ed25519Signer.from_seed(bytes(31) + b"\1"))
WITNESS = cosignature.Ed25519CosignatureSigner.of("w.example/one", Ed25519Signer.from_seed(bytes(31) + b"\2"))
MLDSA44 = cosignature.MLDSA44CosignatureSigner.of(ORIGIN, MLDSA44Signer.from_seed(bytes(31) + b"\1"))
SIGNERS = [ED25519, WITNESS, MLDSA44]
POINT = checkpoints.Checkpoint(ORIGIN, 1, leaf_hash(b"x"))


def refused(code, call, *args, **more):
    with pytest.raises(EvidenceInvalid) as caught:
        call(*args, **more)
    assert caught.value.code == code


@pytest.mark.parametrize("signer", SIGNERS)
def test_what_is_signed_opens_and_the_key_survives_being_written(signer):
    data = checkpoints.sign_checkpoint(POINT, [signer], time=1_700_000_000)
    verifier = cosignature.open_vkey(signer.verifier.vkey)
    assert (verifier.name, verifier.key_id) == (signer.name, signer.key_id)
    opened, signed = checkpoints.open_checkpoint(data, [verifier], ORIGIN)
    assert opened == POINT
    if signer is not ED25519:
        assert cosignature.cosignature_time(signed.verified[0].payload) == 1_700_000_000


@pytest.mark.parametrize("signer", SIGNERS)
def test_signature_is_bound_to_every_part_of_the_checkpoint(signer):
    text = checkpoints.format_checkpoint(POINT)
    payload = signer.sign(text, 5)
    signer.verifier.check(text, payload)
    others = [
        checkpoints.Checkpoint(ORIGIN + "0", 1, POINT.root),
        checkpoints.Checkpoint(ORIGIN, 2, POINT.root),
        checkpoints.Checkpoint(ORIGIN, 1, leaf_hash(b"y")),
    ]
    for other in others:
        refused("signature-invalid", signer.verifier.check, checkpoints.format_checkpoint(other), payload)
    if signer is not ED25519:
        refused("signature-invalid", signer.verifier.check, text, (6).to_bytes(8, "big") + payload[8:])
        refused("cosignature-malformed", signer.verifier.check, text, payload[:-1])
        refused("checkpoint-malformed", signer.verifier.check, b"a text\n", payload)


def test_0x06_commits_to_the_name_and_0x04_does_not():
    text = checkpoints.format_checkpoint(POINT)
    other = cosignature.MLDSA44CosignatureVerifier("other.example", MLDSA44.verifier.public)
    refused("signature-invalid", other.check, text, MLDSA44.sign(text, 5))
    other = cosignature.Ed25519CosignatureVerifier("other.example", WITNESS.verifier.public)
    other.check(text, WITNESS.sign(text, 5))


def test_0x06_signs_subtrees_without_a_time():
    payload = MLDSA44.sign_subtree(ORIGIN, 4, 8, bytes(32), 0)
    MLDSA44.verifier.check_subtree(ORIGIN, 4, 8, bytes(32), payload)
    refused("signature-invalid", MLDSA44.verifier.check_subtree, ORIGIN, 4, 7, bytes(32), payload)
    refused("cosignature-time", MLDSA44.sign_subtree, ORIGIN, 4, 8, bytes(32), 1)
    refused("cosignature-subtree", MLDSA44.sign_subtree, "o" * 256, 0, 8, bytes(32), 1)
    refused("cosignature-subtree", MLDSA44.sign_subtree, ORIGIN, 0, 8, bytes(31), 1)


def test_last_time_that_can_be_signed():
    text = checkpoints.format_checkpoint(POINT)
    payload = WITNESS.sign(text, cosignature.MAX_TIME)
    WITNESS.verifier.check(text, payload)
    assert cosignature.cosignature_time(payload) == cosignature.MAX_TIME
    refused("cosignature-time", WITNESS.sign, text, cosignature.MAX_TIME + 1)
    refused("cosignature-time", WITNESS.sign, text, -1)
    refused("cosignature-malformed", cosignature.cosignature_time, bytes(8))


@pytest.mark.parametrize("verifier", [signer.verifier for signer in SIGNERS])
def test_public_key_of_another_size(verifier):
    with pytest.raises(EvidenceInvalid):
        type(verifier)(ORIGIN, verifier.public[:-1])


def test_known_keys_are_told_apart_by_name_and_id():
    data = note.sign_note(b"text\n", [ED25519], time=0)
    same_key_other_name = cosignature.Ed25519Verifier("other.example", ED25519.verifier.public)
    same_name_other_key = cosignature.Ed25519Verifier(ORIGIN, WITNESS.verifier.public)
    for stranger in (same_key_other_name, same_name_other_key):
        refused("note-no-known-key", note.open_note, data, [stranger])
        assert len(note.open_note(data, [stranger, ED25519.verifier]).verified) == 1
    refused("note-no-known-key", note.open_note, data, [])
    with pytest.raises(UsageError) as caught:
        note.open_note(data, [ED25519.verifier, ED25519.verifier])
    assert caught.value.code == "note-key-ambiguous"


def test_key_that_signed_twice_counts_once():
    text = checkpoints.format_checkpoint(POINT)
    lines = [note.Signature(WITNESS.name, WITNESS.key_id, WITNESS.sign(text, time)) for time in (5, 6)]
    opened = note.open_note(note.format_note(text, lines), [WITNESS.verifier])
    assert opened.verified == (lines[0],)


@pytest.mark.parametrize("text", [b"", b"no newline", b"a\ttab\n", b"\xff\n", "\x85\u2028\n".encode()[:-1]])
def test_texts_that_cannot_be_signed(text):
    refused("note-malformed", note.sign_note, text, [ED25519], time=0)


@pytest.mark.parametrize("text", [b"\n", b"a\n\n", b"a\n\n\xe2\x80\x94 b\n", "grüße\n".encode()])
def test_texts_that_can(text):
    assert note.open_note(note.sign_note(text, [ED25519], time=0), [ED25519.verifier]).text == text


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2003b", "a\nb", "n" * 256, "\ud800"])
def test_names_that_no_key_may_have(name):
    refused("note-key-name", note.check_key_name, name)


def test_longest_name_and_most_signatures():
    note.check_key_name("n" * 255)
    line = note.Signature(ORIGIN, ED25519.key_id, ED25519.sign(b"text\n", 0))
    most = note.format_note(b"text\n", [line] * note.MAX_SIGNATURES)
    note.open_note(most, [ED25519.verifier])
    refused("note-too-large", note.format_note, b"text\n", [line] * (note.MAX_SIGNATURES + 1))


def test_largest_note():
    signed = note.sign_note(b"x\n", [ED25519], time=0)
    room = note.MAX_NOTE_SIZE - len(signed)
    largest = note.sign_note(b"x" * room + b"x\n", [ED25519], time=0)
    assert len(largest) == note.MAX_NOTE_SIZE
    refused("note-too-large", note.parse_note, largest + b"\n")


def test_checkpoint_round_trip_keeps_extension_lines_and_writes_none():
    text = checkpoints.format_checkpoint(POINT) + b"one\ntwo two\n"
    parsed = checkpoints.parse_checkpoint(text)
    assert parsed.extensions == ("one", "two two")
    assert checkpoints.format_checkpoint(parsed) == text
    refused("checkpoint-extension", checkpoints.sign_checkpoint, parsed, [ED25519], time=0)


@pytest.mark.parametrize(
    ("point", "code"),
    [
        (checkpoints.Checkpoint("", 1, bytes(32)), "checkpoint-malformed"),
        (checkpoints.Checkpoint("a\nb", 1, bytes(32)), "checkpoint-size"),
        (checkpoints.Checkpoint("o" * 256, 1, bytes(32)), "checkpoint-malformed"),
        (checkpoints.Checkpoint("o\td", 1, bytes(32)), "checkpoint-malformed"),
        (checkpoints.Checkpoint("\ud800", 1, bytes(32)), "checkpoint-malformed"),
        (checkpoints.Checkpoint("o", -1, bytes(32)), "checkpoint-size"),
        (checkpoints.Checkpoint("o", 2**63, bytes(32)), "checkpoint-size"),
        (checkpoints.Checkpoint("o", 1, bytes(33)), "checkpoint-root"),
        (checkpoints.Checkpoint("o", 0, bytes(32)), "checkpoint-root"),
        (checkpoints.Checkpoint("o", 1, bytes(32), ("",)), "checkpoint-malformed"),
    ],
)
def test_checkpoints_that_cannot_be_written(point, code):
    refused(code, checkpoints.format_checkpoint, point)


def test_checkpoints_at_the_limits():
    for point in (
        checkpoints.Checkpoint("o" * 255, 2**63 - 1, bytes(32)),
        checkpoints.Checkpoint("ö", 0, EMPTY_ROOT),
    ):
        assert checkpoints.parse_checkpoint(checkpoints.format_checkpoint(point)) == point


def test_proof_limits():
    signed = checkpoints.sign_checkpoint(POINT, [ED25519], time=0)
    for good in (
        proof.TlogProof(0, (bytes(32),) * MAX_PROOF_HASHES, signed),
        proof.TlogProof(2**63 - 1, (), signed, b"e" * proof.MAX_EXTRA_SIZE),
    ):
        assert proof.parse_tlog_proof(proof.format_tlog_proof(good)) == good
    for wrong, code in (
        (proof.TlogProof(0, (bytes(32),) * (MAX_PROOF_HASHES + 1), signed), "proof-too-large"),
        (proof.TlogProof(0, (), signed, b"e" * (proof.MAX_EXTRA_SIZE + 1)), "proof-too-large"),
        (proof.TlogProof(0, (), signed, b""), "proof-malformed"),
        (proof.TlogProof(-1, (), signed), "proof-malformed"),
        (proof.TlogProof(0, (bytes(31),), signed), "proof-malformed"),
        (proof.TlogProof(0, (), b"none"), "note-malformed"),
    ):
        refused(code, proof.format_tlog_proof, wrong)
    refused("proof-too-large", proof.parse_tlog_proof, bytes(proof.MAX_PROOF_SIZE + 1))


def test_proof_binds_the_entry():
    signed = checkpoints.sign_checkpoint(POINT, [ED25519], time=0)
    good = proof.TlogProof(0, (), signed)
    proof.check_tlog_proof(good, b"x", [ED25519.verifier], ORIGIN)
    refused("merkle-inclusion", proof.check_tlog_proof, good, b"y", [ED25519.verifier], ORIGIN)
    refused("note-no-known-key", proof.check_tlog_proof, good, b"x", [WITNESS.verifier], ORIGIN)


def test_tiles_of_the_example_in_tlog_tiles():
    places = [tile.path for tile in tiles_of(70_000)]
    assert places[:2] == ["tile/0/000", "tile/0/001"]
    assert places[272:] == [
        "tile/0/272", "tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"
    ]  # fmt: skip
    assert [tile.path for tile in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert [bundle.path for bundle in bundles_of(300)] == ["tile/entries/000", "tile/entries/001.p/44"]
    assert list(tiles_of(0)) == list(bundles_of(0)) == []


@pytest.mark.parametrize(
    ("level", "index", "width"), [(64, 0, 256), (-1, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)]
)
def test_tiles_that_do_not_exist(level, index, width):
    with pytest.raises(UsageError) as caught:
        tile_path(level, index, width)
    assert caught.value.code == "log-tile-path"


def test_largest_entry_and_bundle():
    assert encode_entry(bytes(65_535))[:2] == b"\xff\xff"
    with pytest.raises(UsageError) as caught:
        encode_entry(bytes(65_536))
    assert caught.value.code == "log-entry-size"
    assert len(encode_bundle([b""] * TILE_WIDTH)) == 2 * TILE_WIDTH
    for count in (0, TILE_WIDTH + 1):
        with pytest.raises(UsageError) as caught:
            encode_bundle([b""] * count)
        assert caught.value.code == "log-bundle-width"
