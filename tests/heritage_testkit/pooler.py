"""A real PgBouncer before a real PostgreSQL: on loopback, on a port that was free."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from heritage_testkit.postgres import Postgres

WAIT = 30.0
_SETTINGS = """\
[databases]
* = host=127.0.0.1 port={server} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
query_wait_timeout = 60
unix_socket_dir =
logfile = {folder}/pgbouncer.log
{more}
"""


def need_pgbouncer() -> str:
    """The program; skips where it is not installed, fails in CI."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("required in CI: install the package pgbouncer")
    if found is None:
        pytest.skip("pgbouncer is not here: install the package pgbouncer")
    return found


@contextlib.contextmanager
def pgbouncer(server: Postgres, folder: Path, mode: str, size: int, more: str = "") -> Iterator[int]:
    """Run it in `mode` with `size` server processes; yields its port."""
    program = need_pgbouncer()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        _SETTINGS.format(server=server.port, port=port, mode=mode, size=size, folder=folder, more=more)
    )
    if server.user is not None:
        for path in (folder, settings):
            shutil.chown(path, server.user)
        for parent in folder.parents:
            if str(parent) != "/" and parent.owner() == "root":
                parent.chmod(parent.stat().st_mode | 0o011)
    process = subprocess.Popen(
        [program, "-q", settings],
        user=server.user,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    try:
        end = time.monotonic() + WAIT
        while True:
            try:
                psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < end, "pgbouncer does not answer"
                assert process.poll() is None, "pgbouncer ended"
                time.sleep(0.05)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT)
