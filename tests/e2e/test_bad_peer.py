"""A peer that lies in every way it can: nothing of it is taken, and what is honest goes on as before."""

import gzip
import threading
import urllib.request
from pathlib import Path

import pytest

from heritage_testkit.between import between
from heritage_testkit.hostile import SHAPES
from heritage_testkit.nodes import federation, until

pytestmark = pytest.mark.xdist_group("bad peer")
MEMORY_MIB = 300
"""MiB that a node may have taken at most, whatever was sent to it."""


def deposit(one, tmp_path, number):
    folder = tmp_path / f"scan-{one.origin[:3]}-{number}"
    folder.mkdir()
    (folder / "page.tif").write_bytes(bytes([number % 256]) * 1_200_000 + b"%d" % number)
    return one.run("ingest", folder, "--asset", f"urn:example:{number}")[-1]


def peak_mib(one):
    text = Path(f"/proc/{one.process.pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) / 1024


def stream(piece, *, times=1 << 40):
    """Say pieces for ever, or until the other side has had enough."""

    def say(handler, _path, _answer):
        handler.send_response(200)
        handler.send_header("Connection", "close")
        handler.end_headers()
        for _ in range(times):
            handler.wfile.write(piece)

    return say


def changed(handler, path, answer):
    status, headers, body = answer
    if path.startswith("/log/tile") and body:
        body = body[:-1] + bytes([body[-1] ^ 1])
    return status, headers, body


def cut(handler, path, answer):
    status, headers, body = answer
    return (status, headers, body[: len(body) // 2]) if path.startswith("/log/") else answer


def withheld(handler, path, answer):
    return (404, {}, b"") if path.startswith("/log/tile") else answer


def bomb(handler, path, answer):
    return 200, {"Content-Encoding": "gzip"}, gzip.compress(bytes(64 << 20), 1)


LIES = {
    "changed": changed,
    "cut": cut,
    "withheld": withheld,
    "bomb": bomb,
    "zeroes for ever": stream(bytes(1 << 20)),
}


def test_lies_of_a_peer_change_nothing(tmp_path):
    with (
        federation(tmp_path, "museum", "archive", "library") as (museum, archive, library),
        between(library.url) as liar,
    ):
        for one in (museum, archive):
            one.run("peer", "remove", library.origin)
            one.run("peer", "add", liar.url, "--yes", "--key", library.key())
        receipt = deposit(library, tmp_path, 0)
        until(lambda: archive.mirrored(library) > receipt["log_index"])
        stale = (library.home / "log" / "checkpoint").read_bytes()
        deposit(library, tmp_path, 1)
        until(lambda: archive.mirrored(library) == library.standing()["entries"])
        mirrored = archive.mirrored(library)
        other = (museum.home / "log" / "checkpoint").read_bytes()

        def only(data):
            return lambda _, path, answer: (200, {}, data) if path == "/log/checkpoint" else answer

        lies = LIES | {"stale": only(stale), "another origin": only(other)}
        for number, (name, lie) in enumerate(lies.items(), 10):
            liar.lie = lie
            asked = liar.asked
            deposit(library, tmp_path, number)  # something new, which the liar stands before
            honest = deposit(museum, tmp_path, number)
            until(lambda honest=honest: archive.mirrored(museum) > honest["log_index"])
            until(lambda asked=asked: liar.asked > asked + 1)
            assert archive.mirrored(library) == mirrored, name
            assert peak_mib(archive) < MEMORY_MIB, name
        forks = [line["forks"] for line in archive.status(library.origin) if line["type"] == "peer"]
        assert forks == [[]]  # a lie is no fork
        liar.lie = None
        until(lambda: archive.mirrored(library) == library.standing()["entries"])
        assert archive.run("list", "--peer", library.origin)[-1]["assets"] == 2 + len(lies)


def script(shapes, said):
    """Answer each request in the next shape, whatever was asked for, again and again."""
    turn = threading.Lock()
    over = threading.Event()

    def say(handler, _path, _answer):
        with turn:
            name = shapes[len(said) % len(shapes)]
            said.append(name)
        SHAPES[name].say(handler.connection, over)

    return say


def ready(one):
    with urllib.request.urlopen(f"{one.url}/readyz", timeout=30) as answer:
        return answer.status == 200


def test_a_peer_that_answers_from_a_script_of_lies_stops_nothing(tmp_path):
    """Real nodes with the deadlines that they really have; of the shapes that hang one is enough here.

    All of them, at every place and with short deadlines, are in `tests/unit/hostile`.
    """
    shapes = [
        name
        for name, shape in SHAPES.items()
        if shape.is_content
        or name.startswith(("closed", "reset", "half", "two", "a chunk cut", "trailers drip"))
    ]
    said: list[str] = []
    with (
        federation(tmp_path, "museum", "archive", "library") as (museum, archive, library),
        between(library.url) as liar,
    ):
        deposit(library, tmp_path, 0)
        for one in (museum, archive):
            one.run("peer", "remove", library.origin)
            one.run("peer", "add", liar.url, "--yes", "--key", library.key())
        liar.lie = script(shapes, said)
        library.run("pledge", museum.origin, "--until", "2099-12-31")
        archive.run("pledge", library.origin, "--until", "2099-12-31")
        for number in range(1, 4):
            honest = deposit(museum, tmp_path, number)
            until(lambda honest=honest: archive.mirrored(museum) > honest["log_index"])
            assert ready(museum)
            assert ready(archive)
        until(lambda: len(set(said)) >= 12, 240)
        assert peak_mib(archive) < MEMORY_MIB
        liar.lie = None
        honest = deposit(library, tmp_path, 9)
        until(lambda: archive.mirrored(library) > honest["log_index"], 240)


def test_lies_about_blocks_leave_no_wrong_byte(tmp_path):
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, library):
        receipts = [deposit(museum, tmp_path, number) for number in range(3)]
        library.run("pledge", museum.origin, "--until", "2099-12-31")
        until(lambda: all(library.replica(museum, one["package_cid"]).is_dir() for one in receipts))
        with between(museum.url) as liar:
            archive.run("peer", "remove", museum.origin)
            archive.run("peer", "add", liar.url, "--yes", "--key", museum.key())

            def flip(_handler, path, answer):
                status, headers, body = answer
                if path == "/api/v1/blocks":
                    body = (
                        body[: len(body) // 2]
                        + bytes([body[len(body) // 2] ^ 1])
                        + body[len(body) // 2 + 1 :]
                    )
                return status, headers, body

            def end_early(_handler, path, answer):
                status, headers, body = answer
                return (status, headers, body[: len(body) // 3]) if path == "/api/v1/blocks" else answer

            def never_end(handler, path, answer):
                return stream(answer[2])(handler, path, answer) if path == "/api/v1/blocks" else answer

            archive.run("pledge", museum.origin, "--until", "2099-12-31", "--assets", "urn:example:0")
            for number, lie in enumerate((flip, end_early, never_end)):
                liar.lie = lie
                archive.run(
                    "pledge", museum.origin, "--until", "2099-12-31", "--assets", f"urn:example:{number}"
                )
                replica = archive.replica(museum, receipts[number]["package_cid"])
                until(replica.is_dir)  # from the library, which holds it too
                assert archive.run("verify", "--bag", replica)[-1]["outcome"] == "ok"
            assert peak_mib(archive) < MEMORY_MIB
