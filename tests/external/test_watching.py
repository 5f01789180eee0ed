"""What watches a node: every number is given and moves, each alert fires, each panel shows something.

Prometheus is Debian's; it scrapes a node on loopback.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests

from heritage_ledger import Ledger
from heritage_ledger.federation.pledges import pledge
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import Unsure, keep_unsure
from heritage_node.numbers import GAUGES, PARTS, TOTALS
from heritage_testkit.nodes import until
from heritage_testkit.outside import PROJECT
from heritage_testkit.running import make_home, running

DEPLOY = PROJECT / "node" / "deploy"
RULES = DEPLOY / "prometheus" / "heritage.rules.yml"
MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"
GOOD = {
    'up{job="heritage"}': 1,
    "heritage_appends_allowed": 1,
    "heritage_database_up": 1,
    'heritage_engine_up{engine="kubo"}': 1,
    "heritage_packages_damaged": 0,
    'heritage_mirror_frozen{origin="a"}': 0,
    "heritage_disk_free_bytes": 1000,
    "heritage_disk_reserve_bytes": 10,
    "heritage_log_entries": 5,
    "heritage_log_witnessed_entries": 5,
    'heritage_peer_contact_timestamp_seconds{origin="a"}': 1e9,
    'heritage_peer_clock_ahead_seconds{origin="a"}': 0,
    "heritage_packages_due": 0,
    'heritage_metrics_unreadable{part="log"}': 0,
}
"""Numbers of a node with which nothing is wrong."""
BAD = {
    "HeritageNodeDown": ('up{job="heritage"}', 0),
    "HeritageAppendsStopped": ("heritage_appends_allowed", 0),
    "HeritageDatabaseDown": ("heritage_database_up", 0),
    "HeritageEngineDown": ('heritage_engine_up{engine="kubo"}', 0),
    "HeritagePackagesDamaged": ("heritage_packages_damaged", 1),
    "HeritageLogFrozen": ('heritage_mirror_frozen{origin="a"}', 1),
    "HeritageDiskReserve": ("heritage_disk_free_bytes", 9),
    "HeritageNotWitnessed": ("heritage_log_witnessed_entries", 4),
    "HeritagePeerSilent": ('heritage_peer_contact_timestamp_seconds{origin="a"}', 0),
    "HeritageClockApart": ('heritage_peer_clock_ahead_seconds{origin="a"}', -121),
    "HeritageChecksLate": ("heritage_packages_due", 1),
    "HeritageNumbersUnreadable": ('heritage_metrics_unreadable{part="log"}', 1),
}
"""For each alert the number that sets it off."""
pytestmark = pytest.mark.xdist_group("watching")


def need(program):
    found = shutil.which(program)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {program}, of the package prometheus")
    if found is None:
        pytest.skip(f"{program} is not here: install the package prometheus")
    return found


def promtool(*words):
    done = subprocess.run([need("promtool"), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_rules_are_rules_and_each_says_what_to_do():
    text = RULES.read_text()
    promtool("check", "rules", str(RULES))
    alerts = re.findall(r"- alert: (\w+)", text)
    assert sorted(alerts) == sorted(BAD)
    assert text.count("description: ") == text.count("summary: ") == len(alerts)
    named = set(re.findall(r"heritage_\w+", " ".join(re.findall(r"expr: (.*)", text))))
    assert named <= {f"heritage_{name}" for name in GAUGES}


def judged(name, series, firing):
    """A test of promtool: what is firing after eight days with these numbers."""
    values = {key: f"{value}x12000" if value else "0x12000" for key, value in series.items()}
    return {
        "name": name,
        "interval": "1m",
        "input_series": [{"series": key, "values": value} for key, value in values.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": "8d",
                "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in firing],
            }
        ],
    }


def test_each_alert_fires_for_its_number_alone(tmp_path):
    tests = [judged("good", GOOD | {CONTACT: 8 * 86_400 - 60}, [])]
    for alert, (series, value) in BAD.items():
        tests.append(judged(alert, GOOD | {CONTACT: 8 * 86_400 - 60} | {series: value}, [alert]))
    file = tmp_path / "tests.json"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))


CONTACT = 'heritage_peer_contact_timestamp_seconds{origin="a"}'


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A museum's node with a peer, a pledge, a replica given and a package checked."""
    folder = tmp_path_factory.mktemp("watched")
    museum, archive = (make_home(folder, name) for name in ("museum", "archive"))
    settings = museum / "heritage.toml"
    settings.write_text(settings.read_text().replace("check_days = 0", "check_days = 30"))
    source = folder / "scan"
    source.mkdir()
    (source / "page.txt").write_text("page")
    for home in (museum, archive):
        with Ledger.open(home) as ledger:
            receipt = ledger.ingest(source, asset=f"urn:example:{home.name}")
            if home == archive:
                kept = receipt.package_cid
    with contextlib.ExitStack() as held:
        other = held.enter_context(running(archive, first=0.05))
        with Ledger.open(museum) as ledger:
            ledger.federation.peers.add(ledger.federation.discover(other.url))
        node = held.enter_context(running(museum, first=0.05))
        with Ledger.open(archive) as ledger:
            ledger.federation.peers.add(ledger.federation.discover(node.url))
            pledge(ledger.books, MUSEUM, far())
        with Ledger.open(museum) as ledger:
            pledge(ledger.books, ARCHIVE, far())
        until((museum / "replicas" / ARCHIVE / kept).is_dir)
        until(lambda: node.service.watch.given[ARCHIVE])
        node.service.loop.call_soon_threadsafe(node.service.suspects.add, own_cid(museum))
        until(lambda: node.service.watch.checks["whole"])
        with Ledger.open(museum) as ledger:
            until(lambda: ledger.federation.standing().cosigned)
        yield museum, node


def far():
    return datetime.now(UTC) + timedelta(days=9)


def own_cid(home):
    with Ledger.open(home) as ledger:
        return next(iter(ledger.index.packages())).package_cid


def scrape(node):
    return requests.get(f"{node.url}/metrics", timeout=30).text


def test_every_number_is_given_with_its_labels(watched):
    _, node = watched
    text = scrape(node)
    for name, (_, labels) in GAUGES.items():
        found = re.findall(rf"^heritage_{name}(\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        assert found, name
        assert all(value != "NaN" for _, value in found), name
        assert all(bool(labels) == bool(label) for label, _ in found), name
    for name, (_, label) in TOTALS.items():
        assert f"# TYPE heritage_{name}_total counter" in text
        if name != "peer_failures":  # nothing went wrong
            assert re.search(rf'^heritage_{name}_total\{{{label}="[^"]+"\}} [1-9]', text, re.MULTILINE), name
    assert re.search(r'heritage_build_info\{version="[^"]+"\} 1', text)
    assert "process_resident_memory_bytes" in text


def test_numbers_follow_what_happens(watched):
    museum, node = watched
    assert "heritage_appends_allowed 1.0" in scrape(node)
    keep_unsure(Home(museum), Unsure(1, "a test"))
    try:
        assert "heritage_appends_allowed 0.0" in scrape(node)
    finally:
        (museum / ".unsure").unlink()
    assert f'heritage_replicas{{origin="{ARCHIVE}"}} 1.0' in scrape(node)
    assert "heritage_pledges 1.0" in scrape(node)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_that_fails_takes_no_other_number_away(watched, monkeypatch, part):
    _, node = watched
    whole = {line.split()[0] for line in scrape(node).splitlines() if line.startswith("heritage_")}

    def broken(*_):
        raise ValueError(part)

    monkeypatch.setitem(PARTS, part, broken)
    text = scrape(node)
    assert f'heritage_metrics_unreadable{{part="{part}"}} 1.0' in text
    assert {line.split()[0] for line in text.splitlines() if line.startswith("heritage_")} >= whole
    monkeypatch.undo()
    assert f'heritage_metrics_unreadable{{part="{part}"}} 0.0' in scrape(node)


@contextlib.contextmanager
def prometheus(folder, port):
    """Scrape the node at `port` every second; yields a question to the server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own = free.getsockname()[1]
    settings = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [{"job_name": "heritage", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    words = ["--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "data"]
    process = subprocess.Popen(
        [need("prometheus"), *words, "--web.listen-address", f"127.0.0.1:{own}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def ask(expression):
        with contextlib.suppress(requests.ConnectionError, requests.JSONDecodeError):  # it begins
            url = f"http://127.0.0.1:{own}/api/v1/query"
            return requests.get(url, params={"query": expression}, timeout=30).json()["data"]["result"]
        return []

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def test_each_panel_of_the_dashboard_shows_something_and_no_alert_fires(watched, tmp_path):
    _, node = watched
    panels = json.loads((DEPLOY / "grafana" / "heritage.json").read_text())["panels"]
    with prometheus(tmp_path, node.url.rpartition(":")[2]) as ask:
        until(lambda: ask('up{job="heritage"} == 1'))
        time.sleep(5)  # rates need some scrapes
        for panel in panels:
            (target,) = panel["targets"]
            found = until(lambda target=target: ask(target["expr"]), 60)
            assert any(one["value"][1] != "NaN" for one in found), panel["title"]
        firing = {one["metric"]["alertname"] for one in ask('ALERTS{alertstate="firing"}')}
        assert firing == set()
