"""fetch.txt: read, judged, and never followed."""

from __future__ import annotations

import pytest

from heritage_ledger.bags import fetch
from heritage_ledger.bags.fetch import FetchEntry, parse_fetch
from heritage_ledger.errors import Severity

NEW = (1, 0)
OLD = (0, 97)


def told(line: str, version=NEW):
    return [finding.code for finding in parse_fetch([line], version)[1]]


def test_a_right_line():
    entries, findings = parse_fetch(["https://a.example/x?y=1 1024 data/a b%25.txt\n"], NEW)
    assert entries == [FetchEntry("https://a.example/x?y=1", 1024, "data/a b%.txt")]
    assert findings == []


def test_the_length_may_be_unknown():
    assert parse_fetch(["ipfs://bafyx\t-\tdata/x"], NEW)[0] == [FetchEntry("ipfs://bafyx", None, "data/x")]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "https://a.example/x",
        "https://a.example/x 1",
        "https://a.example/x -1 data/x",
        "https://a.example/x 0x1 data/x",
        "https://a.example/x \u0661 data/x",
    ],
)
def test_lines_that_are_none(line):
    assert told(line) == ["fetch-line"]


@pytest.mark.parametrize(
    "path",
    [
        "bagit.txt",
        "data",
        "../x",
        "/etc/passwd",
        "~/x",
        "data/../bagit.txt",
        "data/a/../../x",
        "C:\\x",
        "manifest-sha256.txt",
    ],
)
def test_targets_outside_of_the_payload(path):
    entries, findings = parse_fetch([f"https://a.example/x - {path}"], NEW)
    assert entries == []
    assert [finding.code for finding in findings] == ["fetch-path"]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "file://host/x",
        "ftp://a.example/x",
        "data:text/plain,x",
        "/relative",
        "a.example/x",
        "http://",
        "http:///x",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.1.1/",
        "http://172.16.0.1/",
        "http://100.64.0.1/",
        "http://127.0.0.1:8080/",
        "http://0.0.0.0/",
        "http://[::1]/",
        "http://[fe80::1]/",
        "http://[fc00::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://user@127.0.0.1/",
        "http://[bad/",
    ],
)
def test_addresses_that_are_never_fetched_from(url):
    entries, findings = parse_fetch([f"{url} - data/x"], NEW)
    assert [entry.path for entry in entries] == ["data/x"]
    assert [(finding.code, finding.severity) for finding in findings] == [("fetch-url", Severity.ERROR)]


def test_localhost_is_only_a_warning():
    (finding,) = parse_fetch(["http://localhost:8080/x 1 data/x"], OLD)[1]
    assert (finding.code, finding.severity) == ("fetch-url", Severity.WARNING)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x",
        "http://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "ipfs://bafy/x",
        "http://123.example/x",
    ],
)
def test_public_addresses_say_nothing(url):
    assert told(f"{url} - data/x") == []


def test_names_are_decoded_by_version():
    assert parse_fetch(["https://a.example/x - data/a%0Ab"], NEW)[0][0].path == "data/a\nb"
    assert parse_fetch(["https://a.example/x - data/a%0Ab"], OLD)[0][0].path == "data/a%0Ab"
    assert told("https://a.example/x - data/100%") == ["percent-literal"]


def test_findings_and_lines_have_limits_and_no_error_is_lost(monkeypatch):
    monkeypatch.setattr(fetch, "MAX_FINDINGS", 3)
    monkeypatch.setattr(fetch, "MAX_ENTRIES", 5)
    warning = "https://a.example/x - data/100%"
    entries, findings = parse_fetch([warning] * 4 + ["nonsense"], NEW)
    assert len(entries) == 4
    assert [finding.code for finding in findings] == ["percent-literal", "percent-literal", "fetch-line"]
    assert parse_fetch(["https://a.example/x - data/x"] * 5, NEW)[1] == []
    assert [finding.code for finding in parse_fetch(["https://a.example/x - data/x"] * 6, NEW)[1]] == [
        "fetch-line"
    ]
