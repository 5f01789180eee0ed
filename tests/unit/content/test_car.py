"""CARv1 is written as others read it, and read only in that form, block by block, within limits."""

from __future__ import annotations

import io

import pytest

from heritage_ledger.content.car import (
    MAX_HEADER,
    MAX_ROOTS,
    MAX_SECTION,
    encode_car,
    encode_header,
    encode_section,
    open_car,
)
from heritage_ledger.content.cid import CID_LENGTH, DAG_PB, RAW, block_cid, encode_cid_v0
from heritage_ledger.content.dagpb import MAX_BLOCK
from heritage_ledger.content.varint import encode_varint
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, HeritageError

BLOCKS = [(block_cid(RAW, block), block) for block in (b"hello", b"", b"world" * 100)]
ROOT = BLOCKS[0][0]
CAR = b"".join(encode_car([ROOT], BLOCKS))


def read(data: bytes, **options):
    car = open_car(io.BytesIO(data).read, **options)
    return car.roots, list(car.blocks)


def refusal(data: bytes, **options) -> str:
    with pytest.raises((EvidenceInvalid, EvidenceMissing)) as caught:
        read(data, **options)
    return caught.value.code


def with_header(header: bytes) -> bytes:
    return encode_varint(len(header)) + header


def test_the_header_is_the_one_of_the_specification():
    assert encode_header([ROOT]).hex() == "3aa265726f6f747381d82a582500" + ROOT.hex() + "6776657273696f6e01"


def test_what_is_written_is_read():
    assert read(CAR) == ((ROOT,), BLOCKS)
    assert read(b"".join(encode_car([], []))) == ((), [])


def test_a_stream_that_gives_few_bytes_at_a_time_is_read():
    stream = io.BytesIO(CAR)
    car = open_car(lambda count: stream.read(min(count, 3)))
    assert list(car.blocks) == BLOCKS


def test_blocks_are_read_one_at_a_time():
    stream = io.BytesIO(CAR + b"\xff")
    car = open_car(stream.read)
    assert next(car.blocks) == BLOCKS[0]
    assert stream.tell() == len(encode_header([ROOT])) + len(b"".join(encode_section(*BLOCKS[0])))


def test_a_section_may_name_its_block_by_a_cid_of_version_0():
    block = b"\x0a\x02\x08\x01"
    cid = block_cid(DAG_PB, block)
    section = encode_cid_v0(cid) + block
    data = encode_header([ROOT]) + encode_varint(len(section)) + section
    assert read(data)[1] == [(cid, block)]


def test_a_car_that_is_cut_off_is_told_unless_it_ends_between_sections():
    ends = [len(encode_header([ROOT]))]
    for cid, block in BLOCKS:
        ends.append(ends[-1] + len(b"".join(encode_section(cid, block))))
    for end in range(len(CAR)):
        if end in ends:
            assert read(CAR[:end])[1] == BLOCKS[: ends.index(end)]
        else:
            assert refusal(CAR[:end]) == "car-cut-off"


def test_a_flipped_bit_is_never_read_as_something_else():
    for at in range(len(CAR)):
        data = CAR[:at] + bytes((CAR[at] ^ 1,)) + CAR[at + 1 :]
        try:
            roots, blocks = read(data)
        except HeritageError:
            continue
        # a root may be another CID, and a codec another: both are unproved claims about whole blocks
        assert [block for _, block in blocks] == [block for _, block in BLOCKS]
        assert roots != (ROOT,) or [cid[1] for cid, _ in blocks] != [cid[1] for cid, _ in BLOCKS]


HEADER = encode_header([ROOT])[1:]


@pytest.mark.parametrize(
    "header",
    [
        b"\xa1\x65roots\x80",
        b"\xa2\x67version\x01\x65roots\x80",
        b"\xa2\x65roots\x80\x67version\x02",
        b"\xa2\x65roots\x80\x67version\x18\x01",
        b"\xa2\x65roots\x98\x00\x67version\x01",
        b"\xa2\x65roots\x9f\xff\x67version\x01",
        b"\xa2\x65roots\x60\x67version\x01",
        b"\xb8\x02\x65roots\x80\x67version\x01",
        b"\xa2\x65roots\x80\x67version\x01\x00",
        HEADER[:-1],
        HEADER + b"\0",
        HEADER.replace(b"\xd8\x2a", b"\xd8\x2b"),
        HEADER.replace(b"\xd8\x2a\x58\x25\x00", b"\xd8\x2a\x58\x25\x01"),
        HEADER.replace(b"\xd8\x2a\x58\x25", b"\xd8\x2a\x78\x25"),
        HEADER.replace(b"\xd8\x2a\x58\x25", b"\xd8\x2a\x59\x00\x25"),
        b"\xa1\x67version\x02",
    ],
)  # fmt: skip
def test_other_headers_are_refused(header):
    assert refusal(with_header(header)) == "car-malformed"


def test_a_root_of_another_kind_is_refused():
    cid = bytes.fromhex("01711220") + bytes(32)
    assert refusal(with_header(HEADER.replace(ROOT, cid))) == "cid-unsupported"


@pytest.mark.parametrize(
    ("section", "code"),
    [
        (b"", "car-malformed"),
        (b"\x01", "cid-malformed"),
        (ROOT[:-1], "cid-malformed"),
        (ROOT + b"hellp", "block-damaged"),
        (ROOT + b"hello ", "block-damaged"),
        (bytes.fromhex("01711220") + ROOT[4:] + b"hello", "cid-unsupported"),
        (bytes.fromhex("01551340") + bytes(64) + b"hello", "cid-unsupported"),
        (bytes.fromhex("01550005") + b"hello", "cid-unsupported"),
    ],
)
def test_other_sections_are_refused(section, code):
    assert refusal(encode_header([ROOT]) + encode_varint(len(section)) + section) == code


def test_a_length_that_is_not_a_shortest_varint_is_refused():
    assert refusal(b"\xba\x00" + HEADER) == "car-malformed"
    assert refusal(b"\x80" * 11) == "car-malformed"


def test_no_stream_is_no_car():
    assert refusal(b"") == "car-cut-off"


def test_roots_are_limited():
    assert len(open_car(io.BytesIO(encode_header([ROOT] * MAX_ROOTS)).read).roots) == MAX_ROOTS
    assert len(encode_header([ROOT] * MAX_ROOTS)) <= MAX_HEADER
    with pytest.raises(EvidenceInvalid) as caught:
        encode_header([ROOT] * (MAX_ROOTS + 1))
    assert caught.value.code == "car-too-large"
    one = b"\xd8\x2a\x58\x25\x00" + ROOT
    header = b"\xa2\x65roots\x99\x04\x01" + one * (MAX_ROOTS + 1) + b"\x67version\x01"
    assert refusal(with_header(header)) == "car-too-large"


def test_headers_are_limited():
    assert refusal(encode_varint(MAX_HEADER) + b"\0" * MAX_HEADER) == "car-malformed"
    assert refusal(encode_varint(MAX_HEADER + 1)) == "car-too-large"


def test_sections_are_limited():
    block = bytes(MAX_BLOCK)
    section = b"".join(encode_section(block_cid(RAW, block), block))
    assert len(section) == MAX_SECTION + 4
    assert len(read(encode_header([]) + section)[1]) == 1
    assert MAX_SECTION == CID_LENGTH + MAX_BLOCK
    assert refusal(encode_header([]) + encode_varint(MAX_SECTION + 1)) == "car-too-large"


def test_the_whole_stream_can_be_limited():
    assert read(CAR, max_size=len(CAR))[1] == BLOCKS
    assert refusal(CAR, max_size=len(CAR) - 1) == "car-too-large"
