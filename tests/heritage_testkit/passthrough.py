"""A file system through FUSE that passes all on to a folder, but for what a test wants it not to have.

Needs fusepy, libfuse2 and /dev/fuse; who asks for it without them gets a skip with the reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def passed_through(
    real: Path, place: Path, *, inodes: bool = True, links: int | None = None
) -> Iterator[Path]:
    """Mount the folder `real` at `place`, served by a process of its own.

    Without `inodes` every look at a file gives it another number; `links` is what link(2) fails with.
    """
    _need()
    real.mkdir(exist_ok=True)
    place.mkdir()
    words = [sys.executable, __file__, real, place, str(int(inodes)), str(links or 0)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as served:
        try:
            _wait(place, served)
            yield place
        finally:
            subprocess.run(["fusermount", "-u", "-z", place], capture_output=True, check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                served.wait(5)
            served.kill()


def _need() -> None:
    if shutil.which("fusermount") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs fusermount and /dev/fuse")
    if importlib.util.find_spec("fuse") is None:
        pytest.skip("needs fusepy")


def _wait(place: Path, served: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if os.path.ismount(place):
            return
        if served.poll() is not None:
            pytest.skip(f"FUSE cannot be used here: {served.stdout.read().decode()[-200:]}")
        time.sleep(0.05)
    pytest.fail("nothing was mounted")


def _serve(real: Path, place: Path, *, inodes: bool, links: int) -> None:
    import fuse  # noqa: PLC0415 - loads libfuse2, which is not on every machine

    options = {"foreground": True, "nothreads": True, "use_ino": True, "default_permissions": True}
    if not inodes:
        options |= {"attr_timeout": 0, "entry_timeout": 0}
    passing = type("Passing", (_Calls, fuse.Operations), {})(real, inodes=inodes, links=links)
    fuse.FUSE(passing, str(place), **options)


class _Calls:
    """Every call but those that a test takes away; fusepy's `Operations` say what each gets and gives."""

    use_ns = True

    def __init__(self, real: Path, *, inodes: bool, links: int) -> None:
        self.real = real
        self.inodes = inodes
        self.links = links
        self.numbers = itertools.count(1_000)

    def at(self, path: str) -> Path:
        return Path(f"{self.real}{path}")

    def getattr(self, path, fh=None):
        found = os.lstat(self.at(path)) if fh is None else os.fstat(fh)
        names = ("st_mode", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        number = found.st_ino if self.inodes else next(self.numbers)
        times = {f"st_{one}time": getattr(found, f"st_{one}time_ns") for one in "amc"}
        return {name: getattr(found, name) for name in names} | times | {"st_ino": number}

    def readdir(self, path, fh):
        return [".", "..", *(found.name for found in self.at(path).iterdir())]

    def statfs(self, path):
        found = os.statvfs(self.at(path))
        return {
            name: getattr(found, name) for name in dir(found) if name.startswith("f_") and name != "f_fsid"
        }

    def link(self, target, source):
        if self.links:
            raise OSError(self.links, os.strerror(self.links))
        self.at(target).hardlink_to(self.at(source))
        return 0

    def create(self, path, mode, fi=None):
        return os.open(self.at(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self.at(path), flags & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW))

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self.at(path) if fh is None else fh, length)
        return 0

    def release(self, path, fh):
        os.close(fh)
        return 0

    def fsync(self, path, datasync, fh):
        os.fsync(fh)
        return 0

    def chmod(self, path, mode):
        self.at(path).chmod(mode)
        return 0

    def chown(self, path, uid, gid):
        os.chown(self.at(path), uid, gid)
        return 0

    def utimens(self, path, times=None):
        os.utime(self.at(path), ns=times)
        return 0

    def mkdir(self, path, mode):
        self.at(path).mkdir(mode)
        return 0

    def rmdir(self, path):
        self.at(path).rmdir()
        return 0

    def unlink(self, path):
        self.at(path).unlink()
        return 0

    def rename(self, old, new):
        self.at(old).rename(self.at(new))
        return 0

    def symlink(self, target, source):
        self.at(target).symlink_to(source)
        return 0

    def readlink(self, path):
        return str(self.at(path).readlink())


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]), inodes=sys.argv[3] == "1", links=int(sys.argv[4]))
