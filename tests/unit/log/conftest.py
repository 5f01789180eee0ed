"""A small log with its state, and a disk and a state that stop at the n-th call."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest

from heritage_ledger.errors import DiskProblem
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.keys import Ed25519Signer, MLDSA44Signer
from heritage_ledger.log.append import Appender
from heritage_ledger.log.cosignature import Ed25519NoteSigner, MLDSA44CosignatureSigner
from heritage_ledger.log.disk import LogDisk
from heritage_ledger.log.files import LogFiles
from heritage_ledger.log.verify import check_log

ORIGIN = "museum.example/ledger/1"
TIME = 1_700_000_000
SEED = hashlib.sha256(b"log test key, do not use").digest()
ED25519 = Ed25519NoteSigner.of(ORIGIN, Ed25519Signer.from_seed(SEED))
MLDSA44 = MLDSA44CosignatureSigner.of(ORIGIN, MLDSA44Signer.from_seed(SEED))


class CrashError(Exception):
    """The process died here."""


class Fuse:
    """Blows at the n-th step; `after` says whether the step itself was still done."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left = at
        self.after = after
        self.blown = False

    def step(self, action, half=None):
        if self.blown:
            raise CrashError
        self.left -= 1
        if self.left:
            return action()
        self.blown = True
        if self.after:
            action()
        elif half is not None:
            half()
        raise CrashError


class DyingDisk(LogDisk):
    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__(folder, threads=0)
        self.fuse = fuse
        self.folder = folder

    def make_folder(self, path):
        self.fuse.step(lambda: LogDisk.make_folder(self, path))

    def create_file(self, path, data):
        def half():
            place = self.folder / path
            place.unlink(missing_ok=True)
            place.write_bytes(data[: len(data) // 2])

        return self.fuse.step(lambda: LogDisk.create_file(self, path, data), half)

    def sync_file(self, descriptor, path):
        self.fuse.step(lambda: LogDisk.sync_file(self, descriptor, path))

    def read(self, path, size):
        return self.fuse.step(lambda: LogDisk.read(self, path, size))

    def publish(self, path, unpublished):
        self.fuse.step(
            lambda: LogDisk.publish(self, path, unpublished),
            lambda: (self.folder / ".checkpoint.0.tmp").write_bytes(unpublished.data[:10]),
        )

    def remove_partials(self, place, widths):
        self.fuse.step(lambda: LogDisk.remove_partials(self, place, widths))

    def remove_folder(self, place):
        self.fuse.step(lambda: LogDisk.remove_folder(self, place))


class DyingState:
    def __init__(self, state: StateStore, fuse: Fuse) -> None:
        self.state = state
        self.fuse = fuse

    def head(self, origin):
        return self.state.head(origin)

    def swap_head(self, origin, old_size, new):
        self.fuse.step(lambda: self.state.swap_head(origin, old_size, new))


class FullDisk(LogDisk):
    """Has room for `files` more files."""

    def __init__(self, folder: Path, files: int, threads: int) -> None:
        super().__init__(folder, threads=threads)
        self.files = files

    def create_file(self, path, data):
        if self.files == 0:
            raise DiskProblem("disk-full", "there is no room left to write", path=path)
        self.files -= 1
        return super().create_file(path, data)


@dataclass
class Log:
    """A log on disk."""

    folder: Path
    state: StateStore
    signers: tuple

    @property
    def verifiers(self):
        return [signer.verifier for signer in self.signers]

    @property
    def files(self) -> LogFiles:
        return LogFiles(self.folder)

    def appender(self, *, fuse: Fuse | None = None, disk: LogDisk | None = None) -> Appender:
        state = self.state if fuse is None else DyingState(self.state, fuse)
        if fuse is not None:
            disk = DyingDisk(self.folder, fuse)
        return Appender(self.folder, state, ORIGIN, self.signers, disk=disk)

    def append(self, entries):
        with self.appender() as appender:
            return appender.append(entries, time=TIME)

    def findings(self, **more):
        more.setdefault("read_head", lambda: self.state.head(ORIGIN))
        return list(check_log(self.files, ORIGIN, self.verifiers, **more))

    def codes(self):
        return [(finding.code, finding.path) for finding in self.findings()]


@pytest.fixture
def new_log(tmp_path):
    """Make a log with the given number of entries, `b"entry <index>"`."""
    states = []

    def make(size=0, *, signers=(ED25519,), name="log"):
        folder = tmp_path / name
        folder.mkdir()
        state = StateStore.create(tmp_path / f"{name}.db")
        states.append(state)
        log = Log(folder, state, signers)
        with log.appender() as appender:
            appender.create(time=TIME)
            if size:
                appender.append([b"entry %d" % index for index in range(size)], time=TIME)
        return log

    yield make
    for state in states:
        state.close()


@pytest.fixture
def make_fuse():
    return Fuse


@pytest.fixture
def crash():
    return CrashError


@pytest.fixture
def full_disk():
    return FullDisk


@pytest.fixture
def mldsa44():
    return MLDSA44


@pytest.fixture
def ed25519():
    return ED25519
