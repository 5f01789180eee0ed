"""`/readyz` says no more than is true, and one thing that cannot be read takes no number away."""

import shutil
import threading

import pytest

from heritage_ledger import Ledger
from heritage_ledger.home.layout import Home
from heritage_ledger.home.marks import Unsure, keep_unsure
from heritage_ledger.home.room import Room
from heritage_node import metrics
from heritage_testkit.inside import node_inside


@pytest.fixture
def copy(homes, tmp_path):
    home = tmp_path / "museum"
    shutil.copytree(homes.museum, home)
    with node_inside(home) as node:
        assert node.get("/readyz").status_code == 200
        yield home, node


def number(node, name):
    answer = node.get("/metrics")
    assert answer.status_code == 200
    return next(line.split()[-1] for line in answer.text.splitlines() if line.startswith(f"{name} "))


def unreadable(node):
    text = node.get("/metrics").text
    return {
        line.partition('part="')[2].partition('"')[0]
        for line in text.splitlines()
        if line.startswith("heritage_metrics_unreadable{") and line.endswith(" 1.0")
    }


def test_numbers_are_those_of_the_home(copy):
    _, node = copy
    assert number(node, "heritage_log_entries") == "16.0"
    assert 'heritage_mirror_entries{origin="archive.example/ledger/1"} 1.0' in node.get("/metrics").text
    assert unreadable(node) == set()


def test_a_log_that_cannot_be_read_is_not_ready_and_has_no_size(copy):
    home, node = copy
    (home / "log" / "checkpoint").write_bytes(b"garbage")
    answer = node.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["code"].startswith("note-")
    assert number(node, "heritage_log_entries") == "NaN"
    assert "log" in unreadable(node)
    assert 'heritage_mirror_entries{origin="archive.example/ledger/1"} 1.0' in node.get("/metrics").text
    assert node.get("/api/v1/node").status_code != 200  # never a size of 0 or 1
    assert node.get("/api/v1/assets").status_code == 200


def test_a_full_disk_is_not_ready(copy, monkeypatch):
    _, node = copy
    monkeypatch.setattr(metrics, "reserve_of", lambda *_: Room(1 << 62, 0))
    answer = node.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "disk-full")


@pytest.mark.parametrize("folder", ["peers", "forks"])
@pytest.mark.parametrize("data", [b"{}", b"\xff", b"", b'{"type": "heritage-ledger-fork"}'])
def test_a_bad_file_takes_no_number_away(copy, folder, data):
    home, node = copy
    (home / folder).mkdir(exist_ok=True)
    (home / folder / ("x.json" if folder == "peers" else "x-copy.fork.json")).write_bytes(data)
    assert node.get("/metrics").status_code == 200
    assert number(node, "heritage_log_entries") == "16.0"
    assert node.get("/readyz").status_code == 200
    assert node.get("/api/v1/forks").status_code == 200
    assert node.get("/log/checkpoint").status_code == 200


def test_an_engine_that_does_not_answer_is_not_ready(copy, monkeypatch):
    _, node = copy
    asked = []

    class Silent:
        class rpc:  # noqa: N801 - stands for an attribute
            url = "http://127.0.0.1:1"

            @staticmethod
            def version():
                asked.append(1)
                released.wait(60)
                return "0.43.0"

    released = threading.Event()
    monkeypatch.setattr(metrics, "ENGINE_SECONDS", 0.1)
    node.service.ledger.__dict__["kubo"] = Silent
    try:
        for _ in range(3):
            answer = node.get("/readyz")
            assert (answer.status_code, answer.json()["code"]) == (503, "engine-silent")
        assert len(asked) == 1  # one question at a time: none piles up
    finally:
        released.set()
        node.service.ledger.__dict__["kubo"] = None
    assert node.get("/readyz").status_code == 200


def test_a_home_that_may_be_an_old_copy_is_not_ready(copy):
    home, node = copy
    keep_unsure(Home(home), Unsure(1, "the home was restored"))
    answer = node.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "log-unsure")


def test_heads_behind_the_log_are_not_ready(homes, tmp_path):
    home = tmp_path / "museum"
    shutil.copytree(homes.museum, home)
    shutil.copytree(home, tmp_path / "before")
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "page").write_text("page")
    with Ledger.open(home) as ledger:
        ledger.recover(newest=True)
        ledger.ingest(tmp_path / "scan", asset="urn:example:new")
    for path in home.glob("state.db*"):
        path.unlink()
    shutil.copy2(tmp_path / "before" / "state.db", home)
    with node_inside(home) as node:
        answer = node.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "log-state-behind")
        assert node.get("/log/checkpoint").status_code == 200  # what is published is served all the same
