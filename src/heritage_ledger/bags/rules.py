"""What a bag's tag files must say, read before any payload file is looked at (RFC 8493 §2, §3)."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.names import ENCODED_FROM, show_path
from heritage_ledger.bags.tags import NOT_REPEATED
from heritage_ledger.content.algorithms import STRONG
from heritage_ledger.errors import Finding, Severity
from heritage_ledger.home.deep import lstat_below

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.bags.read import Bag

_ADVICE: Final = "ask whoever made the bag for a right one"


def check_rules(bag: Bag, known: set[str]) -> Iterator[Finding]:
    """Yield what is wrong with the bag's form; `known` are the algorithms that can be computed here."""
    yield from _parts(bag)
    yield from _algorithms(bag, known)
    yield from _tag_manifests(bag)
    yield from _repeats(bag)
    yield from _fetch(bag)


def _parts(bag: Bag) -> Iterator[Finding]:
    if not bag.is_cut and all(manifest.is_tag for manifest in bag.manifests):
        yield Finding(
            "manifest-missing",
            "the bag has no payload manifest",
            expected="a file such as manifest-sha512.txt",
            found="none",
            advice=_ADVICE,
            rule="RFC 8493 §2.1.3",
        )
    if not _has_payload(bag):
        yield Finding(
            "payload-missing",
            "the bag has no payload folder",
            "data",
            expected="a folder data/",
            found="none",
            advice=_ADVICE,
            rule="RFC 8493 §2.1.2",
        )


def _has_payload(bag: Bag) -> bool:
    """Say whether there is a folder `data`; one that cannot be looked at is told by the walk."""
    try:
        return stat.S_ISDIR(lstat_below(bag.root, "data").st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _algorithms(bag: Bag, known: set[str]) -> Iterator[Finding]:
    for manifest in bag.manifests:
        if manifest.algorithm not in known:
            yield Finding(
                "algorithm-not-verified",
                "a manifest of an algorithm that cannot be computed here, so it was not verified",
                manifest.name,
                expected="sha512, sha256 or another that is known",
                found=manifest.algorithm,
                advice="verify it with a tool that knows the algorithm",
                rule="RFC 8493 §3",
            )
    verified = known & {manifest.algorithm for manifest in bag.manifests if not manifest.is_tag}
    if verified and not verified & STRONG:
        yield Finding(
            "algorithm-weak",
            "only digests that can be forged; the bytes may be others made to fit",
            expected="sha512 or sha256 beside them",
            found=", ".join(sorted(verified)),
            advice="take the bag in; the log then holds a strong digest of what it was",
            rule="RFC 8493 §2.4",
            severity=Severity.WARNING,
        )


def _tag_manifests(bag: Bag) -> Iterator[Finding]:
    if bag.declaration.version < ENCODED_FROM:
        return
    names = [manifest.name for manifest in bag.manifests if not manifest.is_tag]
    for manifest in bag.manifests:
        for name in names if manifest.is_tag else ():
            if not manifest.lists(name):
                yield Finding(
                    "tag-manifest-incomplete",
                    "a tag manifest leaves out a payload manifest",
                    manifest.name,
                    expected=name,
                    found="no entry",
                    advice=_ADVICE,
                    rule="RFC 8493 §2.2.1",
                )


def _repeats(bag: Bag) -> Iterator[Finding]:
    count = len(bag.info("Payload-Oxum"))
    if count > 1:
        is_error = bag.declaration.version >= ENCODED_FROM
        yield Finding(
            "oxum-repeated",
            "Payload-Oxum stands more than once",
            "bag-info.txt",
            expected="once at most",
            found=str(count),
            advice=_ADVICE,
            rule="RFC 8493 §2.2.2",
            severity=Severity.ERROR if is_error else Severity.WARNING,
        )
    for label in NOT_REPEATED:
        count = len(bag.info(label))
        if count > 1:
            yield Finding(
                "bag-info-repeated",
                f"{label} stands more than once",
                "bag-info.txt",
                expected="once at most",
                found=str(count),
                advice="ask whoever made the bag which one counts",
                rule="RFC 8493 §2.2.2",
                severity=Severity.WARNING,
            )


def _fetch(bag: Bag) -> Iterator[Finding]:
    payload = [manifest for manifest in bag.manifests if not manifest.is_tag]
    enough = all if bag.declaration.version >= ENCODED_FROM else any
    seen: set[str] = set()
    for entry in bag.fetch:
        if not enough(manifest.lists(entry.path) for manifest in payload):
            yield Finding(
                "fetch-unlisted",
                "fetch.txt promises a file that not every manifest lists",
                show_path(entry.path),
                expected="an entry in every payload manifest",
                found="none in at least one",
                advice=_ADVICE,
                rule="RFC 8493 §2.2.3",
            )
        if entry.path in seen:
            yield Finding(
                "fetch-repeated",
                "fetch.txt promises a file twice",
                show_path(entry.path),
                expected="one line for each file",
                found="a second one",
                advice=_ADVICE,
                rule="specs/bag-profile.md",
                severity=Severity.WARNING,
            )
        seen.add(entry.path)
