"""The one way out: addresses checked as they are dialled, sizes and times bounded, nothing followed."""

import socket
import struct
import threading
import time
from email.utils import formatdate

import pytest

from heritage_ledger.content.exchange import Waits
from heritage_ledger.errors import EvidenceInvalid, HeritageError, TemporaryFailure, UsageError
from heritage_ledger.federation.client import Client, check_url
from heritage_testkit.sockets import answer, talking


@pytest.fixture
def server():
    with talking() as said:
        yield said


SPELLINGS = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://127.1:{port}/",
    "http://0:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://127.0.0.1.:{port}/",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_spelling_of_loopback_is_dialled(server, spelling):
    port = server.url.rpartition(":")[2]
    with Client() as client, pytest.raises(HeritageError) as caught:
        client.get(spelling.format(port=port))
    assert caught.value.code in {"peer-address", "peer-unreachable", "peer-url"}
    assert server.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a.example/",
        "file:///etc/passwd",
        "http://",
        "http://user@a.example/",
        "http://a.example:0/",
        "//a",
        "http://a b/",
        "http://ä.example/",
        "http://a.example:99999/",
        "http://[::1",
        "",
    ],
)
def test_only_plain_urls(url):
    with pytest.raises(UsageError) as caught:
        check_url(url)
    assert caught.value.code == "peer-url"


SHORT = Waits(connect=2.0, headers=0.5, silent=0.5)


def ask(server, *, waits=SHORT, **how):
    with Client(allow_private=True, waits=waits) as client:
        return client.ask("GET", f"{server.url}/x", **how)


def test_an_answer_comes_whole(server):
    server.say = answer(b"hello", "Content-Length: 5")
    assert ask(server).body == b"hello"


def test_no_redirect_is_followed(server):
    server.say = lambda sock: sock.sendall(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n"
        b"Connection: close\r\n\r\n"
    )
    assert ask(server).status == 302
    assert len(server.requests) == 1


def test_an_endless_body_is_cut(server):
    def endless(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(10_000):
            sock.sendall(b"x" * 65536)

    server.say = endless
    with pytest.raises(EvidenceInvalid) as caught:
        ask(server, limit=1 << 20)
    assert caught.value.code == "peer-too-large"


def test_a_compressed_body_is_never_opened(server):
    server.say = answer(b"\x1f\x8b" + b"\0" * 100, "Content-Encoding: gzip", "Content-Length: 102")
    with pytest.raises(EvidenceInvalid) as caught:
        ask(server)
    assert caught.value.code == "peer-answer"


def test_a_hundred_thousand_headers_are_refused(server):
    server.say = answer(b"", *(f"X-{at}: y" for at in range(100_000)))
    with pytest.raises(TemporaryFailure) as caught:
        ask(server)
    assert caught.value.code == "peer-unreachable"


def test_a_cut_body_is_no_answer(server):
    server.say = answer(b"hel", "Content-Length: 5")
    with pytest.raises(TemporaryFailure):
        ask(server)


def drip(sock):
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000:
        sock.sendall(bytes([byte]))
        time.sleep(0.05)


def test_dripping_headers_are_given_up_and_are_no_answer(server):
    server.say = drip
    with pytest.raises(TemporaryFailure) as caught:
        ask(server)
    assert caught.value.code == "peer-silent"


def test_headers_that_end_early_are_no_answer(server):
    server.say = lambda sock: sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")
    with pytest.raises(TemporaryFailure) as caught:
        ask(server)
    assert caught.value.code == "peer-unreachable"


def test_a_dripping_body_is_given_up(server):

    def slow(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(200):
            sock.sendall(b"x")
            time.sleep(0.05)

    server.say = slow
    with pytest.raises(TemporaryFailure) as caught:
        ask(server, limit=1 << 20)
    assert caught.value.code == "peer-silent"


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with Client(allow_private=True) as client, pytest.raises(TemporaryFailure) as caught:
        client.get(f"http://127.0.0.1:{port}/")
    assert caught.value.found == "Connection refused"


def test_what_is_being_asked_is_broken_off(server):
    over = threading.Event()
    server.say = lambda _: over.wait(60)
    with Client(allow_private=True) as client:
        client.stop()  # nothing is asked yet
        threading.Timer(0.3, client.stop).start()
        with pytest.raises(TemporaryFailure) as caught:
            client.get(f"{server.url}/x")
        assert caught.value.code == "peer-unreachable"  # and not `peer-silent`, which takes its time
    over.set()


def kept_then(then):
    """Answer the first request of a connection, and do `then` at its second one; count what was asked."""
    listener = socket.create_server(("127.0.0.1", 0))
    asked = []

    def serve(sock):
        with sock:
            asked.append(sock.recv(65536).split(b" ")[0])
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            data = sock.recv(65536)
            if data:
                asked.append(data.split(b" ")[0])
                then(sock)

    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/x", asked


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("then", [reset, lambda _: None], ids=["reset", "closed"])
def test_a_get_on_a_kept_connection_that_is_gone_is_asked_once_more(then):
    listener, url, asked = kept_then(then)
    with listener, Client(allow_private=True) as client:
        assert client.get(url) == client.get(url) == b"ok"
        assert asked == [b"GET"] * 3
        listener.shutdown(socket.SHUT_RDWR)


def test_a_post_is_never_asked_twice():
    listener, url, asked = kept_then(reset)
    with listener, Client(allow_private=True) as client:
        assert client.get(url) == b"ok"
        with pytest.raises(TemporaryFailure) as caught:
            client.ask("POST", url, body=b"{}")
        assert caught.value.code == "peer-unreachable"
        assert asked == [b"GET", b"POST"]
        listener.shutdown(socket.SHUT_RDWR)


def test_a_get_that_hangs_on_a_kept_connection_is_not_asked_again():
    listener, url, asked = kept_then(lambda sock: sock.recv(1))
    with listener, Client(allow_private=True, waits=SHORT) as client:
        assert client.get(url) == b"ok"
        with pytest.raises(TemporaryFailure) as caught:
            client.get(url)
        assert caught.value.code == "peer-silent"
        assert asked == [b"GET"] * 2
        listener.shutdown(socket.SHUT_RDWR)


def test_a_reader_that_is_slow_costs_the_peer_nothing(server):
    def all_at_once(sock):
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 3000)

    server.say = all_at_once
    waits = Waits(connect=2.0, headers=2.0, silent=0.4)
    with (
        Client(allow_private=True, waits=waits) as client,
        client.opened("GET", f"{server.url}/x", limit=3000) as stream,
    ):
        time.sleep(0.8)  # our disk
        assert len(stream.all()) == 3000


@pytest.mark.parametrize(("ahead", "expected"), [(86_400, 86_400), (-7_200, -7_200), (0, 0)])
def test_the_clock_of_a_peer_is_compared_with_ours(server, ahead, expected):
    server.say = answer(b"ok", f"Date: {formatdate(time.time() + ahead, usegmt=True)}", "Content-Length: 2")
    with Client(allow_private=True) as client:
        assert client.clock_of(server.url) is None
        client.get(f"{server.url}/x")
        assert abs(client.clock_of(f"{server.url}/y") - expected) < 10


@pytest.mark.parametrize(
    "date", ["", "tomorrow", "Fri, 99 Nov 2026 25:00:00 GMT", "1" * 5000, "Fri, 27 Nov 99999"]
)
def test_a_date_that_is_none_says_nothing(server, date):
    server.say = answer(b"ok", f"Date: {date}", "Content-Length: 2")
    with Client(allow_private=True) as client:
        assert client.get(f"{server.url}/x") == b"ok"
        assert client.clock_of(server.url) is None
