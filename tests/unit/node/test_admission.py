"""Who is heard: rates by address, peers who sign rightly, and what a refusal says."""

import json
import shutil
import socket
import threading

import pytest
import requests

from heritage_ledger.federation import signing
from heritage_node import limits
from heritage_node.costs import Pool
from heritage_testkit.inside import WAIT, node_inside
from heritage_testkit.nodes import until


@pytest.fixture
def museum(homes, tmp_path):
    """A copy of the museum whose settings a test may change."""
    home = tmp_path / "museum"
    shutil.copytree(homes.museum, home)

    def settings(text):
        path = home / "heritage.toml"
        kept = path.read_text().partition("\n[node]")[0]
        path.write_text(f"{kept}\n[node]\nallow_private = true\n{text}\n")
        return home

    return settings


def drained(node, path="/api/v1/node", **headers):
    """Ask until it is refused; the refusal."""
    for _ in range(200):
        answer = node.get(path, **headers)
        if answer.status_code != 200:
            return answer
    raise AssertionError("never refused")


def test_an_address_that_asks_too_much_is_told_when_to_come_again(museum):
    with node_inside(museum("public_rate = 1")) as node:
        answer = drained(node)
        assert answer.status_code == 429
        assert answer.headers["Content-Type"].startswith("application/problem+json")
        assert int(answer.headers["Retry-After"]) >= 1
        document = answer.json()
        assert (document["code"], document["status"]) == ("rate-exceeded", 429)
        assert document["advice"]
        # every pool has a rate of its own: the log, witnesses and health are still answered
        assert node.get("/log/checkpoint").status_code == 200
        assert node.get("/readyz").status_code == 200
        assert requests.post(f"{node.url}/witness/add-checkpoint", data=b"x", timeout=WAIT).status_code == 400
        assert drained(node, "/nothing/of/ours").status_code in {404, 429}


def test_behind_a_named_proxy_each_client_has_a_rate(museum):
    with node_inside(museum('public_rate = 1\ntrusted_proxies = ["127.0.0.1"]')) as node:
        assert drained(node, X_Forwarded_For="203.0.113.7").status_code == 429
        assert node.get("/api/v1/node", X_Forwarded_For="203.0.113.8").status_code == 200
        # what a client writes itself stands left of what the proxy adds
        assert node.get("/api/v1/node", X_Forwarded_For="203.0.113.9, 203.0.113.7").status_code == 429
        assert drained(node, X_Forwarded_For="2001:db8:0:1::1").status_code == 429
        assert node.get("/api/v1/node", X_Forwarded_For="2001:db8:0:1::2").status_code == 429
        assert node.get("/api/v1/node", X_Forwarded_For="2001:db8:0:2::1").status_code == 200


def test_nobody_else_is_believed_and_the_log_says_so_once(museum, caplog):
    with node_inside(museum("public_rate = 1")) as node:
        assert drained(node, X_Forwarded_For="203.0.113.7").status_code == 429
        assert node.get("/api/v1/node", X_Forwarded_For="203.0.113.8").status_code == 429
    assert [one.getMessage() for one in caplog.records if "trusted_proxies" in one.getMessage()][1:] == []
    assert "trusted_proxies" in caplog.text


def test_a_slow_pace_is_kept_where_mirrors_read(museum, monkeypatch):
    """Tiles come as fast as the rate lets them, without a refusal, as long as a client waits its turn."""
    with node_inside(museum("public_rate = 5")) as node:
        assert all(node.get("/log/checkpoint").status_code == 200 for _ in range(230))


def test_peers_who_sign_rightly_are_not_limited_and_strangers_are(museum, homes, signer):
    cid = homes.receipts[0].package_cid
    body = json.dumps({"cids": [cid]}).encode()
    with node_inside(museum("public_rate = 1")) as node:
        url = f"{node.url}/api/v1/blocks"
        for _ in range(30):
            assert requests.post(url, data=body, headers=signer(url, body), timeout=WAIT).status_code == 200
        codes = [requests.post(url, data=body, timeout=WAIT).status_code for _ in range(15)]
        assert codes == [401] * 10 + [429] * 5
        forged = signer(url, b"another body")
        assert (
            requests.post(
                url, data=body, headers=forged | {"Heritage-Audience": "x"}, timeout=WAIT
            ).status_code
            == 429
        )
        assert requests.post(url, data=body, headers=signer(url, body), timeout=WAIT).status_code == 200


def test_a_peer_that_signs_too_much_is_told_so(museum, signer, monkeypatch):
    monkeypatch.setattr(signing, "MAX_NONCES", 2)
    with node_inside(museum("")) as node:
        url = f"{node.url}/api/v1/notices"

        def tell():
            return requests.post(
                url, data=b"{}", headers=signer(url, b"{}", notice="checkpoint"), timeout=WAIT
            )

        assert [tell().status_code for _ in range(2)] == [202, 202]
        answer = tell()
        assert (answer.status_code, answer.json()["code"]) == (429, "request-too-many")
        assert int(answer.headers["Retry-After"]) > 0


def test_the_body_of_a_stranger_is_not_read(museum):
    """A body of four MiB, promised and never sent: the answer comes all the same."""
    with node_inside(museum("")) as node:
        head = (
            "POST /api/v1/blocks HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\nConnection: close\r\n"
            'Signature-Input: sig=("@method");created=1;keyid="nobody"\r\nSignature: sig=:AAAA:\r\n\r\n'
        )
        with socket.create_connection((node.host, node.port), timeout=WAIT) as sock:
            sock.sendall(head.encode())
            assert sock.recv(100).startswith(b"HTTP/1.1 401")


def test_a_node_is_known_by_the_name_that_its_peer_typed(museum, signer):
    """The settings say one name, the peer another: the audience that is signed says who is meant."""
    with node_inside(museum('url = "https://Ledger.Museum.Example:443/way"')) as node:
        for url in ("https://ledger.museum.example/way/api/v1/notices", f"{node.url}/api/v1/notices"):
            sent = signer(url, b"{}", notice="checkpoint")
            answer = requests.post(f"{node.url}/api/v1/notices", data=b"{}", headers=sent, timeout=WAIT)
            assert answer.status_code == 202, answer.text
        sent = signer("https://ledger.museum.example/way/api/v1/blocks", b"{}", notice="checkpoint")
        answer = requests.post(f"{node.url}/api/v1/notices", data=b"{}", headers=sent, timeout=WAIT)
        assert (answer.status_code, answer.json()["code"]) == (401, "request-unsigned")


NOTICES = [
    (b"{}", 202),
    (b'{"package": "bafy", "source": "museum.example/ledger/1"}', 422),  # help: it names no package
    (b'{"type": "heritage-ledger-fork"}', 422),
    (b"rubbish", 422),
    (b"[]", 422),
]


@pytest.mark.parametrize(("body", "status"), NOTICES, ids=str)
@pytest.mark.parametrize("said", [None, "checkpoint", "help", "fork"])
def test_a_notice_of_an_old_peer_is_what_its_body_says(node, signer, body, status, said):
    """Release 0.1 sends the header and does not sign it: whoever stands between may write what he likes."""
    url = f"{node.url}/api/v1/notices"
    headers = signer(url, body) | ({} if said is None else {"Heritage-Notice": said})
    assert requests.post(url, data=body, headers=headers, timeout=WAIT).status_code == status


@pytest.mark.parametrize(
    ("said", "body", "status"),
    [
        ("checkpoint", b"{}", 202),
        ("checkpoint", b"", 422),
        ("checkpoint", b"[]", 422),
        ("help", b"{}", 422),
        ("fork", b"{}", 422),
        ("other", b"{}", 422),
    ],
)
def test_a_notice_that_is_signed_is_what_it_says(node, signer, said, body, status):
    url = f"{node.url}/api/v1/notices"
    answer = requests.post(url, data=body, headers=signer(url, body, notice=said), timeout=WAIT)
    assert answer.status_code == status


def test_one_address_has_a_share_of_the_connections(museum, monkeypatch):
    monkeypatch.setattr(limits.Connections.__init__, "__kwdefaults__", {"each": 5, "trusted": ()})
    with node_inside(museum("")) as node:
        silent = [socket.create_connection((node.host, node.port), timeout=WAIT) for _ in range(5)]
        assert node.get("/healthz").status_code == 200
        closed = [one for one in silent if not _is_open(one)]
        assert closed == silent[:1]  # the one that kept the node waiting longest
        for one in silent:
            one.close()


def _is_open(sock):
    sock.settimeout(0.2)
    try:
        return bool(sock.recv(1))
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


def test_rooms_are_left_as_they_were(node, homes):
    """A thousand requests that are broken off take no room with them."""

    def broken():
        for _ in range(50):
            with socket.create_connection((node.host, node.port), timeout=WAIT) as sock:
                sock.sendall(b"GET /api/v1/assets?after=x HTTP/1.1\r\nHost: a\r\n\r\n")

    threads = [threading.Thread(target=broken) for _ in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(WAIT)
    # what the kernel took for the node comes in after its clients are gone
    until(lambda: node.get("/api/v1/node").status_code == 200)
    until(lambda: not any(node.service.pools.under_way[pool] for pool in Pool))
    assert not node.service.pools._each
