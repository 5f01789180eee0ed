"""Check packages against their events: bag, digests, addresses, signature, inclusion, checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from heritage_ledger.errors import Finding, HeritageError
from heritage_ledger.fixity.bag import Claim, check_bag
from heritage_ledger.fixity.evidence import checkpoint_stage, inclusion_stage, read_event
from heritage_ledger.fixity.verdict import Stage, Verdict, judge, not_checked
from heritage_ledger.home.durable import disk_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.fixity.evidence import LogEvidence
    from heritage_ledger.home.layout import Home
    from heritage_ledger.progress import Progress


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
    keep: Callable[[PackageGraph], None] | None = None,
) -> Verdict:
    """Check one package, and name every bad file; nothing is written.

    The addresses are compared with those in the signed event, or with `recorded` where the event itself
    cannot be trusted.
    """
    event, event_stage = read_event(evidence, recorded.log_index)
    claim = Claim(recorded.package_cid, recorded.payload_cid, "the record")
    if event is not None:
        claim = Claim(event.package_cid, event.payload_cid, "the signed event")
        event_stage = _same_subject(recorded, event.asset_id, event.version, event_stage)
    folder = home.package(recorded.asset, recorded.version)
    return Verdict(
        subject=f"{recorded.asset} version {recorded.version}",
        stages=(
            *_bag_stages(folder, claim, progress, keep),
            event_stage,
            inclusion_stage(evidence, recorded.log_index),
            checkpoint_stage(evidence),
        ),
        asset=recorded.asset,
        version=recorded.version,
        package_cid=recorded.package_cid,
    )


def _bag_stages(
    folder: Path, claim: Claim, progress: Progress, keep: Callable[[PackageGraph], None] | None
) -> tuple[Stage, ...]:
    if not folder.is_dir():
        missing = Finding(
            "package-missing",
            "the bag is not where it was put",
            str(folder),
            expected=claim.package_cid,
            advice="bring the bag back from a backup or another copy",
        )
        unread = (not_checked(name, "the bag is missing") for name in ("digests", "cid"))
        return (judge("bag", [missing]), *unread)
    try:
        return check_bag(folder, claim, progress, keep=keep).stages
    except HeritageError as error:
        found = error.finding
    except OSError as error:
        found = disk_error(error, folder).finding
    unread = (not_checked(name, "the bag cannot be read") for name in ("digests", "cid"))
    return (judge("bag", [found]), *unread)


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
