"""Members that nobody can call: witnessed, mirrored, replicated, repaired by calls that they make."""

import secrets
import shutil
from datetime import UTC, datetime

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.cid import parse_cid
from heritage_ledger.errors import TemporaryFailure
from heritage_ledger.federation.reverse import reverse_url
from heritage_testkit.nodes import until
from heritage_testkit.running import make_home, running

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"


def calls_in(home):
    settings = home / "heritage.toml"
    settings.write_text(settings.read_text().replace("allow_private", "call_in = true\nallow_private"))
    return home


def deposit(home, folder, asset, sizes):
    folder.mkdir()
    for number, size in enumerate(sizes):
        (folder / f"{number}.bin").write_bytes(secrets.token_bytes(size))
    with Ledger.open(home) as ledger:
        return ledger.ingest(folder, asset=asset)


@pytest.fixture
def members(tmp_path):
    """A museum that calls in at an archive, both running."""
    museum, archive = calls_in(make_home(tmp_path, "museum")), make_home(tmp_path, "archive")
    with running(archive, first=0.05) as other:
        with Ledger.open(museum) as ledger:
            ledger.federation.trust(ledger.federation.discover(other.url))
            card = ledger.federation.card()
        with Ledger.open(archive) as ledger:
            peer = ledger.federation.introduced(card)
            assert (peer.url, peer.witness) == (reverse_url(MUSEUM), False)
            ledger.federation.trust(peer)
        with running(museum, first=0.05) as node:
            yield museum, archive, node, other


def test_a_member_that_calls_in_is_a_full_one(members, tmp_path):
    museum, archive, _node, other = members
    with Ledger.open(archive) as ledger:
        ledger.federation.pledge(MUSEUM, datetime(2099, 12, 31, tzinfo=UTC), max_bytes=1 << 40)
    done = deposit(museum, tmp_path / "scans", "urn:example:1", [10, 5_000_000, 300_000])
    with Ledger.open(museum) as ledger:
        until(lambda: ledger.federation.standing().size == ledger.log_size())
    federation = other.service.federation
    until(lambda: federation.mirrored(MUSEUM) == done.log_index + 1)
    replica = archive / "replicas" / MUSEUM / done.package_cid
    until(replica.is_dir)
    with Ledger.open(archive) as ledger:
        assert not ledger.federation.standing().required  # nobody's checkpoint waits for it

    # what tells peers that nothing is new comes over calls too
    peer = federation.peers.get(MUSEUM)
    first = federation.client.ask("GET", f"{peer.url}/log/checkpoint")
    assert first.headers["heritage-forks"] == "none"
    again = {"If-None-Match": first.headers["etag"]}
    assert federation.client.ask("GET", f"{peer.url}/log/checkpoint", headers=again).status == 304

    # the archive's replica is repaired from the museum, which holds the only other copy
    page = next(one for one in replica.rglob("1.bin"))
    page.chmod(0o600)
    data = bytearray(page.read_bytes())
    data[2_000_000] ^= 1
    page.write_bytes(data)
    (repaired,) = federation.repairs.check(parse_cid(done.package_cid))
    assert (repaired.helpers, repaired.findings) == ((MUSEUM,), ())
    assert page.read_bytes() != bytes(data)

    # and the museum's own package from the archive
    own = next(one for one in (museum / "packages").rglob("1.bin"))
    own.chmod(0o600)
    own.write_bytes(bytes(data))
    with Ledger.open(museum) as ledger:
        (mended,) = ledger.federation.repairs.check(parse_cid(done.package_cid))
    assert mended.helpers == (ARCHIVE,)
    shutil.rmtree(tmp_path / "scans")


def test_only_the_running_node_can_ask_it(members):
    _museum, archive, _node, _other = members
    with Ledger.open(archive) as ledger:
        (synced,) = ledger.federation.sync()
        assert [one.code for one in synced.findings] == ["peer-away"]
        with pytest.raises(TemporaryFailure) as caught:
            ledger.federation.notices.tell(ledger.federation.peers.get(MUSEUM), "checkpoint")
        assert caught.value.code == "peer-away"
