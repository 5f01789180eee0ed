"""Peers asked through a real proxy (tinyproxy), with a password, and through proxies that do no good."""

import contextlib
import logging
import re
import shutil
import signal
import socket
import subprocess
import time

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.exchange import Waits
from heritage_ledger.errors import HeritageError, OperationFailed, TemporaryFailure, UsageError
from heritage_ledger.federation.client import Client
from heritage_testkit.nodes import until
from heritage_testkit.running import make_home, running
from heritage_testkit.sockets import answer, talking
from heritage_testkit.tls import Authority, speaking

LOGIN = "museum:a-word-of-the-house"
WAITS = Waits(connect=5.0, headers=2.0, silent=1.0)
pytestmark = pytest.mark.external


@contextlib.contextmanager
def tinyproxy(folder):
    """A proxy on loopback that asks who is there; yields its URL and the file of its log."""
    if shutil.which("tinyproxy") is None:
        pytest.skip("no tinyproxy: on Debian, apt-get install tinyproxy")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    said = folder / "tinyproxy.log"
    settings = folder / "tinyproxy.conf"
    settings.write_text(
        f'Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogFile "{said}"\nLogLevel Info\n'
        f"BasicAuth {LOGIN.replace(':', ' ')}\n"
    )
    process = subprocess.Popen(["tinyproxy", "-d", "-c", settings], stdout=subprocess.DEVNULL)
    try:

        def is_up():
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return True
            return False

        until(is_up)
        yield f"http://127.0.0.1:{port}", said
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("house"))


def through(proxy, login=LOGIN, *, ca_file=None, allow_private=True):
    return Client(
        allow_private=allow_private, waits=WAITS, ca_file=ca_file, proxy=proxy, proxy_login=lambda: login
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_peers_are_asked_through_it(tmp_path, house, scheme):
    certificate = house.issue() if scheme == "https" else None
    with tinyproxy(tmp_path) as (proxy, said), speaking(certificate) as place:
        url = place.replace("https:", f"{scheme}:")
        with through(proxy, ca_file=str(house.file)) as client:
            for _ in range(3):
                assert b"0.43.0" in client.get(f"{url}/x")
                assert b"0.43.0" in client.ask("POST", f"{url}/y", body=b"").body
        asked = said.read_text()
        assert "CONNECT localhost" in asked if scheme == "https" else "GET http://localhost" in asked


@pytest.mark.parametrize("login", [None, "museum:wrong"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_login_that_it_does_not_know_is_final_and_named(tmp_path, house, caplog, scheme, login):
    caplog.set_level(logging.DEBUG)
    certificate = house.issue() if scheme == "https" else None
    with tinyproxy(tmp_path) as (proxy, _), speaking(certificate) as place:
        url = place.replace("https:", f"{scheme}:")
        client = through(proxy, login, ca_file=str(house.file))
        with client, pytest.raises(OperationFailed) as caught:
            client.get(f"{url}/x")
    assert caught.value.code in {"proxy-refused", "peer-refused"}
    if login is None:
        assert caught.value.code == "proxy-refused"
    assert "wrong" not in f"{caught.value}{caplog.text}"


HERE = (
    "127.0.0.1 10.0.0.1 [::1] [fe80::1] localhost LOCALHOST. x.localhost 127.1 2130706433 0x7f000001 "
    "017700000001 [::ffff:10.0.0.1] 169.254.169.254"
)


@pytest.mark.parametrize("host", HERE.split())
def test_private_addresses_that_the_url_itself_names_are_refused(host):
    with talking() as proxy, through(proxy.url, allow_private=False) as client:
        for scheme in ("http", "https"):
            with pytest.raises(UsageError) as caught:
                client.get(f"{scheme}://{host}/x")
            assert caught.value.code == "peer-address"
        assert proxy.requests == []


SAYS = {
    "hangs": (lambda _: time.sleep(5), "peer-silent"),
    "breaks off": (lambda _: None, "peer-unreachable"),
    "407": (answer(b"", status="407 Proxy Authentication Required"), "proxy-refused"),
    "502": (answer(b"", status="502 Bad Gateway"), None),
    "drips": (
        lambda sock: [(sock.sendall(b"H" if not at else b"T"), time.sleep(0.1)) for at in range(60)],
        "peer-silent",
    ),
    "endless": (lambda sock: [sock.sendall(b"X: y\r\n" * 9_999) for _ in range(9_999)], None),
}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("name", SAYS)
def test_a_proxy_that_does_no_good_ends_in_time(scheme, name):
    say, code = SAYS[name]
    with talking() as proxy, through(proxy.url) as client:
        proxy.say = say
        began = time.monotonic()
        with pytest.raises(HeritageError) as caught:
            client.get(f"{scheme}://archive.example/x")
        assert time.monotonic() - began < 20
    assert code in {None, caught.value.code}
    assert code == "proxy-refused" or isinstance(caught.value, TemporaryFailure), caught.value.code


def test_a_node_behind_it_is_witnessed_and_says_its_password_to_nobody(tmp_path, monkeypatch):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    monkeypatch.setenv("PROXY_LOGIN", LOGIN)
    with tinyproxy(tmp_path) as (proxy, said), running(archive, first=0.05) as other:
        with (museum / "heritage.toml").open("a") as file:
            file.write(f'proxy = "{proxy}"\nproxy_login = "env:PROXY_LOGIN"\ncall_in = true\n')
        with Ledger.open(museum) as ledger:
            ledger.federation.trust(ledger.federation.discover(other.url))
            card = ledger.federation.card()
        with Ledger.open(archive) as ledger:
            ledger.federation.trust(ledger.federation.introduced(card))
        with running(museum, first=0.05):
            until(lambda: other.service.federation.mirrored("museum.example/ledger/1") == 1)
            with Ledger.open(museum) as ledger:
                until(lambda: ledger.federation.standing().size == 1)
    assert re.search(r"POST http://127\.0\.0\.1:\d+/api/v1/turns", said.read_text())
    with Ledger.open(museum) as ledger:
        assert LOGIN.partition(":")[2] not in repr(ledger.settings)
