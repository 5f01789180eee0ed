"""nginx and Caddy before a node, by the files of `node/deploy`: what a proxy may not change, and must say."""

import contextlib
import http.client
import re
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.car import open_car
from heritage_ledger.errors import EvidenceMissing
from heritage_ledger.federation.pledges import pledge
from heritage_node import limits
from heritage_testkit.inside import node_inside
from heritage_testkit.nodes import until
from heritage_testkit.outside import PROJECT
from heritage_testkit.proxies import FILES, make_proxy, need
from heritage_testkit.running import make_home, running

MUSEUM = "museum.example/ledger/1"
HANDBOOK = PROJECT / "node" / "handbook" / "proxy.md"
WAIT = 60
pytestmark = [pytest.mark.external, pytest.mark.xdist_group("proxies")]
WAYS = [pytest.param(way, id="".join(way).replace("/", "-")) for way in FILES]
HEADERS = (
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "Forwarded",
    "X-Real-IP",
)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A home with one package of nine MiB, whose node believes the proxy; the CID and the large file."""
    root = tmp_path_factory.mktemp("proxied")
    home = root / "museum"
    with Ledger.init(home, institution="M", origin="museum.example/ledger/1", passphrase=None) as ledger:
        folder = root / "scan"
        folder.mkdir()
        (folder / "big.bin").write_bytes(b"".join(bytes([at]) * 1_000_000 for at in range(9)))
        (folder / "small.txt").write_text("small " * 1000)
        for name in NAMES:
            (folder / name).write_text(name)
        receipt = ledger.ingest(folder, asset="urn:example:1")
    with (home / "heritage.toml").open("a") as file:
        file.write('\n[node]\nlisten = "127.0.0.1:0"\ntrusted_proxies = ["127.0.0.1"]\npublic_rate = 20\n')
    return home, receipt.package_cid, receipt.bag_path / "data" / "big.bin"


NAMES = (
    "100% sure.txt",
    "100%25.txt",
    "a+b c.txt",
    "what?.txt",
    "one#two.txt",
    "Fès é.txt",
    "new\nline",
    "a;b=c&d",
)
"""Names that a proxy may spell otherwise on the way."""


class Client:
    """One connection through a proxy, from an address of its own."""

    def __init__(self, proxy, address="127.0.0.1"):
        context = ssl.create_default_context(cafile=proxy.ca)
        self.prefix = proxy.prefix
        self.connection = http.client.HTTPSConnection(
            "localhost", proxy.port, timeout=WAIT, context=context, source_address=(address, 0)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()

    def get(self, path, **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request("GET", self.prefix + path, headers=named)
        with self.connection.getresponse() as answer:
            return answer, answer.read()


def ends_politely(proxy):
    """Old releases of Caddy end an answer as if it were whole when the node resets it."""
    if proxy.program != "caddy":
        return False
    said = subprocess.run([need("caddy"), "version"], capture_output=True, text=True, check=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2])) < (2, 8)


@pytest.fixture
def held():
    """What is closed at the end of a test."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(params=WAYS)
def proxied(request, package, tmp_path):
    """A proxy, and the node behind it."""
    program, prefix = request.param
    proxy = make_proxy(tmp_path, program, prefix)
    with node_inside(package[0]) as node, proxy.running(node.port):
        yield proxy, node


def test_what_the_node_says_comes_through_as_it_is(proxied, package, held):
    proxy, node = proxied
    _, cid, _ = package
    client = held.enter_context(Client(proxy))
    asked = {"Accept-Encoding": "gzip, br, zstd"}
    for path in ("/log/checkpoint", f"/ipfs/{cid}?format=raw", "/api/v1/assets", "/healthz"):
        answer, body = client.get(path, **asked)
        straight = node.get(path)
        assert (answer.status, body) == (straight.status_code, straight.content), path
        assert answer.headers["Content-Encoding"] is None
        assert answer.headers["Content-Type"] == straight.headers["Content-Type"]
        assert "." not in answer.headers.get("Server", ""), "a release is named"
        assert answer.headers["Strict-Transport-Security"]
    answer, body = client.get(f"/ipfs/{cid}?format=car", **asked)
    assert answer.headers["Content-Encoding"] is None
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert len(blocks_of(body)) > 9


def test_every_spelling_of_a_path_arrives(proxied, package, held):
    proxy, node = proxied
    _, cid, _ = package
    client = held.enter_context(Client(proxy))
    straight = http.client.HTTPConnection(node.host, node.port, timeout=WAIT)
    held.callback(straight.close)
    for name in NAMES:
        for quoted in {quote(name), quote(name, safe="+;=&"), "".join(f"%{at:02x}" for at in name.encode())}:
            path = f"/ipfs/{cid}/data/{quoted}?format=car&filename=a%2Fb"
            straight.request("GET", path)  # as it stands: other clients spell it in their own way
            with straight.getresponse() as expected:
                wanted = expected.read()
            answer, body = client.get(path)
            assert (expected.status, answer.status) == (200, 200), path
            assert body == wanted, path
            assert name.encode() in body, path
            for header in ("X-Ipfs-Roots", "Ipfs-Uri", "Content-Disposition"):
                assert answer.headers[header] == expected.headers[header], path
    for path in (
        "/ipfs/%2e%2e/metrics",
        "/x/../metrics",
        "//metrics",
        "/%6detrics",
        "/metrics/",
        "/metrics?a",
    ):
        answer, body = client.get(path)
        assert b"heritage_" not in body, path
        assert answer.status in {301, 308, 400, 404}, path


def test_what_is_for_the_house_alone_is_not_given_out(proxied, held):
    proxy, node = proxied
    client = held.enter_context(Client(proxy))
    for path in ("/metrics", "/readyz", "/api/v1/sync"):
        assert client.get(path)[0].status == 404
        assert node.get(path).status_code in {200, 405}


def test_connections_to_the_node_are_kept(proxied, monkeypatch):
    proxy, _ = proxied
    made = []
    enter = limits.Connections.enter
    monkeypatch.setattr(
        limits.Connections, "enter", lambda self, one: (made.append(one), enter(self, one))[1]
    )
    for _ in range(3):
        client = Client(proxy)
        for _ in range(5):
            assert client.get("/healthz")[0].status == 200
        client.connection.close()
    assert len(made) <= 2


def test_a_cut_car_looks_cut(proxied, package):
    proxy, _ = proxied
    _, cid, path = package
    with Client(proxy) as client:
        _, whole = client.get(f"/ipfs/{cid}?format=car")
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(data[:7_500_000] + b"\xff" + data[7_500_001:])
    try:
        with Client(proxy) as client:
            if ends_politely(proxy):  # who counts the blocks knows, and a cache does not
                _, part = client.get(f"/ipfs/{cid}?format=car")
                assert len(part) < len(whole)
                assert whole.startswith(part)
                assert is_short(part, whole)
                assert "Caddy before 2.8" in HANDBOOK.read_text()
                return
            with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
                client.get(f"/ipfs/{cid}?format=car")
    finally:
        path.write_bytes(data)


def test_each_client_has_a_rate_of_its_own_and_none_lends_itself_another(proxied, held):
    proxy, _ = proxied
    greedy, other = (held.enter_context(Client(proxy, one)) for one in ("127.0.0.2", "127.0.0.3"))
    for _ in range(500):
        if greedy.get("/api/v1/peers")[0].status == 429:
            break
    else:
        pytest.fail("one address may ask for everything")
    for name in HEADERS:
        forged = {"Forwarded": "for=127.0.0.9"}.get(name, "127.0.0.9")
        for _ in range(3):  # what was spent comes back by and by
            answer, _ = greedy.get("/api/v1/assets?limit=1000", **{name: forged})
            assert answer.status == 429, name
    assert other.get("/api/v1/peers")[0].status == 200


def is_short(part, whole):
    """Whether whoever counts the blocks sees that some are missing; a cut within one is an error."""
    try:
        return len(blocks_of(part)) < len(blocks_of(whole))
    except EvidenceMissing as error:
        return error.code == "car-cut-off"


def blocks_of(data):
    at = 0

    def read(size):
        nonlocal at
        at += size
        return data[at - size : at]

    return list(open_car(read).blocks)


@pytest.mark.parametrize("way", WAYS)
def test_peers_witness_mirror_and_replicate_through_it(tmp_path, way, held):
    """Signed requests too: the node's settings name the URL that its peers dial."""
    proxy = make_proxy(tmp_path, *way)
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    for home, more in ((museum, f'url = "{proxy.url}"\n'), (archive, "")):
        with (home / "heritage.toml").open("a") as file:
            file.write(f'ca_file = "{proxy.ca}"\n{more}')
    node, other = (held.enter_context(running(home, first=0.05)) for home in (museum, archive))
    held.enter_context(proxy.running(int(node.url.rpartition(":")[2])))
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "page.txt").write_text("page")
    with Ledger.open(museum) as ledger:
        ledger.federation.peers.add(ledger.federation.discover(other.url))
    with Ledger.open(archive) as ledger:
        ledger.federation.peers.add(ledger.federation.discover(proxy.url))
        pledge(ledger.books, MUSEUM, datetime.now(UTC) + timedelta(days=9))
    with Ledger.open(museum) as ledger:
        receipt = ledger.ingest(tmp_path / "scan", asset="urn:example:1")
        until((archive / "replicas" / MUSEUM / str(receipt.package_cid)).is_dir)
        until(lambda: ledger.federation.standing().size > receipt.log_index)
    with Ledger.open(archive) as ledger:
        (found,) = ledger.federation.status()
        assert found.peer.url == proxy.url
        assert found.size > receipt.log_index
