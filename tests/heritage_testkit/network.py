"""A network of one's own: a namespace for each host, on a bridge, whose cables can be pulled."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, stdin=subprocess.DEVNULL)


@dataclass
class Network:
    """Hosts by number; host `n` has the address 10.77.0.`n`."""

    tag: str
    count: int

    @property
    def hub(self) -> str:
        return f"{self.tag}-hub"

    def address(self, number: int) -> str:
        return f"10.77.0.{number}"

    def within(self, number: int) -> tuple[str, ...]:
        """The words that run a command on a host."""
        return ("ip", "netns", "exec", f"{self.tag}-{number}")

    def cut(self, number: int) -> None:
        """Pull a host's cable: what is sent is lost, and nobody says so."""
        _ip("-n", self.hub, "link", "set", f"port{number}", "down")

    def heal(self, number: int) -> None:
        _ip("-n", self.hub, "link", "set", f"port{number}", "up")

    @contextlib.contextmanager
    def flapping(self, *numbers: int, up: float = 0.4, down: float = 0.25) -> Iterator[None]:
        """Let cables fail again and again for the length of a block: packets are lost in bursts."""
        over = threading.Event()

        def flap() -> None:
            while not over.is_set():
                for number in numbers:
                    self.cut(number)
                over.wait(down)
                for number in numbers:
                    self.heal(number)
                over.wait(up)

        thread = threading.Thread(target=flap, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(20)


@contextlib.contextmanager
def network(count: int) -> Iterator[Network]:
    """Hosts for the length of a block; the test is skipped where namespaces cannot be made."""
    made = Network(f"hl{secrets.token_hex(3)}", count)
    if shutil.which("ip") is None:
        pytest.skip("no ip command: on Debian, apt-get install iproute2")
    with contextlib.ExitStack() as held:
        for name in (made.hub, *(f"{made.tag}-{number}" for number in range(1, count + 1))):
            try:
                _ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"network namespaces cannot be made here: {error.stderr.decode().strip()}")
            held.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", made.hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", made.hub, "link", "set", "bridge", "up")
        for number in range(1, count + 1):
            host = f"{made.tag}-{number}"
            _ip(
                "link",
                "add",
                f"port{number}",
                "netns",
                made.hub,
                "type",
                "veth",
                "peer",
                "cable",
                "netns",
                host,
            )
            _ip("-n", made.hub, "link", "set", f"port{number}", "master", "bridge", "up")
            _ip("-n", host, "addr", "add", f"{made.address(number)}/24", "dev", "cable")
            _ip("-n", host, "link", "set", "cable", "up")
        yield made
