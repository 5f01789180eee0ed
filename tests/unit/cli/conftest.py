"""One home with an asset and a mirrored peer, which no test changes."""

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.books import log_signers
from heritage_ledger.log.checkpoint import Checkpoint, sign_checkpoint
from heritage_ledger.log.fork import ForkProof, format_fork
from heritage_testkit.command import ASSET
from heritage_testkit.papers import befriend

ORIGIN = "museum.example/ledger/1"
PEER = "archive.example/ledger/1"


def deposit(ledger, folder, asset, text):
    folder.mkdir()
    (folder / "page.txt").write_text(text)
    return ledger.ingest(folder, asset=asset, agent="Ada Example")


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """The folder with `home`, its `proof`, `fork`, `keys`, a `bag` and a policy that it meets nothing of."""
    root = tmp_path_factory.mktemp("commands")
    with Ledger.init(root / "other", institution="Archive", origin=PEER, passphrase=None) as other:
        deposit(other, root / "theirs", "urn:example:theirs", "their page")
    with Ledger.init(root / "home", institution="Museum", origin=ORIGIN, passphrase=None) as ledger:
        deposit(ledger, root / "first", ASSET, "page")
        receipt = deposit(ledger, root / "second", ASSET, "another page")
        (root / "proof").write_bytes(ledger.prove(ASSET))
        (root / "keys").write_text("".join(f"{key.vkey}\n" for key in ledger.log_keys()))
        (root / "bag").symlink_to(receipt.bag_path)
        signers = log_signers(ORIGIN, ledger.books.keys)
        notes = [sign_checkpoint(Checkpoint(ORIGIN, 2, bytes([at]) * 32), signers, time=1) for at in (1, 2)]
        (root / "fork").write_bytes(format_fork(ForkProof(*notes, bytes([2]) * 32, ())))
        assert befriend(ledger, root / "other", "https://archive.example").size == 2
    (root / "policy").write_bytes((root / "home" / "policy").read_bytes())
    (root / "home" / "policy").write_text("quorum none\n")  # nobody is there to be asked
    return root
