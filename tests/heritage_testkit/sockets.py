"""A server on loopback that says whatever a test wants, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WAIT = 20


@dataclass
class Said:
    """What a server does: `say` gets each connection after its request was read into `requests`."""

    say: Callable[[socket.socket], object] = lambda _: None
    requests: list[bytes] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def talking() -> Iterator[Said]:
    """A server that takes one connection after the other, and one request on each."""
    said = Said()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(WAIT)
        said.url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def serve() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except TimeoutError:
                    continue
                except OSError:
                    return
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(WAIT)
                    said.requests.append(_request(sock))
                    said.say(sock)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield said
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(WAIT)


def _request(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    while b"\r\n\r\n" not in data:
        data += sock.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().splitlines():
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Callable[[socket.socket], object]:
    """Say a whole answer and close."""
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]).encode()
    return lambda sock: sock.sendall(head + body)
