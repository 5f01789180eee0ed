"""Manifests: strict by version, every wrong line told, nothing raised."""

from __future__ import annotations

import hashlib

import pytest

from heritage_ledger.bags import manifests
from heritage_ledger.bags.manifests import parse_manifest, parse_manifest_name
from heritage_ledger.errors import Severity

OLD = (0, 97)
NEW = (1, 0)
DIGEST = hashlib.sha256(b"x").digest()
HEX = DIGEST.hex()


def parsed(*lines: str, version=NEW, name="manifest-sha256.txt"):
    return parse_manifest(lines, name, version)


def told(*lines: str, version=NEW, name="manifest-sha256.txt"):
    return [
        (finding.code, finding.severity.value)
        for finding in parsed(*lines, version=version, name=name).findings
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("manifest-sha512.txt", (False, "sha512")),
        ("manifest-SHA-512.txt", (False, "sha512")),
        ("manifest-sha3_256.txt", (False, "sha3256")),
        ("tagmanifest-md5.txt", (True, "md5")),
        ("manifest-blake3.txt", (False, "blake3")),
        ("manifest-.txt", None),
        ("manifest.txt", None),
        ("manifest-sha512.txt.bak", None),
        ("bag-info.txt", None),
    ],
)
def test_names(name, kind):
    assert parse_manifest_name(name) == kind


@pytest.mark.parametrize("end", ["", "\n", "\r", "\r\n"])
@pytest.mark.parametrize("gap", [" ", "  ", "\t", " \t  "])
@pytest.mark.parametrize("digest", [HEX, HEX.upper()])
def test_right_lines(end, gap, digest):
    manifest = parsed(f"{digest}{gap}data/x{end}")
    assert manifest.findings == []
    assert manifest.find("data/x") == DIGEST


def test_names_keep_every_character():
    names = [
        "data/ ",
        "data/x ",
        "data/a b",
        "data/x\u00a0",
        "data/ä\u2028b",
        "data/.keep",
        "data/a\\b",
        "data/x*",
    ]
    manifest = parsed(*(f"{HEX}  {name}\n" for name in names))
    assert manifest.findings == []
    assert all(manifest.find(name) == DIGEST for name in names)


def test_what_was_met_and_what_was_not():
    manifest = parsed(f"{HEX}  data/b", f"{HEX}  data/a", f"{HEX}  data/ab")
    assert len(manifest) == 3
    assert list(manifest.paths()) == ["data/a", "data/ab", "data/b"]
    assert manifest.find("data/a") == DIGEST
    assert manifest.find("data/") is None
    assert manifest.lists("data/b")
    assert list(manifest.unmet()) == ["data/ab", "data/b"]


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        HEX,
        f"{HEX}data/x",
        f"  {HEX}  data/x",
        f"sha256:{HEX}  data/x",
        f"SHA256 (data/x) = {HEX}",
        "# comment",
        "",
        "\n",
    ],
)
def test_malformed_lines(line):
    assert told(line) == [("manifest-line", "error")]


def test_old_manifests_may_have_empty_lines():
    assert told("\n", f"{HEX}  data/x\n", "", version=OLD) == []


@pytest.mark.parametrize("digest", ["00", HEX[:-1], HEX[:-2], HEX + "00", HEX * 2])
def test_digests_of_another_length(digest):
    assert told(f"{digest}  data/x") == [("manifest-digest-length", "error")]


def test_an_unknown_algorithm_has_no_length_but_whole_bytes():
    assert told("abcd  data/x", name="manifest-blake3.txt") == []
    assert told("abc  data/x", name="manifest-blake3.txt") == [("manifest-digest-length", "error")]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "~/x",
        "data/../../x",
        "data/../x",
        "data//x",
        "data/./x",
        "data/",
        "C:/x",
        "C:x",
        "data/\0x",
        "..\\x",
        "data/%0A/../../x",
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_unsafe_paths_are_errors_and_not_followed(path, version):
    manifest = parsed(f"{HEX}  {path}", version=version)
    assert [finding.code for finding in manifest.findings] == ["path-unsafe"]
    assert len(manifest) == 0


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("manifest-sha256.txt", "bagit.txt"),
        ("manifest-sha256.txt", "data"),
        ("manifest-sha256.txt", "Data/x"),
        ("tagmanifest-sha256.txt", "data/x"),
        ("tagmanifest-sha256.txt", "tagmanifest-sha256.txt"),
        ("tagmanifest-sha256.txt", "tagmanifest-md5.txt"),
    ],
)
def test_paths_that_the_other_kind_of_manifest_lists(name, path):
    assert told(f"{HEX}  {path}", name=name) == [("manifest-place", "error")]
    assert told(f"{HEX}  {path}", name=name, version=OLD) == [("manifest-place", "warning")]


def test_repeated_paths():
    same = [f"{HEX}  data/x"] * 2
    other = [f"{HEX}  data/x", f"{'00' * 32}  data/x"]
    assert told(*same) == told(*other) == told(*other, version=OLD) == [("manifest-repeated", "error")]
    assert told(*same, version=OLD) == [("manifest-repeated", "warning")]
    assert told(f"{HEX}  data/%25", f"{HEX}  data/%") == [
        ("percent-literal", "warning"),
        ("manifest-repeated", "error"),
    ]


def test_md5sum_stars_and_dot_slashes():
    assert told(f"{HEX} *data/x") == [("manifest-star", "warning")]
    assert told(f"{HEX}  ./data/x", version=OLD) == [("manifest-dot-slash", "warning")]
    assert told(f"{HEX}  ./data/x") == [("manifest-dot-slash", "error")]
    assert parsed(f"{HEX} *data/x").find("data/x") == DIGEST


def test_names_are_decoded_by_version():
    assert parsed(f"{HEX}  data/a%0ab%25").find("data/a\nb%") == DIGEST
    assert parsed(f"{HEX}  data/a%0ab%25", version=OLD).find("data/a%0ab%25") == DIGEST
    literal = parsed(f"{HEX}  data/100%.txt")
    assert literal.find("data/100%.txt") == DIGEST
    assert [finding.code for finding in literal.findings] == ["percent-literal"]


def test_findings_have_a_limit_and_no_error_is_lost_to_warnings(monkeypatch):
    monkeypatch.setattr(manifests, "MAX_FINDINGS", 3)
    stars = [f"{HEX} *data/{number}" for number in range(3)]
    assert told(*stars) == [("manifest-star", "warning")] * 3
    findings = parsed(*stars, "nonsense", f"{HEX} *data/9").findings
    assert [(finding.code, finding.severity) for finding in findings][2:] == [
        ("manifest-line", Severity.ERROR),
        ("findings-cut", Severity.WARNING),
    ]
    assert findings[-1].found == "2 more"


def test_lines_have_a_limit(monkeypatch):
    monkeypatch.setattr(manifests, "MAX_ENTRIES", 3)
    lines = [f"{HEX}  data/{number}" for number in range(4)]
    assert told(*lines[:3]) == []
    assert told(*lines) == [("manifest-too-long", "error")]
