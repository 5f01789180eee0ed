"""Look at what surrounds a ledger: nothing here is evidence, all of it prevents trouble."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.events.event import open_event
from heritage_ledger.fixity.evidence import checkpoint_stage, open_evidence
from heritage_ledger.fixity.heads import examine_heads
from heritage_ledger.fixity.home import log_verifiers
from heritage_ledger.fixity.verdict import Stage, judge, not_checked
from heritage_ledger.home import lock
from heritage_ledger.home.keyring import present_keys, read_header
from heritage_ledger.home.state import StateStore
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from heritage_ledger.home.layout import Home
    from heritage_ledger.home.settings import Settings

FREE_SPACE: Final = 1 << 30
"""Bytes below which the disk is called nearly full."""
FREE_INODES: Final = 10_000
"""Files below which the disk is called nearly full."""
SAFE_SQLITE: Final = (3, 51, 3)
"""First release without the WAL-reset fault; before it two writers at once can damage a database."""
_NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "9p", "afs", "ceph"})
_OTHERS_READ: Final = 0o077


def examine(home: Home, settings: Settings) -> tuple[Stage, ...]:
    """Return a stage for each thing looked at: `settings`, `disk`, `keys`, `database`, `log`, `leftovers`."""
    return (
        _looked("settings", lambda: _settings(home, settings)),
        _looked("disk", lambda: _disk(home, settings)),
        _looked("keys", lambda: _keys(home)),
        _looked("database", lambda: _database(home, settings)),
        _looked("log", lambda: _log(home, settings)),
        _looked("leftovers", lambda: _leftovers(home)),
    )


def _looked(name: str, look: Callable[[], Stage]) -> Stage:
    """The stage, or why it could not be looked at."""
    try:
        return look()
    except OSError as error:
        return not_checked(name, f"it cannot be looked at: {error.strerror}")


def _settings(home: Home, settings: Settings) -> Stage:
    """The institution's name is the one that entry 0 says, by which peers know it."""
    try:
        said = open_event(LogFiles(home.log).read_entry(0, 1)).institution.name
    except HeritageError as error:
        return not_checked("settings", f"entry 0 cannot be read: {error.code}")
    findings = []
    if said != settings.institution:
        findings.append(
            Finding(
                "doctor-institution",
                "new events name the institution otherwise than the log's first event, and no event says why",
                "heritage.toml",
                expected=said,
                found=settings.institution,
                advice="set the name back; peers show the first one for good. A new name needs a new log",
                severity=Severity.WARNING,
            )
        )
    return judge("settings", findings)


def _disk(home: Home, settings: Settings) -> Stage:
    findings = []
    free = shutil.disk_usage(home.root).free
    if free < FREE_SPACE:
        findings.append(
            Finding(
                "doctor-space",
                "the disk is nearly full",
                str(home.root),
                expected=f"{FREE_SPACE} bytes free",
                found=f"{free} bytes free",
                severity=Severity.WARNING,
            )
        )
    inodes = os.statvfs(home.root)
    if inodes.f_files and inodes.f_favail < FREE_INODES:
        findings.append(
            Finding(
                "doctor-inodes",
                "the disk can hold few more files",
                str(home.root),
                expected=f"{FREE_INODES} free inodes",
                found=str(inodes.f_favail),
                severity=Severity.WARNING,
            )
        )
    kind = _file_system(home.root)
    if kind in _NETWORK:
        findings.append(
            Finding(
                "doctor-network-disk",
                "the home lies on a network file system, where locks and fsync cannot be relied on",
                str(home.root),
                expected="a local file system",
                found=kind,
                # the append is held in the database then; staging still needs the file system's locks
                severity=Severity.WARNING if settings.database else Severity.ERROR,
            )
        )
    return judge("disk", findings, detail=f"{free} bytes free, {kind or 'file system unknown'}")


def _file_system(path: Path) -> str | None:
    """The type of the file system that holds `path`, where the system says (Linux)."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    place = str(path.resolve())
    best, kind = "", None
    for line in lines:
        fields = line.split(" ")
        mount = fields[1].replace("\\040", " ").rstrip("/")
        if (place == mount or place.startswith(mount + "/")) and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _keys(home: Home) -> Stage:
    findings = []
    unsealed = 0
    names = present_keys(home)
    for name in names:
        path = home.keys / name
        try:
            unsealed += not read_header(path).sealed
        except HeritageError as error:
            findings.append(error.finding)
            continue
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS_READ:
            findings.append(
                Finding(
                    "doctor-key-mode",
                    "others may read the key file",
                    f"keys/{name}",
                    expected="mode 0600",
                    found=f"{stat.S_IMODE(path.stat().st_mode):04o}",
                    advice="chmod 600 the file; on a disk without modes (exFAT), mount it with umask=0077",
                )
            )
    if unsealed:
        findings.append(
            Finding(
                "doctor-keys-unsealed",
                "keys are not sealed by a passphrase: whoever reads them can sign in the institution's name",
                "keys",
                found=f"{unsealed} files",
                severity=Severity.WARNING,
            )
        )
    return judge("keys", findings, detail=f"{len(names)} files looked for, secrets not opened")


def _database(home: Home, settings: Settings) -> Stage:
    if settings.database is not None:
        return _server(home, settings)
    findings = []
    if sqlite3.sqlite_version_info < SAFE_SQLITE:
        findings.append(
            Finding(
                "doctor-sqlite",
                "this SQLite can damage a database that two processes write; the append lock prevents it",
                expected=".".join(map(str, SAFE_SQLITE)) + " or newer",
                found=sqlite3.sqlite_version,
                severity=Severity.WARNING,
            )
        )
    detail = f"SQLite {sqlite3.sqlite_version}; the index is not read"
    return judge("database", findings, detail=detail)


def _server(home: Home, settings: Settings) -> Stage:
    try:
        with StateStore.open(settings.kept_in(home.state), upgrade=False) as state:
            detail = state.describe()
    except HeritageError as error:
        return judge("database", [error.finding])
    return judge("database", [], detail=detail)


def _log(home: Home, settings: Settings) -> Stage:
    log = LogFiles(home.log)
    try:
        evidence = open_evidence(home, settings.origin, log_verifiers(home, settings.origin, log))
    except HeritageError as error:
        return judge("log", [error.finding])
    stage = checkpoint_stage(evidence)
    findings = [*stage.findings, *evidence.history_findings, *examine_heads(home, settings)]
    if not (home.policy.exists() or home.peers.is_dir()):
        findings.append(
            Finding(
                "doctor-no-witness",
                "nobody witnesses this log, so an old copy of this home cannot always be told from it",
                settings.origin,
                advice="add peers by `heritage peer add`; never use two copies of one home",
                severity=Severity.WARNING,
            )
        )
    return judge("log", findings, detail=stage.detail)


def _leftovers(home: Home) -> Stage:
    findings = [
        Finding(
            "doctor-staging",
            "left by a deposit that did not end; the next deposit clears it away",
            str(path.relative_to(home.root)),
            severity=Severity.WARNING,
        )
        for path in sorted(home.staging.iterdir())
        if not lock.is_held(path / "lock")
    ]
    findings += [
        Finding(
            "doctor-quarantine",
            "set aside: a bag without an event, or a damaged copy",
            str(path.relative_to(home.root)),
            advice="look at it and remove it when it is not needed",
            severity=Severity.WARNING,
        )
        for path in sorted(home.quarantine.iterdir())
        if not path.name.startswith(".")  # a repair at work, or one that the next repair tells of
    ]
    return judge("leftovers", findings)
