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
    ["/relative", "a.example/x", "//a.example/x", "1a:x", "-:x", "https:", ":x", "data/x", "\u0430bc:x"],
)
def test_addresses_without_a_scheme_or_anything_after_it_are_errors(url):
    entries, findings = parse_fetch([f"{url} - data/x"], NEW)
    assert [entry.path for entry in entries] == ["data/x"]
    assert [(finding.code, finding.severity) for finding in findings] == [("fetch-url", Severity.ERROR)]


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "file://host/x",
        "http://",
        "http:///x",
        "http:x",
        "ftp:///x",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        "ftp://10.0.0.1/",
        "gopher://10.0.0.1/",
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
        "http://localhost:8080/x",
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_addresses_of_one_machine_are_warnings(url, version):
    entries, findings = parse_fetch([f"{url} - data/x"], version)
    assert [entry.path for entry in entries] == ["data/x"]
    assert [(finding.code, finding.severity) for finding in findings] == [
        ("fetch-url-local", Severity.WARNING)
    ]


@pytest.mark.parametrize(
    "url", ["https://a.example/%zz", "https://a.example/caf\u00e9", "C:\\scans\\x", "https://a.example/{x}"]
)
def test_addresses_of_another_form_are_warnings(url):
    (finding,) = parse_fetch([f"{url} - data/x"], NEW)[1]
    assert (finding.code, finding.severity) == ("fetch-url-form", Severity.WARNING)


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/x",
        "http://8.8.8.8/x",
        "https://[2606:4700::1111]/x",
        "ipfs://bafy/x",
        "http://123.example/x",
        "ftp://ada:secret@a.example/x",
        "sftp://a.example/x",
        "s3://a-bucket/a/key",
        "gs://a-bucket/x",
        "globus://0f1e2d/x",
        "ark:/57799/b9dd2w",
        "ark:57799/b9dd2w",
        "doi:10.1000/182",
        "minid:b9dd2w",
        "tag:a.example,2026:x",
        "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "data:text/plain,x",
        "ni:///sha-256;f4OxZX_x_FO5LcGBSKHWXfwtSx-j1ncoSt3SABJtkGk",
        "z39.50r://a.example/x",
    ],
)
def test_an_absolute_uri_of_any_scheme_says_nothing(url):
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
