"""One binary form and one text for each CID; everything else is refused, and told what it is."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
from multiformats import CID

from heritage_ledger.content import cid as cids
from heritage_ledger.content.cid import DAG_PB, MAX_CID_TEXT, RAW
from heritage_ledger.errors import EvidenceInvalid

HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
HELLO_DIGEST = hashlib.sha256(b"hello world").digest()
EMPTY_DIRECTORY = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
EMPTY_DIRECTORY_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"


def refusal(call, *arguments) -> EvidenceInvalid:
    with pytest.raises(EvidenceInvalid) as caught:
        call(*arguments)
    return caught.value


def test_a_cid_is_36_bytes_and_59_letters():
    cid = cids.make_cid(RAW, HELLO_DIGEST)

    assert cid == bytes.fromhex("01551220") + HELLO_DIGEST
    assert cids.format_cid(cid) == HELLO
    assert cids.parse_cid(HELLO) == cid
    assert (cids.codec_of(cid), cids.digest_of(cid)) == (RAW, HELLO_DIGEST)
    assert cids.block_cid(RAW, b"hello world") == cid


@pytest.mark.parametrize("codec", [RAW, DAG_PB])
def test_multiformats_reads_what_is_written_and_writes_what_is_read(codec):
    cid = cids.make_cid(codec, HELLO_DIGEST)
    other = CID.decode(cids.format_cid(cid))

    assert bytes(other) == cid
    assert (other.version, other.codec.code, other.hashfun.name) == (1, codec, "sha2-256")
    assert str(other) == cids.format_cid(cid)


def test_only_raw_and_dag_pb_and_32_bytes_make_a_cid():
    assert refusal(cids.make_cid, 0x71, HELLO_DIGEST).code == "cid-unsupported"
    assert refusal(cids.make_cid, RAW, HELLO_DIGEST[:31]).code == "cid-malformed"
    assert refusal(cids.make_cid, RAW, HELLO_DIGEST + b"\0").code == "cid-malformed"


@pytest.mark.parametrize(
    ("text", "code", "found"),
    [
        (EMPTY_DIRECTORY_V0, "cid-unsupported", "Qm"),
        (str(CID.decode(HELLO).encode("base16")), "cid-unsupported", "prefix f"),
        (str(CID.decode(HELLO).encode("base58btc")), "cid-unsupported", "prefix z"),
        (HELLO.upper(), "cid-unsupported", "prefix B"),
        ("bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua", "cid-unsupported", "dag-cbor"),
        ("bafkqaaa", "cid-unsupported", "identity"),
        ("bafkrgqbqt3gerhas23vuzrapkdeqf4vu2dwxp3srdj6hvg6nhsug2tgyn6mj3u23yx7utftq3i2ckw2fwdh5qmhid5qf3t35yvkc5e5ottlw6",
         "cid-unsupported", "sha2-512"),
        ("", "cid-malformed", ""),
        ("b", "cid-malformed", ""),
        ("hello", "cid-malformed", "hello"),
        (HELLO[:-1], "cid-malformed", ""),
        (HELLO + "a", "cid-malformed", ""),
        (HELLO + "=", "cid-malformed", ""),
        (HELLO[:-1] + "f", "cid-malformed", HELLO[:-1] + "f"),
        ("b" + HELLO[1:].upper(), "cid-malformed", ""),
        (HELLO[:-1] + "é", "cid-malformed", ""),
        (" " + HELLO, "cid-malformed", ""),
        (HELLO + "\n", "cid-malformed", ""),
        ("b" + "1" * 58, "cid-malformed", ""),
    ],
)  # fmt: skip
def test_other_texts_are_refused_and_told_what_they_are(text, code, found):
    error = refusal(cids.parse_cid, text)

    assert error.code == code
    assert found in error.found


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "cid-malformed"),
        (b"\x01", "cid-malformed"),
        (bytes.fromhex("01551220") + HELLO_DIGEST + b"\0", "cid-malformed"),
        (bytes.fromhex("01551220") + HELLO_DIGEST[:-1], "cid-malformed"),
        (bytes.fromhex("02551220") + HELLO_DIGEST, "cid-malformed"),
        (bytes.fromhex("8100551220") + HELLO_DIGEST, "cid-malformed"),
        (bytes.fromhex("01551320") + HELLO_DIGEST, "cid-unsupported"),
        (bytes.fromhex("01711220") + HELLO_DIGEST, "cid-unsupported"),
        (bytes.fromhex("1220") + HELLO_DIGEST, "cid-unsupported"),
    ],
)
def test_other_bytes_are_refused(data, code):
    assert refusal(cids.parse_cid_bytes, data).code == code


def test_a_cid_v0_is_the_same_block_as_the_v1_with_its_digest():
    cid = cids.parse_cid(EMPTY_DIRECTORY)

    assert cids.format_cid_v0(cid) == EMPTY_DIRECTORY_V0
    assert cids.parse_link_cid(cids.encode_cid_v0(cid)) == cid
    assert refusal(cids.format_cid_v0, cids.parse_cid(HELLO)).code == "cid-unsupported"


@pytest.mark.parametrize(
    "base", ["base16", "base16upper", "base32", "base32upper", "base36", "base58btc", "base64url"]
)
def test_a_person_may_write_a_cid_in_any_multibase(base):
    assert cids.parse_cid_spelling(CID.decode(HELLO).encode(base)) == cids.parse_cid(HELLO)


def test_a_person_may_write_a_cid_v0():
    assert cids.parse_cid_spelling(EMPTY_DIRECTORY_V0) == cids.parse_cid(EMPTY_DIRECTORY)


@pytest.mark.parametrize(
    "text", ["z", "fzz", "f0155", "k51", "Z123", "\0ab", "9123", "m" + "A" * 20, "é", "Qm" + "0" * 44]
)
def test_no_spelling_brings_out_a_foreign_exception(text):
    assert refusal(cids.parse_cid_spelling, text).code in {"cid-malformed", "cid-unsupported"}


def test_a_text_above_the_limit_is_not_decoded():
    within = "z" + "1" * (MAX_CID_TEXT - 1)
    assert refusal(cids.parse_cid_spelling, within).code == "cid-malformed"
    assert refusal(cids.parse_cid_spelling, within + "1").code == "cid-unsupported"


def test_a_block_is_checked_against_its_cid():
    cid = cids.parse_cid(HELLO)
    cids.check_block(cid, b"hello world")

    error = refusal(cids.check_block, cid, b"hello worle")

    assert (error.code, error.path, error.expected) == ("block-damaged", HELLO, HELLO_DIGEST.hex())


def test_a_cid_is_cut_off_the_bytes_that_follow_it():
    cid = cids.parse_cid(EMPTY_DIRECTORY)

    assert cids.cut_cid(cid + b"rest") == (cid, b"rest")
    assert cids.cut_cid(cids.encode_cid_v0(cid) + b"rest") == (cid, b"rest")
    assert refusal(cids.cut_cid, bytes.fromhex("01551340") + bytes(64) + b"rest").code == "cid-unsupported"
    assert refusal(cids.cut_cid, cid[:20]).code == "cid-malformed"


def test_any_well_formed_cid_passes_as_one():
    cids.check_cid_bytes(bytes.fromhex("015500050001020304"))
    assert refusal(cids.check_cid_bytes, bytes.fromhex("0155000500010203")).code == "cid-malformed"


def test_multiformats_is_not_imported_before_it_is_needed():
    code = (
        "import sys, heritage_ledger.content.cid as c; c.parse_cid(sys.argv[1]);"
        "sys.exit('multiformats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, HELLO], check=False).returncode == 0
