"""A wire between us and a server that is cut at a chosen moment: what no server shows by itself."""

from __future__ import annotations

import contextlib
import socket
import threading

ANSWER_WAIT = 0.3
"""Seconds that a server gets to do what it was sent before the wire is cut."""


class Wire:
    """Forwards loopback connections to a port; `cut` arms it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._left: int | None = None
        self._is_sent = True
        self._word = b""
        self.cuts = 0
        self.refusing = False
        self.stays_down = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, word: bytes, *, nth: int = 1, is_sent: bool, stays_down: bool = False) -> None:
        """Cut the connection on which `word` is sent the `nth` time, after or before the server gets it.

        With `stays_down` no connection is accepted from then on, until `mend`.
        """
        with self._lock:
            self._word, self._left, self._is_sent, self.stays_down = word, nth, is_sent, stays_down
            self.cuts = 0

    def mend(self) -> None:
        with self._lock:
            self._left, self.refusing = None, False

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refusing:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._port))
            dead = threading.Event()
            threading.Thread(target=self._forward, args=(client, server, dead), daemon=True).start()
            threading.Thread(target=self._backward, args=(server, client, dead), daemon=True).start()

    def _is_moment(self, data: bytes) -> bool:
        with self._lock:
            if self._left is None or self._word not in data:
                return False
            self._left -= 1
            if self._left:
                return False
            self._left = None
            self.cuts += 1
            self.refusing = self.stays_down
            return True

    def _forward(self, client: socket.socket, server: socket.socket, dead: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if self._is_moment(data):
                    dead.set()
                    if self._is_sent:
                        server.sendall(data)
                        threading.Event().wait(ANSWER_WAIT)
                    break
                server.sendall(data)
        _end(client, server)

    def _backward(self, server: socket.socket, client: socket.socket, dead: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if dead.is_set():
                    break
                client.sendall(data)
        if not dead.is_set():
            _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
