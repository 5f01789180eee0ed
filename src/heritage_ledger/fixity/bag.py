"""Check one bag, with one read of each of its bytes: rules, digests, and the CIDs that are claimed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.archives.unpack import extract, is_archive
from heritage_ledger.bags.validate import DIGEST_CODES, validate_bag
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.package import PackageGraph
from heritage_ledger.errors import Finding, HeritageError, UsageError
from heritage_ledger.fixity.verdict import Stage, Verdict, judge, not_checked
from heritage_ledger.home.durable import remove_tree, writing
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from heritage_ledger.bags.validate import BagReport
    from heritage_ledger.bags.walk import Outcome
    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.reading import FileDigests
    from heritage_ledger.progress import Progress

PAYLOAD_CID = "Payload-CID"
"""The element of bag-info.txt in which our bags state the address of their payload."""
_LARGE: Final = Path("/var/tmp")  # noqa: S108 - the folder made in it is this process's alone
"""The system's place for large temporary files, where it has one."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a bag's directory and its payload should be addressed by, as text, and who says so."""

    package_cid: str | None
    payload_cid: str | None
    source: str


@dataclass(frozen=True, slots=True)
class CheckedBag:
    """The stages `bag`, `digests` and `cid` of one bag, and the addresses that its bytes have now.

    The addresses are None where a file could not be read or has no name that a tree can hold.
    """

    stages: tuple[Stage, ...]
    package_cid: str | None
    payload_cid: str | None


def check_bag(
    root: Path,
    claim: Claim | None,
    progress: Progress,
    *,
    keep: Callable[[PackageGraph], None] | None = None,
    files: Callable[[tuple[str, ...]], Iterator[tuple[str, Outcome]]] | None = None,
    beside: tuple[Finding, ...] = (),
) -> CheckedBag:
    """Read the bag in `root` once and check it; nothing is written.

    With `claim` the addresses are compared with it, and with what the bag says of itself in any case. `keep`
    gets the finished graph of a bag that is the claimed one. `files` is that of `validate_bag`. `beside` are
    findings about what the bag came in.

    Raises:
        OperationFailed: there is no bag in `root` (`not-a-bag`).
    """
    with PackageGraph() as graph:
        feed = _Feed(graph)
        report = validate_bag(root, progress=progress, on_file=feed.file, on_folder=feed.folder, files=files)
        package_cid = payload_cid = None
        if feed.is_whole and not report.skipped:
            package_cid = graph.finish().cid
            with contextlib.suppress(UsageError):  # there may be no data/
                payload_cid = graph.folder("data").cid
            claimed = None if claim is None else claim.package_cid
            if keep is not None and claimed in {None, format_cid(package_cid)}:
                keep(graph)
    rules = [*beside, *(finding for finding in report.findings if finding.code not in DIGEST_CODES)]
    digests = [finding for finding in report.findings if finding.code in DIGEST_CODES]
    return CheckedBag(
        (
            judge("bag", rules, detail=f"BagIt {report.version}"),
            judge("digests", digests, detail=_counted(report)),
            _cid_stage(report, claim, package_cid, payload_cid),
        ),
        None if package_cid is None else format_cid(package_cid),
        None if payload_cid is None else format_cid(payload_cid),
    )


def check_bag_at(path: Path, claim: Claim | None, progress: Progress) -> CheckedBag:
    """Check the bag at `path`, a folder or an archive, as `check_bag` does.

    An archive is unpacked aside first, into a temporary folder that is gone afterwards.

    Raises:
        OperationFailed: there is no bag at `path` (`not-a-bag`), or the archive is of no kind that is read.
        EvidenceInvalid: the archive is damaged or refused (`archive-…`).
        DiskProblem: it does not fit where temporary files lie (`disk-full`).
    """
    if not is_archive(path):
        progress.begin("verify")
        return check_bag(path, claim, progress)
    with _aside() as folder:
        progress.begin("extract")
        out = extract(path, folder)
        progress.begin("verify")
        return check_bag(out.root, claim, progress, beside=out.findings)


def verify_bag(path: Path, *, progress: Progress = SILENT) -> Verdict:
    """Check any bag, without a home: nothing is known about it but what it says itself.

    Raises:
        OperationFailed, EvidenceInvalid, DiskProblem: as from `check_bag_at`.
    """
    checked = check_bag_at(path, None, progress)
    why = "a bag alone does not show who recorded it; use `heritage check PROOF --bag`"
    return Verdict(
        subject=str(path),
        stages=(
            *checked.stages,
            *(not_checked(name, why, required=False) for name in ("event", "inclusion", "checkpoint")),
        ),
        package_cid=checked.package_cid,
    )


@contextlib.contextmanager
def _aside() -> Iterator[Path]:
    """Give a temporary folder: in TMPDIR where that is set, else where the system has most room."""
    places = [Path(tempfile.gettempdir())]
    if "TMPDIR" not in os.environ and os.access(_LARGE, os.W_OK):
        places.append(_LARGE)
    place = max(places, key=lambda path: shutil.disk_usage(path).free)
    with writing(place):
        folder = Path(tempfile.mkdtemp(prefix="heritage-", dir=place))
    try:
        yield folder
    finally:
        remove_tree(folder)


class _Feed:
    """Passes files to the graph until one does not fit; then the bag has no address."""

    def __init__(self, graph: PackageGraph) -> None:
        self.graph = graph
        self.is_whole = True

    def file(self, path: str, digests: FileDigests) -> None:
        self._try(lambda: self.graph.add(path, digests))

    def folder(self, path: str) -> None:
        self._try(lambda: self.graph.add_folder(path))

    def _try(self, add: Callable[[], object]) -> None:
        if not self.is_whole:
            return
        try:
            add()
        except (HeritageError, UnicodeError):
            self.is_whole = False


def _counted(report: BagReport) -> str:
    algorithms = ", ".join(report.algorithms) or "no algorithm"
    return f"{report.files} payload files, {report.size} bytes, {algorithms}"


def _cid_stage(
    report: BagReport, claim: Claim | None, package_cid: Cid | None, payload_cid: Cid | None
) -> Stage:
    if package_cid is None:
        return not_checked("cid", "not every file could be read", required=claim is not None)
    claimed = claim or Claim(None, None, "nobody")
    own = [value for name, value in report.bag_info if name == PAYLOAD_CID]
    findings = [
        finding
        for expected, found, source, code in (
            (claimed.package_cid, package_cid, claimed.source, "package-cid"),
            (claimed.payload_cid, payload_cid, claimed.source, "payload-cid"),
            *((value, payload_cid, "bag-info.txt", "payload-cid") for value in own),
        )
        if (finding := _compare(expected, found, source, code)) is not None
    ]
    if claim is None and not own:
        return not_checked("cid", f"the bag claims none; it is {format_cid(package_cid)}", required=False)
    return judge("cid", findings, detail=format_cid(package_cid))


def _compare(expected: str | None, found: Cid | None, source: str, code: str) -> Finding | None:
    if expected is None or (found is not None and format_cid(found) == expected):
        return None
    is_package = code == "package-cid"
    return Finding(
        "package-cid" if is_package else "payload-cid",
        f"the {'bag' if is_package else 'payload'} is not the one that {source} names",
        None if is_package else "data",
        expected=expected,
        found="no payload" if found is None else format_cid(found),
        advice="the findings of the other stages name the files; bring them back from another copy",
        rule="specs/addresses.md",
    )
