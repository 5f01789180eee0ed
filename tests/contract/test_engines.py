"""The main job, the same with either engine: what an institution may rely on whichever it chose.

Each test runs with the embedded engine and with a real Kubo daemon.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceMissing, OperationFailed, UsageError
from heritage_ledger.fixity.bag import verify_bag
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.provenance.check import check_proof
from heritage_testkit.kubo import kubo

ASSET = "urn:example:contract"
ENGINES = ["embedded", pytest.param("kubo", marks=pytest.mark.external)]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with kubo(tmp_path_factory.mktemp("kubo") / "repo") as one:
        yield one


@pytest.fixture(params=ENGINES)
def place(request, tmp_path):
    """A home whose settings name the engine, and a source."""
    origin = f"museum.example/{abs(hash(tmp_path)) % 10**9}/1"
    Ledger.init(tmp_path / "home", institution="Museum", origin=origin, passphrase=None).close()
    with (tmp_path / "home" / "heritage.toml").open("a", encoding="utf-8") as file:
        file.write("\n[storage.cold]\nkeep_bag = false\n")
        if request.param == "kubo":
            api = request.getfixturevalue("daemon").api
            file.write(f'\n[content]\nengine = "kubo"\nkubo_api = "{api}"\n')
    source = tmp_path / "scans"
    (source / "sub").mkdir(parents=True)
    (source / "large.bin").write_bytes(os.urandom((3 << 20) + 5))
    (source / "sub" / "%41 ä.txt").write_text("text\n")
    (source / "empty").write_bytes(b"")
    tmp_path.joinpath("engine").write_text(request.param)
    return tmp_path


def opened(place):
    return Ledger.open(place / "home")


def outcomes(ledger, **words):
    return {verdict.subject: verdict.outcome for verdict in ledger.verify(**words)}


def check_all_pass(ledger):
    for deep in (False, True):
        found = outcomes(ledger, deep=deep)
        assert set(found.values()) == {Outcome.PASS}, found


def engine_of(place) -> str:
    return (place / "engine").read_text()


def test_ingest_version_two_verify_and_rebuild(place):
    with opened(place) as ledger:
        first = ledger.ingest(place / "scans", asset=ASSET, title="Scans")
        (place / "scans" / "sub" / "more.txt").write_text("more\n")
        second = ledger.ingest(place / "scans", asset=ASSET)
        assert (first.version, second.version) == (1, 2)
        check_all_pass(ledger)
        rows = ledger.index.rows_digest()
        assert ledger.rebuild_index().findings == ()
        assert ledger.index.rows_digest() == rows
        status = ledger.engines.status(read=True)
        assert (status.engine, status.packages, status.released) == (engine_of(place), 2, 0)
        assert (status.unpinned, status.missing or 0, status.damaged or 0) == ((), 0, 0)


def test_adopt_prove_check_and_trace(place):
    with opened(place) as ledger:
        made = ledger.ingest(place / "scans", asset="urn:example:made")
        taken = ledger.adopt(made.bag_path, asset=ASSET)
        assert taken.package_cid == made.package_cid, "one bag has one address"
        check_all_pass(ledger)
        steps = ledger.trace(ASSET).steps
        assert [(step.signature, step.inclusion) for step in steps] == [(Outcome.PASS, Outcome.PASS)]
        key = ledger.log_keys()[0].vkey
        verdict = check_proof(ledger.prove(ASSET), [key], bag=taken.bag_path)
        assert verdict.outcome is Outcome.PASS


def test_an_exported_bag_is_the_bag_byte_for_byte(place):
    with opened(place) as ledger:
        receipt = ledger.ingest(place / "scans", asset=ASSET)
        ledger.export(ASSET, place / "out")
        ledger.export(receipt.package_cid, place / "again", version=None)
        for copy in ("out", "again"):
            done = subprocess.run(["diff", "-r", receipt.bag_path, place / copy], check=False)
            assert done.returncode == 0
        assert verify_bag(place / "out").package_cid == receipt.package_cid
        with pytest.raises(OperationFailed) as caught:
            ledger.export(ASSET, place / "out")
        assert caught.value.code == "export-exists"
        with pytest.raises(EvidenceMissing):
            ledger.export("urn:example:none", place / "none")
        assert not (place / "none").exists()


def test_a_class_that_keeps_no_bags_gives_them_up_to_kubo_alone(place):
    with opened(place) as ledger:
        with pytest.raises(UsageError) as caught:
            ledger.ingest(place / "scans", storage_class="warm")
        assert caught.value.code == "storage-class"
        kept = ledger.ingest(place / "scans", asset="urn:example:kept")
        cold = ledger.ingest(place / "scans", asset=ASSET, storage_class="cold")
        is_kubo = engine_of(place) == "kubo"
        assert cold.released is is_kubo
        assert cold.bag_path.exists() is not is_kubo
        assert kept.bag_path.is_dir()
        check_all_pass(ledger)
        rows = ledger.index.rows_digest()
        assert ledger.rebuild_index().findings == ()
        assert ledger.index.rows_digest() == rows
        ledger.export(ASSET, place / "out")
        verdict = check_proof(ledger.prove(ASSET), [ledger.log_keys()[0].vkey], bag=place / "out")
        assert verdict.outcome is Outcome.PASS
        shown = ledger.show(ASSET).packages[0]
        assert shown.released is is_kubo
        # and back: the same bytes lie where they lay
        ledger.engines.move("embedded")
    with opened(place) as ledger:
        assert cold.bag_path.is_dir()
        assert subprocess.run(["diff", "-r", cold.bag_path, place / "out"], check=False).returncode == 0
        assert ledger.settings.content.engine == "embedded"
        check_all_pass(ledger)


def test_a_deposit_that_fails_leaves_no_pin(place, monkeypatch):
    def full(*_words, **_more):
        raise OperationFailed("internal-test", "no")

    with opened(place) as ledger:
        ledger.ingest(place / "scans", asset="urn:example:before")
        monkeypatch.setattr("heritage_ledger.log.append.Appender.append", full)
        with pytest.raises(OperationFailed):
            ledger.ingest(place / "scans", asset=ASSET)
        monkeypatch.undo()
        status = ledger.engines.status(read=True)
        assert (status.packages, status.left_over) == (1, ())
        assert status.pins == (1 if engine_of(place) == "kubo" else 0)
        check_all_pass(ledger)
