"""Check packages against their events: bag, digests, addresses, signature, inclusion, checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.stored import read_stored_bag, stored_tags
from heritage_ledger.content.blocks import State
from heritage_ledger.content.cid import format_cid, parse_cid
from heritage_ledger.errors import EvidenceMissing, Finding, HeritageError, TemporaryFailure
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.fixity.evidence import checkpoint_stage, inclusion_stage, read_event
from heritage_ledger.fixity.verdict import Stage, Verdict, judge, not_checked
from heritage_ledger.home.durable import disk_error
from heritage_ledger.home.release import read_released

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.kubo import KuboEngine
    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.events.event import Event
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.progress import Progress

MAX_BLOCKS_NAMED: Final = 1_000
"""Blocks that a stage names; all of them are brought back together."""
_STAGES: Final = ("bag", "digests", "cid")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A package as the log or the index names it: where its event stands, and what it is a version of."""

    log_index: int
    asset: str
    version: int
    package_cid: str
    payload_cid: str


def verify_package(
    home: Home,
    evidence: LogEvidence,
    recorded: Recorded,
    progress: Progress,
    *,
    kubo: KuboEngine | None = None,
    keep: Callable[[PackageGraph], None] | None = None,
    rows: Callable[[Event], Stage] | None = None,
) -> Verdict:
    """Check one package, and name every bad file; nothing is written.

    `rows` compares what the index says of the package with its signed event, as the stage `index`.

    The addresses are compared with those in the signed event, or with `recorded` where the event itself
    cannot be trusted. With `kubo` every block that it holds of the package is read too, as the stage
    `blocks`; a released bag is read from there alone.
    """
    event, event_stage = read_event(evidence, recorded.log_index)
    claim = Claim(recorded.package_cid, recorded.payload_cid, "the record")
    if event is not None:
        claim = Claim(event.package_cid, event.payload_cid, "the signed event")
        event_stage = _same_subject(recorded, event.asset_id, event.version, event_stage)
    folder = home.root / home.folder_of(recorded.asset, recorded.version, recorded.package_cid)
    return Verdict(
        subject=f"{recorded.asset} version {recorded.version}",
        stages=(
            *_bag_stages(folder, claim, kubo, progress, keep),
            *([] if kubo is None else [blocks_stage(kubo, parse_cid(claim.package_cid or ""))]),
            event_stage,
            *([] if rows is None or event is None else [rows(event)]),
            inclusion_stage(evidence, recorded.log_index),
            checkpoint_stage(evidence),
        ),
        asset=recorded.asset,
        version=recorded.version,
        package_cid=recorded.package_cid,
    )


def _bag_stages(
    folder: Path,
    claim: Claim,
    kubo: KuboEngine | None,
    progress: Progress,
    keep: Callable[[PackageGraph], None] | None,
) -> tuple[Stage, ...]:
    try:
        if folder.is_dir():
            return check_bag(folder, claim, progress, keep=keep).stages
        released = read_released(folder)
        if released is not None:
            return _stored_stages(claim, kubo, progress, keep)
    except TemporaryFailure as error:
        return tuple(not_checked(name, str(error)) for name in _STAGES)
    except HeritageError as error:
        found = error.finding
    except OSError as error:
        found = disk_error(error, folder).finding
    else:
        found = Finding(
            "package-missing",
            "the bag is not where it was put",
            str(folder),
            expected=claim.package_cid,
            advice="bring the bag back from a backup or another copy",
        )
    unread = (not_checked(name, "the bag cannot be read") for name in _STAGES[1:])
    return (judge("bag", [found]), *unread)


def _stored_stages(
    claim: Claim,
    kubo: KuboEngine | None,
    progress: Progress,
    keep: Callable[[PackageGraph], None] | None,
) -> tuple[Stage, ...]:
    """Check a released bag by reading every byte of it from the engine."""
    if kubo is None:
        raise EvidenceMissing(
            "package-released",
            "the bag was given up to an engine that the settings do not name",
            path=claim.package_cid,
            advice="name the engine in heritage.toml again, or bring the bag back by `heritage export`",
        )
    root = parse_cid(claim.package_cid or "")
    with stored_tags(kubo.get, root) as tags:
        return check_bag(
            tags,
            claim,
            progress,
            keep=keep,
            files=lambda algorithms: read_stored_bag(kubo.get, root, algorithms, progress),
        ).stages


def blocks_stage(kubo: KuboEngine, root: Cid) -> Stage:
    """The stage `blocks`: the daemon has pinned the package, and gives every block of it whole."""
    try:
        findings = [
            Finding(
                "block-missing" if state is State.MISSING else "block-damaged",
                "the engine does not give the block whole",
                format_cid(cid),
                expected="bytes that hash to the address",
                found=state.value,
                advice="`heritage repair` brings it from peers, "
                "`heritage engine move --to kubo` from the bag",
            )
            for cid, state in islice(kubo.damaged(root), MAX_BLOCKS_NAMED)
        ]
        if not kubo.is_pinned(root):
            findings.append(
                Finding(
                    "package-unpinned",
                    "the engine has no pin of the package, so its next garbage collection takes it",
                    format_cid(root),
                    advice="`heritage engine move --to kubo` pins it again",
                )
            )
    except TemporaryFailure as error:
        return not_checked("blocks", str(error))
    except HeritageError as error:
        findings = [error.finding]
    return judge("blocks", findings, detail=f"read from {kubo.rpc.url}")


def _same_subject(recorded: Recorded, asset: str | None, version: int | None, stage: Stage) -> Stage:
    if (asset, version) == (recorded.asset, recorded.version):
        return stage
    return judge(
        "event",
        [
            Finding(
                "event-other-subject",
                "the event is about another package than the index says",
                expected=f"{recorded.asset} version {recorded.version}",
                found=f"{asset} version {version}",
                advice="run `heritage index rebuild`",
            )
        ],
    )
