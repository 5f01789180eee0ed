"""What is learned while a process writes counts before its next append."""

import json

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.books import log_signers
from heritage_ledger.errors import OperationFailed
from heritage_ledger.federation.forks import keep_fork
from heritage_ledger.log.checkpoint import Checkpoint, sign_checkpoint
from heritage_ledger.log.fork import ForkProof

ORIGIN = "museum.example/ledger/1"


@pytest.fixture
def ledger(tmp_path):
    with Ledger.init(tmp_path / "home", institution="Museum", origin=ORIGIN, passphrase=None) as one:
        yield one


def deposit(ledger, tmp_path, number):
    folder = tmp_path / f"scan-{number}"
    folder.mkdir()
    (folder / "page.txt").write_text(f"page {number}")
    return ledger.ingest(folder, asset=f"urn:example:{number}")


def test_a_witness_that_holds_more_stops_a_process_that_writes(ledger, tmp_path):
    deposit(ledger, tmp_path, 1)
    behind = ledger.home.root / ".behind"
    behind.write_text(json.dumps({"witness": "https://archive.example", "found": "9 entries"}))
    with pytest.raises(OperationFailed) as caught:
        deposit(ledger, tmp_path, 2)
    assert caught.value.code == "log-behind"
    assert ledger.log_size() == 2
    behind.unlink()
    assert deposit(ledger, tmp_path, 3).log_index == 2


def test_a_fork_proof_about_the_own_log_stops_a_process_that_writes(ledger, tmp_path):
    deposit(ledger, tmp_path, 1)
    signers = log_signers(ORIGIN, ledger.books.keys)
    notes = [sign_checkpoint(Checkpoint(ORIGIN, 2, bytes([at]) * 32), signers, time=1) for at in (1, 2)]
    keep_fork(ledger.home, ForkProof(*notes, bytes([2]) * 32, ()), ledger.federation.verifiers, ORIGIN)
    with pytest.raises(OperationFailed) as caught:
        deposit(ledger, tmp_path, 2)
    assert caught.value.code == "log-frozen"
    assert ledger.log_size() == 2
