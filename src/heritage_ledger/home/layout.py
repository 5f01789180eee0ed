"""Where things lie in a home (`specs/home.md`), and how a home is found and made.

Truth is bags, log files and keys; `index.db` can be rebuilt from them and `state.db` never is.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from heritage_ledger.errors import NoHome, OperationFailed
from heritage_ledger.home.deep import PATH_MAX
from heritage_ledger.home.durable import make_folder, remove_tree, sync_folder, writing
from heritage_ledger.home.surroundings import check_encoding

HOME_VARIABLE = "HERITAGE_HOME"
MARKS_VARIABLE = "HERITAGE_MARKS"
MEMORY_VARIABLE = "HERITAGE_MEMORY"
_TMPFS = Path("/dev/shm")  # noqa: S108 - a folder of one's own is made there, and its owner is checked
BACKUP_NOTE = "backup.json"
"""The file by which a backup is told from a home."""
PATH_SPARE = 256
"""Bytes kept free in every path: a replica's folder is longer than a package's by up to 190."""
_SLUG_LENGTH = 48
_HASH_LENGTH = 16
_NOT_IN_SLUG = re.compile(r"[^A-Za-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of one home; nothing is read or written by asking for them."""

    root: Path

    @property
    def settings(self) -> Path:
        """`heritage.toml`: settings, never secrets."""
        return self.root / "heritage.toml"

    @property
    def keys(self) -> Path:
        """Sealed private keys."""
        return self.root / "keys"

    @property
    def log(self) -> Path:
        """The log's files, servable by any static web server."""
        return self.root / "log"

    @property
    def packages(self) -> Path:
        """Own bags, `<asset>/<version>`."""
        return self.root / "packages"

    @property
    def mirrors(self) -> Path:
        """Verified copies of other institutions' logs, `<origin>`."""
        return self.root / "mirrors"

    @property
    def replicas(self) -> Path:
        """Verified copies of other institutions' packages, `<origin>/<package CID>`."""
        return self.root / "replicas"

    @property
    def peers(self) -> Path:
        """Who is trusted for what: a file for each peer."""
        return self.root / "peers"

    @property
    def forks(self) -> Path:
        """Fork proofs, kept for ever."""
        return self.root / "forks"

    @property
    def checked(self) -> Path:
        """When each package was last checked by the node."""
        return self.root / "checked"

    @property
    def policy(self) -> Path:
        """Which witnesses must have cosigned a checkpoint (C2SP tlog-policy)."""
        return self.root / "policy"

    @property
    def witnessed(self) -> Path:
        """The newest checkpoint of the own log that meets the policy."""
        return self.log / "witnessed"

    @property
    def staging(self) -> Path:
        """Work in progress."""
        return self.root / "staging"

    @property
    def quarantine(self) -> Path:
        """Copies set aside: damaged, or sealed but never recorded."""
        return self.root / "quarantine"

    @property
    def index(self) -> Path:
        """The index database, when it is SQLite."""
        return self.root / "index.db"

    @property
    def state(self) -> Path:
        """The compare-and-swap heads."""
        return self.root / "state.db"

    @property
    def unfinished(self) -> Path:
        """The mark of an `init` that is under way."""
        return self.root / ".unfinished"

    @property
    def lock(self) -> Path:
        """The append lock."""
        return self.root / ".lock"

    def package(self, asset: str, version: int) -> Path:
        """The folder of version `version` of `asset`."""
        return self.packages / asset_folder(asset) / str(version)

    def folder_of(self, asset: str, version: int, cid: str) -> str:  # noqa: ARG002 - replicas go by their CID
        """The folder of a package relative to the home, with `/` between its parts."""
        return f"packages/{asset_folder(asset)}/{version}"

    def mirror_of(self, origin: str) -> MirrorHome:
        """Where log, index and packages of another institution lie in this home."""
        return MirrorHome(self.root, origin)

    def branch_of(self, origin: str, name: str) -> MirrorHome:
        """Where the second history of a log lies that signed two; `name` is that of its fork proof."""
        return MirrorHome(self.root, origin, name)


@dataclass(frozen=True, slots=True)
class MirrorHome(Home):
    """Another institution's log `origin` and packages, as this home keeps them."""

    origin: str = ""
    branch: str = ""

    @property
    def log(self) -> Path:
        """The mirror of its log, in the same layout."""
        return self.forks / self.branch if self.branch else self.mirrors / self.origin

    @property
    def index(self) -> Path:
        """The index of the mirror, SQLite wherever the own index lies: it is made again at any time."""
        return self.log / "index.db"

    @property
    def lock(self) -> Path:
        """The lock of the mirror."""
        return self.log / ".lock"

    @property
    def clock(self) -> Path:
        """How far the institution's clock is from ours: a note, in seconds."""
        return self.log / ".clock"

    @property
    def protocol(self) -> Path:
        """The latest protocol that the institution's node was seen to speak: a note."""
        return self.log / ".protocol"

    @property
    def told(self) -> Path:
        """By which URL the institution knows ours, as far as our node told it: a note."""
        return self.log / ".told"

    @property
    def contact(self) -> Path:
        """When the institution was last reached and heard: a note, in POSIX seconds."""
        return self.log / ".contact"

    def folder_of(self, asset: str, version: int, cid: str) -> str:  # noqa: ARG002 - named by content alone
        """The folder of a replica relative to the home."""
        return f"replicas/{self.origin}/{cid}"


def asset_folder(asset: str) -> str:
    """Return the folder name of an asset URI: readable, safe on every file system, never shared.

    >>> asset_folder("https://museum.example/object/1887.12")
    'https-museum.example-object-1887.12-3815531569bf79b1'
    """
    slug = _NOT_IN_SLUG.sub("-", asset).strip(".-")[:_SLUG_LENGTH].rstrip(".-")
    digest = hashlib.sha256(asset.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{slug}-{digest}" if slug else digest


def longest_path(home: Home) -> int:
    """Bytes that a path in a bag may have, so that the file can be read where it will lie, by any program.

    The version's folder, the home moved to a longer place, and a replica with another institution are
    thought of too.
    """
    place = len(os.fsencode(home.packages.resolve())) + _SLUG_LENGTH + 1 + _HASH_LENGTH + len("//99999999/")
    return PATH_MAX - 1 - PATH_SPARE - place


def memory_folder() -> Path | None:
    """Where marks lie that a reboot takes away and no restore of a disk touches: `HERITAGE_MEMORY`, or tmpfs.

    One place for every process of a user, whether a session or a service started it.
    """
    named = os.environ.get(MEMORY_VARIABLE)
    if named:
        return Path(named)
    return _TMPFS / f"heritage-ledger-{os.geteuid()}" if _TMPFS.is_dir() else None


def marks_folder() -> Path | None:
    """Where marks lie that outlive a reboot: `HERITAGE_MARKS`, or else the platform's folder for state.

    None where this user has no such folder.
    """
    named = os.environ.get(MARKS_VARIABLE)
    if named:
        return Path(named)
    try:
        folder = Path(platformdirs.user_state_dir("heritage-ledger", appauthor=False))
    except (RuntimeError, KeyError):  # a user without a home folder
        return None
    return folder / "marks" if folder.is_absolute() else None


def create_home(root: Path) -> Home:
    """Make the folders of a new home in `root`, which must be absent or empty.

    A folder that is made is for this user alone, whatever the umask is; one that is there keeps its mode.

    Raises:
        OperationFailed: `root` is a home already (`home-exists`) or holds something else (`home-not-empty`);
            its file system gives a file another number at each look (`disk-numbers`).
        UsageError: this process does not name files in UTF-8 (`locale-not-utf8`).
        DiskProblem: the folders cannot be made.
    """
    check_encoding()
    home = Home(root)
    if home.settings.exists():
        raise OperationFailed(
            "home-exists",
            "this folder is already a ledger home; a log is never started twice",
            path=str(root),
            advice="use it as it is, or name another folder with --home",
        )
    _check_numbers(root)
    with writing(root):
        if home.unfinished.exists():
            _clear(home)
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise OperationFailed(
                "home-not-empty",
                "a new home needs an empty folder",
                path=str(root),
                expected="an absent or empty folder",
                advice="name another folder with --home",
            )
        if not root.is_dir():
            root.mkdir(parents=True, mode=0o700)
            root.chmod(0o700)  # a umask may have taken bits away
        home.unfinished.touch()
        for folder in (home.keys, home.staging):
            make_folder(folder, mode=0o700)
        for folder in (home.log, home.packages, home.quarantine):
            make_folder(folder)
    sync_folder(root)
    return home


def _check_numbers(root: Path) -> None:
    """Refuse a file system without stable inode numbers: SQLite takes its own file for another one there."""
    place = next(place for place in (root.absolute(), *root.absolute().parents) if place.exists())
    with writing(place):
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            seen = {os.fstat(descriptor).st_ino for _ in range(3)}
        finally:
            os.close(descriptor)
    if len(seen) > 1:
        raise OperationFailed(
            "disk-numbers",
            "the file system gives a file another number at each look, so no database can be kept there",
            path=str(place),
            expected="one inode number for a file, for as long as it is there",
            found=", ".join(map(str, sorted(seen))),
            advice="put the home on another disk, or mount this one so that numbers are stable",
        )


def _clear(home: Home) -> None:
    """Remove what an `init` that died left: there are no settings yet, so nothing was ever acknowledged."""
    for folder in (home.keys, home.log, home.packages, home.staging, home.quarantine):
        remove_tree(folder)
    for file in home.root.iterdir():
        if file.name.startswith(("index.db", "state.db", ".lock", ".unfinished")):
            file.unlink()


def finish_home(home: Home) -> None:
    """Say that `init` is done; the settings are written, so the folder is a home from now on."""
    with writing(home.root):
        home.unfinished.unlink()
    sync_folder(home.root)


def open_home(root: Path) -> Home:
    """Return the home in `root`.

    Raises:
        NoHome: there is none (`home-missing`), or this user may not look (`home-unreadable`).
        UsageError: this process does not name files in UTF-8 (`locale-not-utf8`).
    """
    check_encoding()
    home = Home(root)
    try:
        is_there = stat.S_ISREG(home.settings.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_there = False
    except OSError as error:
        raise NoHome(
            "home-unreadable",
            "it cannot be seen whether there is a ledger home in this folder",
            path=str(root),
            expected="a folder whose heritage.toml this user may read",
            found=error.strerror,
            advice="run as the user whose home it is, or check owner and permissions of all folders above",
        ) from error
    if not is_there:
        raise NoHome(
            "home-missing",
            "there is no ledger home in this folder",
            path=str(root),
            expected="a folder with heritage.toml",
            advice=f"run `heritage init`, or name the home with --home or {HOME_VARIABLE}",
        )
    return home


def default_root() -> Path:
    """Return `HERITAGE_HOME`, or else the platform's folder for a user's data.

    Raises:
        NoHome: nobody says, and this user has no folder of its own (`home-missing`).
    """
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named)
    try:
        found = Path(platformdirs.user_data_dir("heritage-ledger", appauthor=False))
    except RuntimeError:
        found = Path()
    if not found.is_absolute():
        raise NoHome(
            "home-missing",
            "this user has no folder of its own, and no home was named",
            expected=f"--home, {HOME_VARIABLE}, or a user with a home directory",
            advice=f"name the home with --home or {HOME_VARIABLE}",
        )
    return found
