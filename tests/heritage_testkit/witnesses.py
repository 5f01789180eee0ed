"""A witness that tells the truth, or lies in one way: what the real ones cannot be made to do."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.log.cosignature import Ed25519CosignatureSigner
from heritage_ledger.log.note import parse_note, sign_note
from heritage_ledger.log.witness import SIZE_TYPE, parse_request

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGE = 10**12
LIES = ("claim", "claim without a size", "claim with a slow proof", "another history", "silent", "replay")


@dataclass
class OneWitness:
    """A witness as its test sees it; `how` is "true" or one of `LIES`, and may be changed."""

    number: int
    how: str = "true"
    url: str = ""
    size: int = 0
    asked: list[int] = field(default_factory=list)
    """The old size of each request."""

    @property
    def signer(self) -> Ed25519CosignatureSigner:
        """Signs its cosignatures."""
        return Ed25519CosignatureSigner.of(
            f"witness{self.number}.example", Ed25519Signer.from_seed(bytes([self.number]) * 32)
        )

    def answer(self, data: bytes) -> tuple[int, str, bytes]:
        """Return status, media type and body for a request."""
        request = parse_request(data)
        self.asked.append(request.old_size)
        text = parse_note(request.checkpoint).text
        size, at = int(text.split(b"\n")[1]), int(time.time())
        if self.how.startswith("claim"):
            return 409, "text/plain" if "without" in self.how else SIZE_TYPE, b"%d\n" % LARGE
        if self.how == "another history":
            return 422, "text/plain", b"no\n"
        if self.how == "silent":
            return 503, "text/plain", b"\n"
        if request.old_size != self.size:
            return 409, SIZE_TYPE, b"%d\n" % self.size
        self.size = max(size, self.size)
        note = sign_note(text, [self.signer], time=at - 3_600 if self.how == "replay" else at)
        return 200, "text/plain", note.partition(b"\n\n")[2]


@contextlib.contextmanager
def witness(number: int, how: str = "true") -> Iterator[OneWitness]:
    """Run one for the length of a block, on a port of loopback that the system picks."""
    one = OneWitness(number, how)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._send(*one.answer(self.rfile.read(int(self.headers["Content-Length"]))))

        def do_GET(self) -> None:
            if "slow" in one.how:
                time.sleep(4.0)
            self._send(404, "text/plain", b"")

        def _send(self, status: int, kind: str, body: bytes) -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield one
        finally:
            server.shutdown()
            thread.join()
