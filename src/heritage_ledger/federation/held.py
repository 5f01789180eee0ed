"""What is held for others, as it lies on the disk, and giving it up.

Listing and dropping need neither index nor key, and no room: they are for the day on which the disk is full.
That a replica was dropped is no event. What counts for its owner is the promise: a copy that its holder's
latest pledge covers no more is counted by nobody, and a covered one cannot be dropped.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from heritage_ledger.content.cid import format_cid, parse_cid, parse_cid_spelling
from heritage_ledger.errors import DiskProblem, EvidenceInvalid, EvidenceMissing, HeritageError, UsageError
from heritage_ledger.federation.checks import being_checked
from heritage_ledger.federation.replicas import DROPPED, INCOMING
from heritage_ledger.home import lock
from heritage_ledger.home.durable import remove_tree, writing
from heritage_ledger.home.room import used_room
from heritage_ledger.index.store import Index

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from heritage_ledger.federation.pledges import Pledge
    from heritage_ledger.home.layout import Home
    from heritage_ledger.index.rows import PackageRow


@dataclass(frozen=True, slots=True)
class HeldReplica:
    """A replica on the disk: whose it is, what it takes there, and what the mirror's index says it is.

    `asset`, `version` and `log_index` are None where that index cannot be read, or does not know it.
    """

    origin: str
    package_cid: str
    bytes: int
    asset: str | None
    version: int | None
    log_index: int | None
    folder: Path

    def is_covered(self, promise: Pledge | None) -> bool:
        """Say whether a pledge that counts is about it; one whose asset is not known may be meant."""
        if promise is None:
            return False
        now = datetime.now(UTC)
        return promise.is_active(now) if self.asset is None else promise.covers(self.asset, now)


def replica_folders(home: Home) -> list[Path]:
    """The folders of the replicas on the disk, in the order of their names; no file is looked at."""
    return [folder for folder in sorted(home.replicas.glob("[!.]*/*/*/*")) if _is_package(folder)]


def held_replicas(home: Home, origin: str | None = None, cid: str | None = None) -> Iterator[HeldReplica]:
    """Yield the replicas on the disk, all or those of one log, in the order of their names.

    With `cid`, in any spelling, that package alone; what is no CID names none.
    """
    wanted = cid
    if cid is not None:
        with contextlib.suppress(EvidenceInvalid):
            wanted = format_cid(parse_cid_spelling(cid))
    by_origin: dict[str, list[Path]] = {}
    for folder in replica_folders(home):
        found = "/".join(folder.parts[-4:-1])
        if origin in {None, found} and wanted in {None, folder.name}:
            by_origin.setdefault(found, []).append(folder)
    for found, folders in by_origin.items():
        rows = _rows(home, found)
        for folder in folders:
            row = rows.get(folder.name)
            yield HeldReplica(
                found,
                folder.name,
                used_room(folder).bytes,
                None if row is None else row.asset,
                None if row is None else row.version,
                None if row is None else row.log_index,
                folder,
            )


def drop_replicas(home: Home, origin: str, cid: str | None, promise: Pledge | None) -> Iterator[HeldReplica]:
    """Remove the replicas of a log, all or the one of `cid`; yield each that is gone.

    Raises:
        EvidenceMissing: there is none (`replica-unknown`).
        UsageError: `promise`, the latest pledge for that log, covers one (`replica-pledged`).
        HomeLocked: another process works at one of them (`home-locked`).
    """
    found = list(held_replicas(home, origin, cid))
    if not found:
        raise EvidenceMissing(
            "replica-unknown",
            "no such replica is held here",
            path=origin if cid is None else cid,
            advice="`heritage replica list` names them",
        )
    for one in found:
        if promise is not None and one.is_covered(promise):
            raise UsageError(
                "replica-pledged",
                f"this institution has promised to hold it until {promise.until}",
                path=one.package_cid,
                found=f"log entry {promise.log_index}",
                advice=f"take the promise back first: heritage pledge {origin} --withdraw",
            )
    for one in found:
        _drop(home, one)
        yield one


def _drop(home: Home, one: HeldReplica) -> None:
    incoming = home.replicas / INCOMING
    with contextlib.ExitStack() as held:
        with contextlib.suppress(DiskProblem):  # no room for a lock: then nobody else has one either
            incoming.mkdir(exist_ok=True)
            held.enter_context(being_checked(home, parse_cid(one.package_cid), wait=0))
            held.enter_context(lock.hold(incoming / f"{one.package_cid}.lock", wait=0, passing=True))
        gone = incoming / f"{DROPPED}{one.package_cid}"
        with contextlib.suppress(HeritageError):  # one that was half dropped before
            remove_tree(gone)
        try:
            with writing(gone):
                one.folder.rename(gone)
        except HeritageError:
            gone = one.folder
        remove_tree(gone)
        with contextlib.suppress(OSError):
            (home.checked / one.package_cid).unlink(missing_ok=True)
    with contextlib.suppress(HeritageError):  # rows of what is not there harm nobody
        _forget(home, one)


def _forget(home: Home, one: HeldReplica) -> None:
    if one.log_index is not None:
        with (
            Index.open(home.mirror_of(one.origin).index, origin=one.origin, make=False) as index,
            index.begin() as writer,
        ):
            writer.remove_content(one.log_index)


def _rows(home: Home, origin: str) -> Mapping[str, PackageRow]:
    with (
        contextlib.suppress(HeritageError),
        Index.open(home.mirror_of(origin).index, origin=origin, make=False) as index,
    ):
        return {format_cid(row.package_cid): row for row in index.packages()}
    return {}


def _is_package(folder: Path) -> bool:
    try:
        parse_cid(folder.name)
    except EvidenceInvalid:
        return False
    return folder.is_dir()
