"""What ends before it is whole never looks whole: over HTTP/1.0 and 1.1, and to a cache between."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.car import open_car
from heritage_node import gateway, limits
from heritage_testkit.inside import WAIT, node_inside

SIZE = 9_000_000
CUT = 7_500_000


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A home with one package; the CID of the bag and the file that is large."""
    root = tmp_path_factory.mktemp("streams")
    home = root / "museum"
    with Ledger.init(home, institution="M", origin="museum.example/ledger/1", passphrase=None) as ledger:
        folder = root / "scan"
        folder.mkdir()
        (folder / "big.bin").write_bytes(bytes(at % 251 for at in range(1000)) * (SIZE // 1000))
        for number in range(9):  # no two MiB are alike
            with (folder / "big.bin").open("r+b") as file:
                file.seek(number * 1_000_000)
                file.write(b"%d" % number)
        (folder / "small.txt").write_text("small")
        receipt = ledger.ingest(folder, asset="urn:example:1")
    return home, receipt.package_cid, receipt.bag_path / "data" / "big.bin"


@pytest.fixture
def damaged(package):
    """The same, a byte of the file flipped for the length of a test."""
    _, _, path = package
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:CUT] + bytes([data[CUT] ^ 1]) + data[CUT + 1 :])
    yield package
    path.write_bytes(data)


@pytest.fixture
def node(package):
    with node_inside(package[0]) as one:
        yield one


def car_of(data):
    """The blocks of an answer's body; raises when it is not whole."""
    view = memoryview(data)
    at = 0

    def read(size):
        nonlocal at
        part = bytes(view[at : at + size])
        at += len(part)
        return part

    return list(open_car(read).blocks)


def rest(sock):
    """Read to the end; raises when that is a reset."""
    parts = []
    while part := sock.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def ask(node, path, version="1.0"):
    return node.raw(f"GET {path} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_a_stream_that_fails_is_reset(damaged, node, version):
    _, cid, _ = damaged
    with socket.create_connection((node.host, node.port), timeout=WAIT) as sock:
        sock.sendall(f"GET /ipfs/{cid}?format=car HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        head = sock.recv(1 << 10).partition(b"\r\n\r\n")[0].lower()
        with pytest.raises(ConnectionResetError):  # never the end that recv tells by nothing
            rest(sock)
    assert head.startswith(b"http/1.")
    assert (b"transfer-encoding: chunked" in head) == (version == "1.1")
    assert b"\r\ncontent-length:" not in head
    assert b"immutable" not in head


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_whatever_else_stops_a_stream_resets_it_too(package, node, version, monkeypatch):
    """Not only damage: a fault of this software, and a node that is stopped."""
    _, cid, _ = package

    def pieces(_blocks, _roots):
        yield b"a" * 100_000
        yield b"b" * 100_000
        raise ZeroDivisionError

    monkeypatch.setattr(gateway, "pieces", pieces)
    with pytest.raises(ConnectionResetError):
        ask(node, f"/ipfs/{cid}?format=car", version)


def test_a_node_that_stops_resets_what_is_under_way(package):
    _, cid, _ = package
    with contextlib.ExitStack() as held:
        node = held.enter_context(node_inside(package[0]))
        sock = held.enter_context(socket.create_connection((node.host, node.port), timeout=WAIT))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(f"GET /ipfs/{cid}?format=car HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        sock.recv(100)
        node.loop.call_soon_threadsafe(lambda: [guard.close() for guard in list(node.connections.open)])
        with pytest.raises(ConnectionResetError):
            rest(sock)


def test_a_reader_who_is_too_slow_is_reset(package, node, monkeypatch):
    _, cid, _ = package
    monkeypatch.setattr(limits, "WRITE_SECONDS", 0.3)
    with socket.create_connection((node.host, node.port), timeout=WAIT) as sock:
        sock.sendall(f"GET /ipfs/{cid}?format=car HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        sock.recv(100)
        deadline = time.monotonic() + WAIT
        while node.connections.open:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with pytest.raises(ConnectionResetError):
            rest(sock)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_what_fits_into_one_piece_has_a_length(package, node, version):
    _, cid, _ = package
    head, _, body = ask(node, f"/ipfs/{cid}/data/small.txt?format=car", version).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"immutable" in head
    assert car_of(body)[-1][1] == b"small"


def test_a_whole_stream_is_whole(package, node):
    _, cid, _ = package
    head, _, body = ask(node, f"/ipfs/{cid}?format=car").partition(b"\r\n\r\n")
    assert sum(len(block) for _, block in car_of(body)) > SIZE
    assert re.search(rb"Cache-Control: public, max-age=3600\r\n", head)


@contextlib.contextmanager
def nginx(folder, upstream):
    """nginx with nothing but proxy_pass and a cache: it asks by HTTP/1.0 and closes after each answer."""
    program = shutil.which("nginx")
    if program is None:
        pytest.skip("nginx is not here: apt-get install nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings = folder / "nginx.conf"
    settings.write_text(
        f"{'user root;' if os.getuid() == 0 else ''} pid {folder}/pid; daemon off; events {{}}"
        f" error_log {folder}/error.log;"
        f"http {{ access_log off; {temporary} proxy_cache_path {folder}/cache keys_zone=c:1m;"
        f"server {{ listen 127.0.0.1:{port};"
        f"location / {{ proxy_pass {upstream}; proxy_cache c; proxy_ignore_headers Vary;"
        " add_header X-Cache $upstream_cache_status; } } }"
    )
    process = subprocess.Popen(
        [program, "-c", settings, "-e", folder / "error.log"], stdin=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + WAIT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(WAIT)


def through(port, path):
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\nHost: a\r\n\r\n".encode())
        parts = []
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(1 << 16):
                parts.append(part)
    return b"".join(parts).partition(b"\r\n\r\n")


@pytest.mark.external
def test_a_cache_keeps_no_part_of_an_answer(package, tmp_path):
    """A CAR is cut once; the next one who asks the cache gets the whole."""
    home, cid, path = package
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:CUT] + bytes([data[CUT] ^ 1]) + data[CUT + 1 :])
    with node_inside(home) as node, nginx(tmp_path, node.url) as port:
        try:
            _, _, body = through(port, f"/ipfs/{cid}?format=car")
            assert len(body) < SIZE
            assert not [one for one in (tmp_path / "cache").rglob("*") if one.is_file()]
        finally:
            path.write_bytes(data)
        head, _, body = through(port, f"/ipfs/{cid}?format=car")
        assert b"X-Cache: MISS" in head, head
        assert sum(len(block) for _, block in car_of(body)) > SIZE
        head, _, again = through(port, f"/ipfs/{cid}?format=car")
        assert b"X-Cache: HIT" in head, head  # the cache does work
        assert again == body
