"""Somebody between two nodes: passes requests on, until a test tells it how to lie."""

from __future__ import annotations

import contextlib
import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Between:
    """Stands at `url` before the node at `node`; `lie` gets the handler, the path and the true answer.

    It returns another answer, or None when it has said something by itself.
    """

    node: str
    url: str = ""
    lie: Callable[[http.server.BaseHTTPRequestHandler, str, Answer], Answer | None] | None = None
    asked: int = 0
    kept: dict[str, Answer] = field(default_factory=dict)


def _truth(handler: http.server.BaseHTTPRequestHandler, node: str) -> Answer:
    length = int(handler.headers.get("Content-Length") or 0)
    body = handler.rfile.read(length) if length else None
    headers = {name: value for name, value in handler.headers.items() if name.lower() not in HOP_BY_HOP}
    request = urllib.request.Request(node + handler.path, body, headers, method=handler.command)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def _handler(state: Between) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def _serve(self) -> None:
            state.asked += 1
            self.close_connection = True
            try:
                answer: Answer | None = _truth(self, state.node)
                if state.lie is not None and answer is not None:
                    answer = state.lie(self, self.path, answer)
                if answer is None:
                    return
                status, headers, body = answer
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                return

        do_GET = do_POST = _serve  # noqa: N815 - http.server's names

    return Handler


@contextlib.contextmanager
def between(node: str) -> Iterator[Between]:
    """Listen for the length of a block."""
    state = Between(node)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
