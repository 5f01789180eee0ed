"""A real PostgreSQL server of our own: on loopback, on a port that was free, stopped by its process id."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path

import psycopg
import pytest

from heritage_testkit.outside import PROJECT

WAIT = 60.0
"""Seconds until a server must answer."""
OWNER = "museum"
PASSWORD = "never in a message"
_ACCESS = """\
local   all  postgres              trust
host    all  postgres  127.0.0.1/32  trust
host    all  all       127.0.0.1/32  scram-sha-256
"""


def programs() -> Path:
    """The folder of the server's programs; skips where they are not installed, fails in CI."""
    found = subprocess.run(
        [PROJECT / "tests" / "external" / "postgres.sh"], capture_output=True, text=True, check=False
    )
    if found.returncode == 0:
        return Path(found.stdout.strip())
    message = f"required in CI: {found.stderr.strip()}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(found.stderr.strip())


@dataclass
class Postgres:
    """One server with its data in `folder`; started, restarted and killed by tests."""

    folder: Path
    flags: tuple[str, ...] = ("-c", "fsync=off")
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._names = count(1)

    @cached_property
    def programs(self) -> Path:
        return programs()

    @property
    def user(self) -> str | None:
        """Who runs the server: it refuses root."""
        if os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam("postgres").pw_name
        except KeyError:
            return pwd.getpwnam("nobody").pw_name

    def init(self) -> None:
        self.folder.mkdir(parents=True)
        if self.user is not None:
            shutil.chown(self.folder, self.user)
            for parent in self.folder.parents:  # pytest's folders are closed to others
                if parent.owner() == "root" and parent != Path("/"):
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "--no-sync", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")
        (self.folder / "pg_hba.conf").write_text(_ACCESS)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [self.programs / program, "-D", self.folder, *words],
            capture_output=True,
            text=True,
            check=False,
            user=self.user,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [
                self.programs / "postgres",
                *("-D", self.folder, "-p", str(self.port), "-h", "127.0.0.1", "-k", ""),
                *self.flags,
                *("-c", "logging_collector=off", "-c", "max_connections=50"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self.user,
            cwd="/",
        )
        deadline = time.monotonic() + WAIT
        while True:
            try:
                with self.connect(connect_timeout=5):
                    return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, "the server does not answer"
                assert self.process.poll() is None, "the server ended"
                time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT disconnects everybody, SIGQUIT leaves a recovery for the next start."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(WAIT)
            self.process = None

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        self.stop(how)
        self.start()

    def connect(self, database: str = "postgres", **more: object) -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True, **more
        )

    def database(self, name: str | None = None) -> str:
        """Make an empty database and return the URL that a home names it by."""
        name = name or f"ledger{next(self._names)}_{os.getpid()}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.url(name)

    def url(self, name: str, *, user: str = "postgres", port: int | None = None) -> str:
        return f"postgresql+psycopg://{user}@127.0.0.1:{port or self.port}/{name}"

    def make_owner(self) -> None:
        """Add the user `OWNER`, who needs a password."""
        with self.connect() as connection:
            connection.execute(f"CREATE ROLE {OWNER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")

    def sessions(self, name: str) -> list[int]:
        """Process ids of the sessions of ours in a database."""
        with self.connect() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = %s",
                [name, "heritage-ledger"],
            )
            return [pid for (pid,) in rows]

    def end_sessions(self, name: str) -> int:
        """Let the server end every session of ours in a database; return how many."""
        pids = self.sessions(name)
        with self.connect() as connection:
            for pid in pids:
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        return len(pids)
