"""The home's append lock and the staging locks: advisory locks that die with their process.

The append lock is held for the milliseconds of a critical section, never while files are read or copied, so
that the command line and a running node work side by side. A staging lock says that a deposit in progress
still has a living process behind it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from heritage_ledger.errors import HomeLocked
from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_WAIT_SECONDS = 30.0
"""How long an append waits for another one; each holds the lock for milliseconds."""
_POLL_SECONDS = 0.002


@contextlib.contextmanager
def hold(path: Path, *, wait: float = LOCK_WAIT_SECONDS, passing: bool = False) -> Iterator[None]:
    """Hold the exclusive lock file `path`, made when absent.

    With `passing` the file is removed again by whoever holds it, so that names which come once leave no
    files behind; everyone who holds such a lock must ask for it so.

    Raises:
        HomeLocked: another process held it for `wait` seconds (`home-locked`, with its process id).
    """
    descriptor = _open(path)
    try:
        _acquire(descriptor, path, wait)
        while passing and not _is_at(descriptor, path):  # it was removed while this one waited for it
            anew = _open(path)
            os.close(descriptor)
            descriptor = anew
            _acquire(descriptor, path, wait)
        with contextlib.suppress(OSError):  # a full disk must not keep anyone from taking a lock
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        try:
            yield
        finally:
            if passing:
                with contextlib.suppress(OSError):
                    path.unlink()
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with writing(path):
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_at(descriptor: int, path: Path) -> bool:
    """Say whether the file that is open is the one that has the name now."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


def _acquire(descriptor: int, path: Path, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise HomeLocked(
                    "home-locked",
                    "another process is writing to this home",
                    path=str(path),
                    found=f"process {holder}",
                    advice="wait for it to finish, then run the same command again",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return


def is_held(path: Path) -> bool:
    """Say whether a living process holds the lock file `path`."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
