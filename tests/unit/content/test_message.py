"""UnixFS messages: fields in ascending order, each in its one form."""

from __future__ import annotations

import pytest

from heritage_ledger.content.message import (
    MAX_MODE,
    MAX_NANOSECONDS,
    Kind,
    Message,
    Mtime,
    encode_message,
    parse_message,
)
from heritage_ledger.errors import EvidenceInvalid


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        (Message(Kind.DIRECTORY), "0801"),
        (Message(Kind.FILE, filesize=0), "08021800"),
        (Message(Kind.FILE, b"hi", 2), "08021202686918" + "02"),
        (Message(Kind.FILE, None, 3, (2, 1)), "0802180320022001"),
        (Message(Kind.SYMLINK, b"foo"), "08041203666f6f"),
        (Message(Kind.SHARD, b"\x80", hash_type=0x22, fanout=256), "080512018028223" + "08002"),
        (Message(Kind.DIRECTORY, mode=0o755), "080138ed03"),
        (Message(Kind.DIRECTORY, mode=MAX_MODE), "080138ffffffff0f"),
        (Message(Kind.DIRECTORY, mtime=Mtime(1)), "080142020801"),
        (Message(Kind.DIRECTORY, mtime=Mtime(-1, 1)), "0801421008ffffffffffffffffff011501000000"),
        (Message(Kind.DIRECTORY, mtime=Mtime(0, MAX_NANOSECONDS)), "08014207080015ffc99a3b"),
    ],
)
def test_a_message_has_one_encoding(message, encoded):
    assert encode_message(message).hex() == encoded
    assert parse_message(bytes.fromhex(encoded)) == message


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "08",
        "0806",
        "1800",
        "08020802",
        "080218001800",
        "08021800" + "1200",
        "0802180322020201",  # blocksizes packed
        "08022001" + "1801",
        "08011203",
        "0801ff",
        "08014a00",
        "088200",
        "080138808080801000"[:-2],
        "08014200",
        "0801420815010000000801"[:-2],
        "080142020801" + "00",
        "08014207080115" + "00000000",
        "08014207080115" + (MAX_NANOSECONDS + 1).to_bytes(4, "little").hex(),
        "08014206080115010000",
        "0801420408010801",
    ],
)
def test_other_forms_are_refused(encoded):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_message(bytes.fromhex(encoded))
    assert caught.value.code == "unixfs-malformed"


def test_a_mode_above_32_bits_is_refused():
    too_large = "080138" + "8080808010"
    with pytest.raises(EvidenceInvalid) as caught:
        parse_message(bytes.fromhex(too_large))
    assert "32 bits" in caught.value.message
