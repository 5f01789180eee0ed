"""One read of each file gives every digest, in the order asked for."""

from __future__ import annotations

import hashlib
import os

import pytest

from heritage_ledger.content.reading import (
    CHUNK_SIZE,
    SPLIT_FROM,
    is_large,
    read_descriptor,
    read_file,
    read_small,
    spread,
)
from heritage_ledger.errors import OperationFailed

SIZES = [0, 1, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE, SPLIT_FROM, SPLIT_FROM + 7]


def _leaves(data: bytes) -> bytes:
    pieces = [data[at : at + CHUNK_SIZE] for at in range(0, len(data), CHUNK_SIZE)] or [b""]
    return b"".join(hashlib.sha256(piece).digest() for piece in pieces)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_size_gives_the_plain_digests(tmp_path, threads):
    contents = {str(size): os.urandom(size) for size in SIZES}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    told = []
    results = list(
        spread(
            contents,
            lambda name, helper: read_file(
                tmp_path / name, ["sha512", "md5"], helper=helper, progress=told.append
            ),
            is_large=lambda name: is_large(tmp_path, name),
            threads=threads,
        )
    )
    assert [name for name, _ in results] == list(contents)
    for name, found in results:
        data = contents[name]
        assert found.size == len(data)
        assert found.digests == {
            "sha512": hashlib.sha512(data).digest(),
            "md5": hashlib.md5(data).digest(),
        }
        assert found.leaves == _leaves(data)
        assert read_small(data, ["sha512", "md5"]) == found
    assert sum(told) == sum(SIZES)


def test_the_copy_gets_every_piece_at_its_offset(tmp_path):
    data = os.urandom(2 * CHUNK_SIZE + 5)
    (tmp_path / "x").write_bytes(data)
    copy = bytearray(len(data))

    def write(piece, offset):
        copy[offset : offset + len(piece)] = piece

    with (tmp_path / "x").open("rb") as file:
        read_descriptor(file.fileno(), (), write=write)
    assert bytes(copy) == data


def test_a_pipe_with_short_reads_is_cut_at_the_same_places():
    data = os.urandom(CHUNK_SIZE + 100)
    reader, writer = os.pipe()
    if os.fork() == 0:
        for at in range(0, len(data), 1000):
            os.write(writer, data[at : at + 1000])
        os._exit(0)
    os.close(writer)
    found = read_descriptor(reader, ["sha256"])
    os.close(reader)
    os.wait()
    assert found.leaves == _leaves(data)
    assert found.digests["sha256"] == hashlib.sha256(data).digest()


def test_a_missing_file_a_link_and_a_pipe_are_not_read(tmp_path):
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    assert read_file(tmp_path / "real", ["sha512"]).size == 1
    for name in ("none", "link", "pipe"):
        with pytest.raises(OSError, match=name if name != "pipe" else "regular"):
            read_file(tmp_path / name, ["sha512"])


def test_an_unknown_algorithm_is_said(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(OperationFailed) as caught:
        read_file(tmp_path / "x", ["blake9"])
    assert caught.value.code == "algorithm-unknown"
