"""A node that moved is followed by its peers: after its own log was found where it says."""

import json
import shutil
from dataclasses import replace

import pytest
import requests

from heritage_ledger import Ledger
from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.federation.notices import MOVED_NOTICE, format_moved, parse_moved
from heritage_ledger.federation.signing import NOTICE, Request, sign_request
from heritage_testkit.nodes import until
from heritage_testkit.running import make_home, running

MUSEUM, ARCHIVE, LIBRARY = (f"{name}.example/ledger/1" for name in ("museum", "archive", "library"))


@pytest.fixture
def homes(tmp_path):
    """An archive that knew a museum by a URL at which nobody is any more, and a library."""
    museum, archive, library = (make_home(tmp_path, name) for name in ("museum", "archive", "library"))
    with running(archive) as other, running(museum) as node, running(library) as third:
        for home, urls in ((museum, [other.url]), (archive, [node.url, third.url])):
            with Ledger.open(home) as ledger:
                for url in urls:
                    ledger.federation.trust(ledger.federation.discover(url))
                assert not any(synced.findings for synced in ledger.federation.sync())
    return museum, archive, library


def known(home, origin=MUSEUM):
    with Ledger.open(home) as ledger:
        return ledger.federation.peers.get(origin)


def moved_to(home, url):
    settings = home / "heritage.toml"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("url =")]
    settings.write_text("\n".join(lines).replace("[node]", f'[node]\nurl = "{url}"') + "\n")


def test_a_node_that_moved_tells_its_peers(homes):
    museum, archive, _ = homes
    before = known(archive)
    with running(archive, first=0.05) as other:
        with Ledger.open(museum) as ledger:  # the archive has moved too, and a person has said so
            peers = ledger.federation.peers
            peers.add(replace(peers.get(ARCHIVE), url=other.url))
        with running(museum) as node:
            moved_to(museum, "http://127.0.0.1:9")
            with running(museum, first=0.05):  # what it was called at first is nothing to tell
                note = museum / "mirrors" / ARCHIVE / ".told"
                until(lambda: note.is_file() and note.read_text() == "http://127.0.0.1:9\n")
            assert known(archive) == before
            moved_to(museum, f"{node.url}/")
            with running(museum, first=0.05):
                until(lambda: known(archive).url == node.url)
    after = known(archive)
    assert replace(after, url="") == replace(before, url="")
    assert f"{node.url}/witness" in (archive / "policy").read_text()
    assert before.url not in (archive / "policy").read_text()


def test_another_log_is_not_followed(homes):
    _, archive, library = homes
    before = known(archive)
    with running(library) as third, Ledger.open(archive) as ledger:
        with pytest.raises(EvidenceInvalid) as caught:
            ledger.federation.follow(MUSEUM, third.url)
        assert caught.value.code == "peer-changed"
    assert known(archive) == before


def test_an_older_state_of_the_log_is_not_followed(homes, tmp_path):
    museum, archive, _ = homes
    old = tmp_path / "old"
    shutil.copytree(museum, old)
    folder = tmp_path / "scan"
    folder.mkdir()
    (folder / "page.txt").write_text("page")
    with Ledger.open(museum) as ledger:
        ledger.ingest(folder, asset="urn:example:1")
    with running(museum) as node, Ledger.open(archive) as ledger:
        ledger.federation.follow(MUSEUM, node.url)
        assert not any(synced.findings for synced in ledger.federation.sync() if synced.origin == MUSEUM)
    with running(old) as node, Ledger.open(archive) as ledger:
        with pytest.raises(EvidenceInvalid) as caught:
            ledger.federation.follow(MUSEUM, node.url)
        assert caught.value.code == "peer-stale"


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"url": 1}',
        b'{"url": "ftp://x"}',
        b'{"url": "https://a:b@x"}',
        b"\xff",
        b'{"url": ""}',
    ],
)
def test_a_notice_without_a_url_is_refused(homes, body):
    museum, archive, _ = homes
    with pytest.raises(EvidenceInvalid):
        parse_moved(body)
    with running(archive) as node, Ledger.open(museum) as ledger:
        url = f"{node.url}/api/v1/notices"

        def say(data, *, covered=True):
            request = Request("POST", url, data)
            if covered:
                request.headers[NOTICE] = MOVED_NOTICE
            headers = sign_request(request, ledger.federation.node_key, origin=MUSEUM, audience=ARCHIVE)
            return requests.post(url, data=data, headers=headers | {NOTICE: MOVED_NOTICE}, timeout=60)

        answer = say(body)
        assert (answer.status_code, answer.json()["code"]) == (422, "notice-malformed")
        assert node.service.moved == {}
        say(format_moved("https://elsewhere.example"), covered=False)  # its kind is not signed
        assert node.service.moved == {}
        assert say(format_moved("https://elsewhere.example")).status_code == 202
        assert node.service.moved == {MUSEUM: "https://elsewhere.example"}
        assert json.loads(format_moved("https://x"))["url"] == parse_moved(format_moved("https://x"))
