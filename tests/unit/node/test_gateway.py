"""The gateway's edges, as browsers, caches and other nodes write them: spellings, names, Accept."""

import contextlib
import http.client
import urllib.parse

import pytest
import requests
from multiformats import multibase

from heritage_ledger import Ledger
from heritage_ledger.content.cid import DAG_PB, block_cid, format_cid_v0, parse_cid
from heritage_node.accept import parse_accept
from heritage_testkit.inside import node_inside

RAW, CAR = "application/vnd.ipld.raw", "application/vnd.ipld.car"
NAMES = (
    "plain.txt",
    "łódź 100%.txt",
    "new\nline.txt",
    "return\r.txt",
    'quote".txt',
    "semi;colon,.txt",
    "back\\slash.txt",
)
BASES = ("base16", "base16upper", "base32upper", "base36", "base58btc", "base64url")


@pytest.fixture(scope="module")
def museum(tmp_path_factory):
    """A node with one package whose files have hard names."""
    root = tmp_path_factory.mktemp("gateway")
    folder = root / "scan"
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(name)
    with Ledger.init(
        root / "museum", institution="M", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        receipt = ledger.ingest(folder, asset="urn:example:1")
    with (root / "museum" / "heritage.toml").open("a") as file:
        file.write("\n[node]\npublic_rate = 1000000\n")
    with node_inside(root / "museum") as node:
        yield node, receipt.package_cid


def spellings(cid):
    """The same CID as others write it."""
    data = bytes(parse_cid(cid))
    found = [multibase.encode(data, base) for base in BASES]
    return [*found, format_cid_v0(parse_cid(cid))]


def test_every_route_with_a_cid_takes_it_in_any_spelling(museum):
    node, cid = museum
    paths = {
        resource.canonical.replace("{path}", "data")
        for resource in node.app.router.resources()
        if "{cid}" in resource.canonical
    }
    assert len(paths) == 4
    for path in paths:
        where = f"{path}?format=car" if path.startswith("/ipfs") else path
        first = node.get(where.replace("{cid}", cid))
        assert first.status_code == 200, where
        for name in spellings(cid):
            answer = node.get(where.replace("{cid}", name))
            assert (answer.status_code, answer.content) == (200, first.content), (where, name)
            assert answer.headers.get("ETag") == first.headers.get("ETag")
            assert cid in answer.headers.get("X-Ipfs-Roots", cid)
        for wrong in ("b", "zzz0", "Qm", "k", "f01", "%00", "b" * 600, cid + "a", cid[:-1] + "7"):
            assert node.get(where.replace("{cid}", wrong)).status_code in {400, 404, 422}, (where, wrong)


def test_an_absent_block_is_absent_in_every_spelling(museum):
    node, _ = museum
    absent = block_cid(DAG_PB, b"\x0a\x02\x08\x01nobody has this")
    for name in spellings("b" + multibase.encode(bytes(absent), "base32")[1:]):
        assert node.get(f"/ipfs/{name}?format=raw").status_code == 404


@pytest.mark.parametrize("name", NAMES)
def test_files_of_every_name_have_a_path_and_headers_of_plain_ascii(museum, name):
    node, cid = museum
    said = urllib.parse.quote(f"data/{name}")
    answer = node.get(f"/ipfs/{cid}/{said}?format=car")
    assert answer.status_code == 200
    assert answer.headers["Ipfs-Uri"] == f"ipfs://{cid}/{said}"
    is_plain = name.isascii() and name.isprintable()
    assert answer.headers.get("X-Ipfs-Path") == (f"/ipfs/{cid}/data/{name}" if is_plain else None)
    roots = answer.headers["X-Ipfs-Roots"].split(",")
    assert roots[0] == cid
    assert len(set(roots)) == 3
    for key, value in answer.headers.items():
        assert (key + value).isascii()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("foobar.bin", 'filename="foobar.bin"'),
        ("łódź.bin", "filename=\"__d_.bin\"; filename*=UTF-8''%C5%82%C3%B3d%C5%BA.bin"),
        ('a"b\\c/d', "filename=\"a_b_c_d\"; filename*=UTF-8''a%22b%5Cc%2Fd"),
        ("x\r\nSet-Cookie: y", "filename=\"x__Set-Cookie: y\"; filename*=UTF-8''x%0D%0ASet-Cookie%3A%20y"),
    ],
)
@pytest.mark.parametrize("form", ["raw", "car"])
def test_a_file_name_that_is_asked_for_is_given(museum, asked, said, form):
    node, cid = museum
    answer = node.get(f"/ipfs/{cid}?format={form}&filename={urllib.parse.quote(asked)}")
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f"attachment; {said}"
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([RAW], RAW),
        ([CAR], CAR),
        ([f"{CAR}, {RAW}"], CAR),
        ([f"{RAW}, {CAR}"], RAW),
        ([f"{CAR}, {RAW};q=0"], CAR),
        ([f"{RAW};q=0.1, {CAR};q=0.2"], CAR),
        ([f"{RAW};q=0.1, */*"], RAW),
        (["text/html", CAR], CAR),
        (["text/html, */*;q=0.8", f"{RAW};q=0.3"], RAW),
        ([f'{CAR}; version="1"; order="dfs"'], CAR),
        ([f"{CAR};VERSION=1 ; Order=dfs;dups=n"], CAR),
        ([f"{CAR};version=2, {CAR};version=1"], CAR),
        ([f"{CAR};version=2, {RAW};q=0.1"], RAW),
        ([f'text/x;a="{RAW}, {RAW}", {CAR}'], CAR),
        ([f"{CAR};version=2"], 406),
        ([f"{CAR};order=bfs"], 406),
        ([f"{RAW};q=0"], 406),
        (["text/html"], 406),
        (["*/*"], 400),
        ([], 400),
        ([";;,,;q="], 406),
        (["?" * 100], 406),
    ],
)
def test_what_a_client_likes_best_is_given(museum, lines, found):
    node, cid = museum
    with contextlib.closing(http.client.HTTPConnection(node.host, node.port, timeout=60)) as connection:
        connection.putrequest("GET", f"/ipfs/{cid}")
        for line in lines:
            connection.putheader("Accept", line)
        connection.endheaders()
        answer = connection.getresponse()
    assert found == (answer.headers.get_content_type() if answer.status == 200 else answer.status)
    if answer.status == 200:
        assert answer.headers["Vary"] == "Accept"  # a cache keeps both apart


def test_pages_of_other_origins_may_ask(museum):
    node, cid = museum
    answer = requests.options(f"{node.url}/ipfs/{cid}/data/plain.txt", timeout=60)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS"
    shown = node.get(f"/ipfs/{cid}?format=raw").headers
    exposed = {name.strip() for name in shown["Access-Control-Expose-Headers"].split(",")}
    assert exposed >= {"Ipfs-Uri", "X-Ipfs-Roots", "ETag"}


@pytest.mark.parametrize("weight", ["", "nan", "x", "1e9", "-1", '"0.5"', "0,5"])
def test_weights_that_are_none_keep_the_type_or_leave_it_out(weight):
    assert all(0 < one.weight <= 1 for one in parse_accept([f"a/b;q={weight}"]))


@pytest.mark.parametrize(
    "request_of",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n",
        b"GARBAGE\r\n",
        b"GET / HTTP/9\r\n",
    ],
)
def test_no_answer_names_releases(museum, request_of):
    node, _ = museum
    head = node.raw(request_of + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")[0].lower()
    assert b"server: heritage-ledger\r\n" in head + b"\r\n"
    assert b"aiohttp" not in head
    assert b"python" not in head
