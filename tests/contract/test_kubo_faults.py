"""A home on a Kubo daemon that is down, killed, emptied or damaged: nothing acknowledged is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content import http
from heritage_ledger.content import kubo as kubo_engine
from heritage_ledger.content.cid import format_cid
from heritage_ledger.content.kubo import KuboEngine
from heritage_ledger.deposit.record import Unfinished
from heritage_ledger.errors import (
    EvidenceInvalid,
    EvidenceMissing,
    KeyProblem,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.fixity.verdict import Outcome
from heritage_testkit.kubo import kubo

pytestmark = pytest.mark.external
ASSET = "urn:example:fault"


@pytest.fixture
def daemon(tmp_path):
    with kubo(tmp_path / "repo") as one:
        one.keep_port()
        yield one


@pytest.fixture
def ledger(tmp_path, daemon):
    home = tmp_path / "home"
    Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None).close()
    with (home / "heritage.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[content]\nengine = "kubo"\nkubo_api = "{daemon.url}"\n')
        file.write("\n[storage.cold]\nkeep_bag = false\n")
    with Ledger.open(home) as one:
        yield one


@pytest.fixture
def scans(tmp_path):
    folder = tmp_path / "scans"
    folder.mkdir()
    (folder / "page.bin").write_bytes(os.urandom((2 << 20) + 3))
    (folder / "note.txt").write_text("note\n")
    return folder


def stages(ledger, name):
    return [stage for verdict in ledger.verify() for stage in verdict.stages if stage.name == name]


def leftovers(ledger):
    return [path.name for path in ledger.home.staging.iterdir()]


def test_down_at_an_ingest_nothing_is_kept_and_the_same_call_works_later(daemon, ledger, scans):
    daemon.stop()
    size = ledger.books.size()
    with pytest.raises(TemporaryFailure) as caught:
        ledger.ingest(scans, asset=ASSET)
    assert caught.value.code == "engine-unreachable"
    assert ledger.books.size() == size
    assert leftovers(ledger) == []
    assert not ledger.home.package(ASSET, 1).exists()
    daemon.start()
    assert ledger.ingest(scans, asset=ASSET).version == 1
    assert [stage.outcome for stage in stages(ledger, "blocks")] == [Outcome.PASS]


def test_down_at_a_check_is_said_and_the_bag_is_checked_all_the_same(daemon, ledger, scans):
    ledger.ingest(scans, asset=ASSET)
    ledger.ingest(scans, asset="urn:example:cold", storage_class="cold")
    daemon.stop()
    kept, cold = ledger.verify()
    assert [stage.outcome for stage in kept.stages[:3]] == [Outcome.PASS] * 3
    assert {stage.outcome for stage in cold.stages[:3]} == {Outcome.NOT_CHECKED}
    assert [stage.outcome for stage in stages(ledger, "blocks")] == [Outcome.NOT_CHECKED] * 2
    assert (kept.outcome, cold.outcome) == (Outcome.NOT_CHECKED, Outcome.NOT_CHECKED)
    with pytest.raises(TemporaryFailure):
        ledger.engines.status()


def test_killed_in_the_middle_of_an_import_and_resumed(daemon, ledger, scans, monkeypatch):
    blocks = kubo_engine._blocks

    def killing(folder, package):
        for number, block in enumerate(blocks(folder, package)):
            yield block
            if number == 2:
                daemon.stop(9)

    monkeypatch.setattr(kubo_engine, "_blocks", killing)
    with pytest.raises(TemporaryFailure):
        ledger.ingest(scans, asset=ASSET)
    monkeypatch.undo()
    daemon.start()
    receipt = ledger.ingest(scans, asset=ASSET)
    assert receipt.version == 1
    assert [stage.outcome for stage in stages(ledger, "blocks")] == [Outcome.PASS]


def test_garbage_collected_behind_our_back_and_filled_again(daemon, ledger, scans):
    receipt = ledger.ingest(scans, asset=ASSET)
    daemon.run("pin", "rm", receipt.package_cid)
    daemon.run("repo", "gc", "--quiet")
    (stage,) = stages(ledger, "blocks")
    assert stage.outcome is Outcome.FAIL
    assert {finding.code for finding in stage.findings} == {"block-missing", "package-unpinned"}
    status = ledger.engines.status(read=True)
    assert status.unpinned == (f"{ASSET} version 1",)
    assert status.missing == 1
    moved = ledger.engines.move("kubo")
    assert (moved.moved, moved.present) == (1, 0)
    assert ledger.engines.move("kubo").present == 1
    assert [stage.outcome for stage in stages(ledger, "blocks")] == [Outcome.PASS]


def test_a_damaged_block_in_its_store_is_named_and_a_released_bag_is_not_believed(daemon, ledger, scans):
    receipt = ledger.ingest(scans, asset=ASSET, storage_class="cold")
    assert receipt.released
    victim = next(path for path in daemon.block_files() if path.stat().st_size == 1 << 20)
    data = bytearray(victim.read_bytes())
    data[77] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    (verdict,) = ledger.verify()
    by_name = {stage.name: stage for stage in verdict.stages}
    assert [finding.code for finding in by_name["blocks"].findings] == ["block-damaged"]
    assert [(f.code, f.path) for f in by_name["digests"].findings] == [("file-unreadable", "data/page.bin")]
    assert by_name["cid"].outcome is not Outcome.PASS
    with pytest.raises(EvidenceInvalid) as caught:
        ledger.export(ASSET, ledger.home.root.parent / "out")
    assert caught.value.code == "block-damaged"
    assert not list(ledger.home.root.parent.glob("*out*"))


def test_a_bag_is_not_given_up_while_the_daemon_does_not_hold_all_of_it(daemon, ledger, scans, monkeypatch):
    def losing(self, package, root, folder, blocks):
        adding(self, package, root, folder, blocks)
        leaf = next(row.cid for row in blocks.files() if not row.leaves)
        daemon.run("pin", "rm", format_cid(root))
        daemon.run("block", "rm", "--force", format_cid(leaf))

    adding = KuboEngine.add_package
    monkeypatch.setattr(KuboEngine, "add_package", losing)
    with pytest.raises(Unfinished) as caught:
        ledger.ingest(scans, asset=ASSET, storage_class="cold")
    assert caught.value.code == "deposit-unfinished"
    assert (caught.value.found or "").startswith("release-refused")
    assert ledger.home.package(ASSET, 1).is_dir()
    monkeypatch.undo()
    # the event is in the log and the bag is whole; the engine is filled again and takes it
    assert ledger.engines.move("kubo").moved == 1
    assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS]


def test_killed_between_event_and_release_the_next_start_finishes(daemon, ledger, scans, monkeypatch):
    def died(*_words):
        raise KeyboardInterrupt

    monkeypatch.setattr("heritage_ledger.deposit.record.release", died)
    with pytest.raises(KeyboardInterrupt):
        ledger.ingest(scans, asset=ASSET, storage_class="cold")
    monkeypatch.undo()
    folder = ledger.home.package(ASSET, 1)
    assert folder.is_dir()
    ledger.close()
    with Ledger.open(ledger.home.root) as again:
        assert again.books.size() == 2
        assert not folder.exists()
        assert leftovers(again) == []
        assert [verdict.outcome for verdict in again.verify()] == [Outcome.PASS]


def test_wrong_token_and_missing_token(daemon, ledger, scans, monkeypatch):
    rule = '{"node": {"AuthSecret": "basic:museum:right", "AllowedPaths": ["/api/v0"]}}'
    daemon.stop()
    daemon.run("config", "--json", "API.Authorizations", rule)
    daemon.start()
    settings = ledger.home.settings
    settings.write_text(settings.read_text().replace("[content]", '[content]\nkubo_token = "env:KUBO_TOKEN"'))
    with Ledger.open(ledger.home.root) as again, pytest.raises(KeyProblem) as caught:
        again.ingest(scans, asset=ASSET)
    assert caught.value.code == "token-missing"
    monkeypatch.setenv("KUBO_TOKEN", "basic:museum:wrong")
    with Ledger.open(ledger.home.root) as again, pytest.raises(KeyProblem) as caught:
        again.ingest(scans, asset=ASSET)
    assert caught.value.code == "engine-token"
    monkeypatch.setenv("KUBO_TOKEN", "basic:museum:right")
    with Ledger.open(ledger.home.root) as again:
        assert again.ingest(scans, asset=ASSET).version == 1


def test_a_released_bag_without_its_engine_is_missing_evidence(daemon, ledger, scans):
    ledger.ingest(scans, asset=ASSET, storage_class="cold")
    settings = ledger.home.settings
    settings.write_text(settings.read_text().replace('engine = "kubo"', 'engine = "embedded"'))
    with Ledger.open(ledger.home.root) as again:
        (verdict,) = again.verify()
        assert [finding.code for finding in verdict.findings] == ["package-released"]
        with pytest.raises(EvidenceMissing) as caught:
            again.export(ASSET, ledger.home.root.parent / "out")
        assert caught.value.code == "package-missing"


def test_stopped_in_its_tracks_it_is_given_up_and_the_same_call_works_later(
    daemon, ledger, scans, monkeypatch
):
    monkeypatch.setattr(http, "SILENT_SECONDS", 0.5)
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(TemporaryFailure) as caught:
            ledger.ingest(scans, asset=ASSET)
    finally:
        daemon.process.send_signal(signal.SIGCONT)
    assert caught.value.code == "engine-silent"
    assert not ledger.home.package(ASSET, 1).exists()
    monkeypatch.undo()
    with Ledger.open(ledger.home.root) as again:
        assert again.ingest(scans, asset=ASSET).log_index == 1


def test_slow_and_still_alive_it_is_waited_for(daemon, ledger, scans):
    done = threading.Event()

    def hinder() -> None:
        while not done.is_set():
            daemon.process.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            daemon.process.send_signal(signal.SIGCONT)
            time.sleep(0.05)

    thread = threading.Thread(target=hinder)
    thread.start()
    try:
        receipt = ledger.ingest(scans, asset=ASSET, storage_class="cold")
    finally:
        done.set()
        thread.join()
    assert receipt.released
    assert [stage.outcome for stage in stages(ledger, "blocks")] == [Outcome.PASS]


class _Old(BaseHTTPRequestHandler):
    """A Kubo of 2023: no such release can be had beside the current one."""

    def do_POST(self) -> None:
        body = json.dumps({"Version": "0.22.0", "Commit": "", "Repo": "14"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_words: object) -> None:
        pass


def test_too_old_a_release_is_refused_before_anything_is_sent(ledger, scans):
    server = HTTPServer(("127.0.0.1", 0), _Old)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings = ledger.home.settings
    text = settings.read_text()
    try:
        start = text.index("http://")
        changed = text[:start] + f"http://127.0.0.1:{server.server_port}" + text[text.index('"', start) :]
        settings.write_text(changed)
        with Ledger.open(ledger.home.root) as old, pytest.raises(OperationFailed) as caught:
            old.ingest(scans, asset=ASSET)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        settings.write_text(text)
    assert caught.value.code == "engine-version"
    assert caught.value.found == "0.22.0"
    assert not ledger.home.package(ASSET, 1).exists()
