"""Nodes in threads of this process: for what is not about processes, and needs a hand inside."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heritage_ledger import Ledger
from heritage_node import limits, rounds
from heritage_node.run import make_app, serving
from heritage_node.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_ledger.federation.client import Client

WAIT = 120.0
NODE = '\n[node]\nlisten = "127.0.0.1:0"\nallow_private = true\nsync_seconds = 1\ncheck_days = 0\n'


def make_home(folder: Path, name: str) -> Path:
    """A home of an institution whose peers may be on loopback."""
    home = folder / name
    Ledger.init(home, institution=name.title(), origin=f"{name}.example/ledger/1", passphrase=None).close()
    with (home / "heritage.toml").open("a") as file:
        file.write(NODE)
    return home


@dataclass
class Running:
    """A node that runs; `service` is its inside."""

    url: str = ""
    service: Service | None = None
    problem: BaseException | None = None
    is_up: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def running(home: Path, *, client: Client | None = None, first: float | None = None) -> Iterator[Running]:
    """Run the node of `home` for the length of a block; with the pause `first` its background too."""
    state = Running()
    loop: list[asyncio.AbstractEventLoop] = []
    over: list[asyncio.Event] = []

    async def run() -> None:
        loop.append(asyncio.get_running_loop())
        over.append(asyncio.Event())
        connections = limits.Connections()
        with Ledger.open(home) as ledger, Service.of(ledger, None) as service:
            if client is not None:
                service.federation.client = client
            state.service = service
            async with serving(make_app(service, connections), connections, "127.0.0.1", 0) as (host, port):
                state.url = f"http://{host}:{port}"
                service.listens(host, port)
                work = asyncio.create_task(rounds.work(service, first=first)) if first else None
                state.is_up.set()
                await over[0].wait()
                service.progress.stopping = True
                service.federation.client.stop()
                if work is not None:
                    work.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await work

    def main() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001 - told where it can fail a test
            state.problem = error
        finally:
            state.is_up.set()

    thread = threading.Thread(target=main, name=f"node {home.name}", daemon=True)
    thread.start()
    assert state.is_up.wait(WAIT)
    try:
        assert state.problem is None
        yield state
    finally:
        if thread.is_alive():
            loop[0].call_soon_threadsafe(over[0].set)
        thread.join(WAIT)
        assert not thread.is_alive()
        assert state.problem is None, state.problem
