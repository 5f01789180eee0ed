"""Two institutions that know each other, in this process: a museum with assets, and an archive."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from heritage_ledger import Ledger
from heritage_ledger.federation.signing import NOTICE, Request, sign_request
from heritage_ledger.home.keyring import open_node_keys
from heritage_testkit.inside import node_inside

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"
SETTINGS = "\n[node]\nallow_private = true\npublic_rate = 1000000\n"
ASSETS = 12


def make(home, origin):
    Ledger.init(home, institution=origin, origin=origin, passphrase=None).close()
    with (home / "heritage.toml").open("a") as file:
        file.write(SETTINGS)


def deposit(ledger, folder, asset, data):
    folder.mkdir()
    (folder / "scan.bin").write_bytes(data)
    return ledger.ingest(folder, asset=asset)


@pytest.fixture(scope="package")
def homes(tmp_path_factory):
    root = tmp_path_factory.mktemp("homes")
    for name, origin in (("museum", MUSEUM), ("archive", ARCHIVE)):
        make(root / name, origin)
    receipts = []
    with Ledger.open(root / "museum") as ledger:
        for at in range(ASSETS + 3):
            asset = f"urn:example:{at % ASSETS}"  # three have a second version
            receipts.append(deposit(ledger, root / f"scan-{at}", asset, b"%d" % at))
    for one, other in (("museum", "archive"), ("archive", "museum")):
        with node_inside(root / other) as node, Ledger.open(root / one) as ledger:
            ledger.federation.peers.add(ledger.federation.discover(node.url))
            synced = list(ledger.federation.sync())
            assert not [finding for look in synced for finding in look.findings]
    return SimpleNamespace(root=root, museum=root / "museum", archive=root / "archive", receipts=receipts)


@pytest.fixture(scope="package")
def signer(homes):
    """Sign requests as the archive's node."""
    with Ledger.open(homes.archive) as ledger:
        key = open_node_keys(ledger.home, None).node

    def sign(url, body, *, notice=None):
        request = Request("POST", url, body)
        if notice is not None:
            request.headers[NOTICE] = notice
        return sign_request(request, key, origin=ARCHIVE, audience=MUSEUM)

    return sign


@pytest.fixture
def node(homes):
    with node_inside(homes.museum) as one:
        yield one
