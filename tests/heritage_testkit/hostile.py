"""A server on loopback that answers in every shape that no honest one has."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIFE = 60.0
"""Seconds after which a shape that goes on for ever ends all the same."""
HEAD = b"HTTP/1.1 200 OK\r\n"


@dataclass(frozen=True)
class Shape:
    """What is said on each connection; `is_content` where the HTTP is right and what it carries is not."""

    say: Callable[[socket.socket, threading.Event], object]
    scheme: str = "http"
    reads: bool = True
    is_content: bool = False


def _all(data: bytes) -> Callable[[socket.socket, threading.Event], object]:
    return lambda sock, _: sock.sendall(data)


def _slowly(start: bytes, piece: bytes, every: float = 0.05) -> Callable[..., object]:
    """Say `start`, then `piece` byte by byte for ever."""

    def say(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(start)
        for _ in range(int(LIFE / every / len(piece)) + 1):
            for byte in piece:
                if over.wait(every):
                    return
                sock.sendall(bytes([byte]))

    return say


def _fast(start: bytes, piece: bytes) -> Callable[..., object]:
    """Say `start`, then `piece` for ever as fast as it is taken."""

    def say(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(start)
        many = piece * max(1, 65_536 // len(piece))
        while not over.is_set():
            sock.sendall(many)

    return say


def _silent(start: bytes = b"") -> Callable[..., object]:
    def say(sock: socket.socket, over: threading.Event) -> None:
        sock.sendall(start)
        over.wait(LIFE)

    return say


def _reset(start: bytes) -> Callable[..., object]:
    def say(sock: socket.socket, _: threading.Event) -> None:
        sock.sendall(start)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return say


def _content(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Shape:
    head = b"\r\n".join([b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"", b""])
    return Shape(_all(head + body), is_content=True)


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: 1000000\r\n\r\n"
NAMES = [
    "Version",
    "Addresses",
    "RepoSize",
    "StorageMax",
    "NumObjects",
    "Keys",
    "Pins",
    "Cid",
    "Name",
    "Root",
]
NAMES += ["Stats", "Progress", "Hash", "forks", "peer_map", "results", "peername", "id", "blocks"]


def _wrong(value: Any) -> Shape:
    """JSON that has every name that anyone looks for, and nothing that belongs there."""
    return _content(json.dumps(dict.fromkeys(NAMES, value)).encode())


SHAPES: dict[str, Shape] = {
    "silent after accept": Shape(_silent(), reads=False),
    "silent in TLS": Shape(_silent(), scheme="https", reads=False),
    "no TLS": Shape(_all(HEAD + b"Content-Length: 2\r\n\r\n[]"), scheme="https"),
    "TLS drips": Shape(_slowly(b"\x16\x03\x03\x3f\xff\x02", b"\x00"), scheme="https"),
    "reads nothing": Shape(_silent(HEAD[:9]), reads=False),
    "closed at once": Shape(_all(b""), reads=False),
    "closed after the request": Shape(_all(b"")),
    "reset at once": Shape(_reset(b"")),
    "reset in the middle": Shape(_reset(LONG + b"x" * 1_000)),
    "headers drip": Shape(_slowly(b"", HEAD + b"X: " + b"y" * 1_000)),
    "headers drip line by line": Shape(_slowly(HEAD, b"X: y\r\n", 0.02)),
    "headers cut": Shape(_all(HEAD + b"Content-Ty")),
    "headers for ever": Shape(_fast(HEAD, b"X: y\r\n")),
    "100,000 headers": Shape(_all(HEAD + b"X: y\r\n" * 100_000 + b"\r\n")),
    "a header without end": Shape(_fast(HEAD + b"X: ", b"y")),
    "1xx for ever": Shape(_fast(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "1xx slowly": Shape(_slowly(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01)),
    "103 as the answer": Shape(_all(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
    "no HTTP": Shape(_all(b"\x16\x03\x01\x02" * 1_000)),
    "HTTP/0.9": Shape(_all(b"[]\n")),
    "a status that is none": Shape(_all(b"HTTP/1.1 two hundred\r\n\r\n")),
    "body drips": Shape(_slowly(LONG, b"x")),
    "body drips without a length": Shape(_slowly(HEAD + b"\r\n", b"x")),
    "half a body": Shape(_all(LONG + b"x" * 1_000)),
    "silent in the body": Shape(_silent(LONG + b"x" * 1_000)),
    "a length that is too short": Shape(_all(HEAD + b"Content-Length: 1\r\n\r\n[]")),
    "two lengths": Shape(_all(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]\n")),
    "length and chunks": Shape(
        _all(HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    ),
    "a negative length": Shape(_all(HEAD + b"Content-Length: -2\r\n\r\n[]")),
    "an unknown coding": Shape(_all(HEAD + b"Transfer-Encoding: gzip\r\n\r\n[]")),
    "a chunk line drips": Shape(_slowly(CHUNKED + b"2;", b"x")),
    "a chunk line without end": Shape(_fast(CHUNKED + b"2;", b"x")),
    "trailers drip": Shape(_slowly(CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: y\r\n", 0.02)),
    "trailers for ever": Shape(_fast(CHUNKED + b"2\r\n[]\r\n0\r\n", b"X: y\r\n")),
    "a chunk cut": Shape(_all(CHUNKED + b"ff\r\n[]")),
    "a negative chunk": Shape(_all(CHUNKED + b"-5\r\n[]\r\n0\r\n\r\n")),
    "a huge chunk": Shape(_silent(CHUNKED + b"ffffffffffffffff\r\n[]")),
    "chunks for ever": Shape(_fast(CHUNKED, b"4\r\n\0\0\0\0\r\n")),
    "zeroes for ever": Shape(_fast(HEAD + b"\r\n", b"\0")),
    "lines for ever": Shape(_fast(HEAD + b"\r\n", b"x\n")),
    "compressed": _content(gzip.compress(bytes(8 << 20)), b"Content-Encoding: gzip"),
    "somewhere else": _content(b"", b"Location: http://127.0.0.1:1/", status=b"302 Found"),
    "somewhere else, for ever": Shape(
        _fast(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", b"x")
    ),
    "too busy": _content(b"", status=b"503 Service Unavailable"),
    "a refusal": _content(b'{"Message": [7], "error": {"details": {}}}', status=b"401 Unauthorized"),
    "a size of 10^12": _content(
        b"1000000000000\n", b"Content-Type: text/x.tlog.size", status=b"409 Conflict"
    ),
    "a size of 400 digits": _content(
        b"9" * 400 + b"\n", b"Content-Type: text/x.tlog.size", status=b"409 Conflict"
    ),
    "nothing": _content(b""),
    "an empty list": _content(b"[]"),
    "a number": _content(b"7\n"),
    "a number of 10,000 digits": _content(b"7" * 10_000),
    "a number beyond all": _content(b'{"forks": 1e999, "Version": 1e999, "results": NaN}\n'),
    "JSON as deep as the sea": _content(b'{"forks":' + b"[" * 100_000),
    "lists in lists": _content(b"[" * 900 + b"]" * 900),
    "wrong types": _wrong(7),
    "wrong types in lists": _wrong([7, None, {}]),
    "wrong types in objects": _wrong({"": {"": 7}}),
    "a page": _content(b"<!doctype html><title>It works!</title>", b"Content-Type: text/html"),
    "bytes": _content(bytes(range(256)) * 16),
}


@contextlib.contextmanager
def hostile(shape: Shape) -> Iterator[str]:
    """A server that answers every connection in one shape, for the length of a block; yields its URL."""
    over = threading.Event()
    threads: list[threading.Thread] = []

    def answer(sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            sock.settimeout(LIFE)
            if shape.reads:
                sock.recv(65_536)
            shape.say(sock, over)
            if not over.is_set():
                sock.settimeout(0.2)
                with contextlib.suppress(OSError):  # what is unread would reset what was said
                    sock.shutdown(socket.SHUT_WR)
                    while sock.recv(65_536):
                        pass

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:

        def accept() -> None:
            while not over.is_set():
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(sock,), daemon=True))
                threads[-1].start()

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"{shape.scheme}://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(10)
            for thread in threads:
                thread.join(10)
