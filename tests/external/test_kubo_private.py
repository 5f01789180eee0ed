"""A node over an institution's Kubo gives and announces what the ledger recorded, and nothing else."""

import json
import os

import pytest
import requests

from heritage_ledger import Ledger
from heritage_ledger.content.car import open_car
from heritage_ledger.content.cid import format_cid
from heritage_ledger.federation.signing import Request, sign_request
from heritage_ledger.home.keyring import open_node_keys
from heritage_node.costs import Pool, cost_of
from heritage_testkit.inside import WAIT, node_inside
from heritage_testkit.kubo import kubo

pytestmark = pytest.mark.external

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with kubo(tmp_path_factory.mktemp("kubo") / "repo") as one:
        yield one


@pytest.fixture
def museum(daemon, tmp_path):
    """A home whose one package lies in the daemon alone, beside files that are nobody's business."""
    for name, origin in (("museum", MUSEUM), ("archive", ARCHIVE)):
        Ledger.init(tmp_path / name, institution=name, origin=origin, passphrase=None).close()
        with (tmp_path / name / "heritage.toml").open("a") as file:
            file.write("\n[node]\nallow_private = true\npublic_rate = 1000000\n")
    with (tmp_path / "museum" / "heritage.toml").open("a") as file:
        file.write(
            f'[content]\nengine = "kubo"\nkubo_api = "{daemon.api}"\n[storage.cold]\nkeep_bag = false\n'
        )
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "scan.bin").write_bytes(os.urandom(2_500_000))
    with Ledger.open(tmp_path / "museum") as ledger:
        receipt = ledger.ingest(folder, asset="urn:example:1", storage_class="cold")
        assert not receipt.bag_path.is_dir()
        with node_inside(tmp_path / "archive") as node:
            ledger.federation.peers.add(ledger.federation.discover(node.url))
    with Ledger.open(tmp_path / "archive") as ledger:
        key = open_node_keys(ledger.home, None).node
    return tmp_path / "museum", receipt, key


def private(daemon, tmp_path):
    """A file of one block, and a folder with a larger one: the CIDs of all blocks of both."""
    (tmp_path / "salaries").mkdir()
    (tmp_path / "salaries" / "2026.csv").write_bytes(os.urandom(3_000_000))
    (tmp_path / "note").write_bytes(b"salaries 2026 " + os.urandom(8))
    found = []
    for name in ("salaries", "note"):
        root = daemon.run("add", "-Q", "-r", "--cid-version=1", str(tmp_path / name)).stdout.strip()
        found += [root, *daemon.run("refs", "-r", "-u", root).stdout.split()]
    return found


def blocks_of(node, key, cids):
    url = f"{node.url}/api/v1/blocks"
    body = json.dumps({"cids": cids}).encode()
    headers = sign_request(Request("POST", url, body), key, origin=ARCHIVE, audience=MUSEUM)
    answer = requests.post(url, data=body, headers=headers, timeout=WAIT)
    assert answer.status_code == 200, answer.text
    view = memoryview(answer.content)
    at = 0

    def read(size):
        nonlocal at
        part = bytes(view[at : at + size])
        at += len(part)
        return part

    return [format_cid(cid) for cid, _ in open_car(read).blocks]


def test_no_route_gives_or_names_a_block_that_is_not_recorded(daemon, museum, tmp_path):
    home, receipt, key = museum
    secret = private(daemon, tmp_path)
    assert len(secret) >= 5
    own = [receipt.package_cid, *daemon.run("refs", "-r", "-u", receipt.package_cid).stdout.split()]
    with node_inside(home) as node:
        # every route that gives bytes of blocks, or says who has them, is asked below
        routes = {route.resource.canonical for route in node.app.router.routes()
                  if cost_of(route.handler).pool is Pool.BLOCKS}  # fmt: skip
        assert routes == {"/ipfs/{cid}", "/ipfs/{cid}/{path}", "/routing/v1/providers/{cid}"}
        asked = []
        get = node.service.ledger.kubo.rpc.block_get
        node.service.ledger.kubo.rpc.block_get = lambda cid: (asked.append(cid), get(cid))[1]
        for cid in secret:
            for path in ("?format=raw", "?format=car", "?format=car&dag-scope=block", "/2026.csv?format=car"):
                answer = node.get(f"/ipfs/{cid}{path}")
                assert answer.status_code == 404, (path, answer.headers)
            assert node.get(f"/routing/v1/providers/{cid}").json() == {"Providers": []}
        assert blocks_of(node, key, secret) == []
        assert asked == []  # a stranger's question is no call to the daemon
        for cid in own:
            assert node.get(f"/ipfs/{cid}?format=raw").status_code == 200
            assert len(node.get(f"/routing/v1/providers/{cid}").json()["Providers"]) == 1
        assert set(blocks_of(node, key, own + secret)) == set(own)
        assert node.get(f"/ipfs/{own[0]}?format=car").status_code == 200
        assert asked  # the leaves lie in the daemon alone
