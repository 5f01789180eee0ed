"""What a node logs of requests: each has a name, whoever is refused a reason, and nothing secret is in it."""

import ast
import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from heritage_ledger.federation.tracing import parse_id
from heritage_node.journal import LINES, Journal
from heritage_node.limits import Connections
from heritage_testkit.nodes import Institution, until

PROJECT = Path(__file__).resolve().parents[3]
SECRET = "hunter2-is-no-word-for-a-log"
PASSWORD = "file-that-nobody-may-read-of"
FIELDS = {"type", "time", "level", "logger", "message"}
TOLD_IN = {
    "node/heritage_node/fences.py": {"line", "tell"},
    "node/heritage_node/journal.py": {"_tell"},
    "node/heritage_node/admission.py": {"_warn_of_proxy"},
    "node/heritage_node/numbers.py": {"read"},
    "node/heritage_node/run.py": {"warn"},
    "node/heritage_node/gateway.py": {"stream"},
    "node/heritage_node/problems.py": {"middleware"},
    "src/heritage_ledger/federation/fence.py": {"finding_about"},
}
"""Every function that logs, by its file: each was read for what it says, and for what it must not say."""


def log_of(one):
    return (one.home.parent / f"{one.home.name}.log").read_text()


def lines_of(one):
    return [json.loads(line) for line in log_of(one).splitlines()]


def ask(url, data=None, **headers):
    request = urllib.request.Request(
        url, data, {name.replace("_", "-"): text for name, text in headers.items()}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


@pytest.fixture
def nodes(tmp_path):
    (tmp_path / "token").write_text(PASSWORD + "\n")
    made = [Institution.make(tmp_path, name) for name in ("museum", "archive")]
    for one in made:
        with (one.home / "heritage.toml").open("a") as file:
            file.write(
                f'access_log = true\ntrusted_proxies = ["127.0.0.2"]\nadmin_token = "file:{tmp_path}/token"\n'
            )
        one.start(HERITAGE_TEST_TOKEN=SECRET)
    for one, other in (made, made[::-1]):
        one.trust(other)
    yield made
    for one in made:
        one.stop()


def test_refusals_have_reasons_requests_have_names_and_nothing_secret_is_told(nodes, tmp_path):
    museum, archive = nodes
    (tmp_path / "scan").write_text("page")
    receipt = museum.run("ingest", tmp_path / "scan", "--asset", "urn:example:1")[-1]
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    until(archive.replica(museum, receipt["package_cid"]).is_dir)
    missing, named = ask(f"{museum.url}/ipfs/bafkqaaa?secret={SECRET}", X_Request_Id="stranger-1")
    unsigned, _ = ask(f"{museum.url}/api/v1/notices", b"{}", X_Heritage=SECRET)
    badly, _ = ask(
        f"{museum.url}/api/v1/notices",
        b"{}",
        Signature=f"sig1=:{SECRET}:",
        Signature_Input=f'sig1=("@method");keyid="{SECRET}"',
    )
    denied, _ = ask(f"{museum.url}/api/v1/sync", b"", Authorization=f"Bearer {SECRET}")
    taken, _ = ask(f"{museum.url}/api/v1/sync", b"", Authorization=f"Bearer {PASSWORD}")
    malformed, _ = ask(f"{museum.url}/witness/add-checkpoint", SECRET.encode())
    assert (unsigned, badly, denied, taken, malformed) == (401, 401, 401, 202, 400)
    assert missing >= 400
    for one in nodes:
        one.stop()
    lines = lines_of(museum)
    assert all(set(line) >= FIELDS and line["type"] == "log" and line["time"].endswith("Z") for line in lines)
    requests = [line for line in lines if line.get("kind") == "request"]
    assert all(
        set(line) >= {"request_id", "address", "method", "path", "status", "seconds"}
        and parse_id(line["request_id"])
        for line in requests
    )
    refused = [line for line in requests if line["status"] >= 400]
    assert all(line["code"] and line["reason"] for line in refused)
    assert {line["code"] for line in refused} >= {"request-unsigned", "witness-request", "unauthorized"}
    (stranger,) = [line for line in requests if line.get("caller_id") == "stranger-1"]
    assert named["X-Request-Id"] == stranger["request_id"] != "stranger-1"  # no proxy of ours named it
    assert {line["level"] for line in refused if line["status"] == 401} == {"warning"}
    for text in (log_of(museum), log_of(archive)):
        assert SECRET not in text
        assert PASSWORD not in text
        assert not re.search(r"(?i)signature\W{1,4}(sig|:)|bearer", text)


def test_what_one_node_asks_stands_in_the_logs_of_both_under_one_name(nodes, tmp_path):
    museum, archive = nodes
    (tmp_path / "scan").write_text("page")
    museum.run("ingest", tmp_path / "scan", "--asset", "urn:example:1")
    archive.run("pledge", museum.origin, "--until", "2099-12-31")
    until(lambda: any("replica held" in line["message"] for line in lines_of(archive)))
    until(lambda: any(line.get("path") == "/api/v1/blocks" for line in lines_of(museum)))
    (held,) = [line for line in lines_of(archive) if "replica held" in line["message"]]
    asked = [line for line in lines_of(museum) if line.get("caller_id") == held["request_id"]]
    assert {line["peer"] for line in asked if line["path"] == "/api/v1/blocks"} == {archive.origin}


def test_strangers_cannot_fill_a_disk_with_refusals(caplog, monkeypatch):
    caplog.set_level("INFO", "heritage_node")
    journal = Journal(Connections())
    fields = {"peer": None, "address": "192.0.2.1", "method": "GET", "path": "/x", "status": 404}
    for _ in range(LINES * 3):
        journal._tell(404, dict(fields), ("not-found", "nothing"))
    journal._tell(404, dict(fields), ("other", "nothing"))
    assert len(caplog.records) == LINES + 1
    monkeypatch.setattr("heritage_node.journal._MINUTE", -1.0)  # a minute later
    journal._tell(404, dict(fields), ("not-found", "nothing"))
    assert caplog.records[-1].fields["more"] == LINES * 2


def test_every_place_that_logs_is_known():
    found = {}
    for folder in ("src", "node", "cli"):
        for path in (PROJECT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                    for call in ast.walk(function):
                        if isinstance(call, ast.Call) and re.fullmatch(
                            r"(log|logger|request\.app\.logger)\.(log|debug|info|warning|error|exception|critical)",
                            ast.unparse(call.func),
                        ):
                            place = str(path.relative_to(PROJECT))
                            found.setdefault(place, set()).add(function.name)
    for names in found.values():
        names.discard("run")  # holds `warn`
    assert {place: names for place, names in found.items() if names} == TOLD_IN
