"""A home without a passphrase, open for the length of a test."""

import pytest

from heritage_ledger import Ledger


@pytest.fixture
def ledger(tmp_path):
    with Ledger.init(
        tmp_path / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as opened:
        yield opened
