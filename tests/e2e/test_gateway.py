"""The trustless gateway of a node, by the specification: which blocks, in which order, with which headers."""

import os
import urllib.error
import urllib.request

import pytest

from heritage_ledger.content.car import open_car
from heritage_ledger.content.cid import DAG_PB, codec_of, format_cid, parse_cid
from heritage_ledger.content.dagpb import parse_node
from heritage_testkit.nodes import Institution

MIB = 1 << 20
CAR = "application/vnd.ipld.car"


@pytest.fixture(scope="module")
def museum(tmp_path_factory):
    """A node with one package: a file of 5 leaves, the same leaf twice, a folder that is sharded."""
    folder = tmp_path_factory.mktemp("gateway")
    one = Institution.make(folder, "museum")
    source = folder / "source"
    (source / "many").mkdir(parents=True)
    (source / "large.bin").write_bytes(os.urandom(4 * MIB + 100))
    (source / "twice.bin").write_bytes(b"same" * (MIB // 2))
    (source / "empty").write_bytes(b"")
    for number in range(3_000):
        (source / "many" / f"{number:06}-{'x' * 60}.txt").write_text(f"{number}")
    receipt = one.run("ingest", source, "--asset", "urn:example:1")[-1]
    one.start()
    yield one, receipt["package_cid"]
    one.stop()


@pytest.fixture
def get(museum):
    one, root = museum

    def ask(path="", *, method="GET", cid=root, **headers):
        address = f"{one.url}/ipfs/{cid}{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(address, headers=sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    return ask


@pytest.fixture
def car(get):
    """The blocks of a CAR by CID, in their order; each was hashed."""

    def ask(path="", query="", **headers):
        status, said, body = get(f"{path}?format=car{query}", **headers)
        assert status == 200, body
        assert said["Content-Type"] == f"{CAR}; version=1; order=dfs; dups=n"
        view = memoryview(body)
        at = 0

        def read(size):
            nonlocal at
            data = bytes(view[at : at + size])
            at += len(data)
            return data

        opened = open_car(read)
        blocks = list(opened.blocks)
        assert len(dict(blocks)) == len(blocks)  # dups=n
        return dict(blocks)

    return ask


def links(block):
    return {(link.name or b"").decode(): link.cid for link in parse_node(block).links}


@pytest.fixture
def tree(car, museum):
    """What stands in the package, by one CAR of it all."""
    blocks = car()
    root = parse_cid(museum[1])
    data = links(blocks[root])["data"]
    return blocks, root, data, links(blocks[data])


def test_the_whole_of_it_comes_depth_first(tree):
    blocks, root, *_ = tree
    order = []
    seen = set()
    todo = [root]
    while todo:
        cid = todo.pop()
        if cid not in seen:
            seen.add(cid)
            order.append(cid)
            if codec_of(cid) == DAG_PB:
                todo += [link.cid for link in reversed(parse_node(blocks[cid]).links)]
    assert list(blocks) == order
    assert len(blocks) > 3_000


def test_scopes(tree, car):
    blocks, root, data, names = tree
    large, many = names["large.bin"], names["many"]
    way = [root, data]
    assert list(car("", "&dag-scope=block")) == [root]
    assert list(car("/data", "&dag-scope=block")) == way
    assert list(car("/data/large.bin", "&dag-scope=block")) == [*way, large]
    leaves = list(links_of(blocks, large))
    assert list(car("/data/large.bin", "&dag-scope=entity")) == [*way, large, *leaves]
    assert list(car("/data/large.bin")) == [*way, large, *leaves]
    assert list(car("/data", "&dag-scope=entity")) == way  # to list it, not what is in it
    shards = list(dfs_nodes(blocks, many))
    assert len(shards) > 100
    assert set(car("/data/many", "&dag-scope=entity")) == {*way, *shards}
    name = f"{17:06}-{'x' * 60}.txt"
    found = car(f"/data/many/{name}")
    assert list(found.values())[-1] == b"17"
    assert 4 <= len(found) < 8  # the shards on the way, and no more


def links_of(blocks, cid):
    return [link.cid for link in parse_node(blocks[cid]).links]


def dfs_nodes(blocks, root):
    todo = [root]
    while todo:
        cid = todo.pop()
        yield cid
        todo += [link for link in links_of(blocks, cid) if codec_of(link) == DAG_PB]


LARGE = 4 * MIB + 100
SPANS = {
    "0:*": (0, 1, 2, 3, 4),
    "0:9": (0,),
    f"0:{MIB - 1}": (0,),
    f"0:{MIB}": (0, 1),
    f"{MIB}:{MIB}": (1,),
    f"{2 * MIB}:*": (2, 3, 4),
    "-100:*": (4,),
    "-101:*": (3, 4),
    f"-{LARGE}:9": (0,),
    "-99999999:9": (0,),
    f"{3 * MIB}:-101": (3,),
    f"{3 * MIB}:-1": (3, 4),
    f"{4 * MIB}:99999999999": (4,),
    f"{LARGE - 1}:*": (4,),
    "5:4": (),
    f"0:-{LARGE + 5}": (),
}


@pytest.mark.parametrize("span", SPANS)
def test_bytes_of_a_file(tree, car, span):
    blocks, root, data, names = tree
    leaves = links_of(blocks, names["large.bin"])
    found = list(car("/data/large.bin", f"&entity-bytes={span}"))
    assert found == [root, data, names["large.bin"], *(leaves[at] for at in SPANS[span])]
    # it implies the entity, and is nothing for a folder
    assert list(car("/data/large.bin", f"&entity-bytes={span}&dag-scope=all")) == found
    assert list(car("/data", f"&entity-bytes={span}")) == [root, data]


@pytest.mark.parametrize(
    "span", ["", "5", ":5", "5:", "*:5", "a:b", "+1:2", "1_0:20", "0:0x5", " 0:5", f"{LARGE}:*"]
)
def test_bytes_that_are_none(get, span):
    span = span.replace(" ", "%20").replace("+", "%2B")
    assert get(f"/data/large.bin?format=car&entity-bytes={span}")[0] == 400


def test_a_file_with_one_leaf_twice_has_it_once(tree, car):
    blocks, _, _, names = tree
    assert len(links_of(blocks, names["twice.bin"])) == 2
    assert len(car("/data/twice.bin", "&dag-scope=entity")) == 4
    assert list(car("/data/empty").values())[-1] == b""


@pytest.mark.parametrize(
    ("query", "accept", "status"),
    [
        ("?format=car&car-order=dfs&car-dups=n&car-version=1", None, 200),
        ("?format=car&car-order=unk", None, 200),
        ("?format=car&car-dups=y", None, 406),
        ("?format=car&car-order=bfs", None, 406),
        ("?format=car&car-version=2", None, 406),
        ("", f"{CAR}", 200),
        ("", f"{CAR}; version=1; order=dfs; dups=n", 200),
        ("", f"{CAR}; order=dfs; dups=y", 406),
        ("", f"{CAR}; version=2", 406),
        ("", f"{CAR};order=foo, {CAR};order=dfs;dups=n;q=0.5", 200),
        ("?car-dups=n", f"{CAR}; dups=y", 200),
        ("?format=raw", CAR, 200),
        ("?format=ipns-record", None, 406),
        ("", "application/vnd.ipld.dag-json", 406),
        ("", "*/*", 400),
        ("?format=car&dag-scope=some", None, 400),
    ],
)
def test_what_may_be_asked_for(get, query, accept, status):
    said = get(
        f"/data/empty{query}" if "raw" not in query else query, **({"Accept": accept} if accept else {})
    )
    assert said[0] == status


def test_headers(get, museum):
    root = museum[1]
    status, raw, block = get("?format=raw")
    assert (status, raw["Content-Type"], raw["Content-Length"]) == (
        200,
        "application/vnd.ipld.raw",
        str(len(block)),
    )
    assert raw["Content-Disposition"] == f'attachment; filename="{root}.bin"'
    assert raw["Etag" if "Etag" in raw else "ETag"] == f'"{root}.raw"'
    status, head, body = get("?format=raw", method="HEAD")
    assert (status, body, head["Content-Length"]) == (200, b"", str(len(block)))
    _, named, _ = get("/data/empty?format=car")
    _, accepted, _ = get("/data/empty?dag-scope=block", Accept=CAR)
    assert named["Content-Disposition"] == f'attachment; filename="{root}.car"'
    assert (named["Accept-Ranges"], named["X-Content-Type-Options"]) == ("none", "nosniff")
    assert named["Cache-Control"] == "public, max-age=29030400, immutable"
    assert "Content-Location" not in named
    assert accepted["Content-Location"] == f"/ipfs/{root}/data/empty?dag-scope=block&format=car"
    tags = {get(f"/data/large.bin?format=car{query}", method="HEAD")[1]["ETag"] for query in (
        "", "&dag-scope=block", "&dag-scope=entity", "&entity-bytes=0:9", "&entity-bytes=0:8")}  # fmt: skip
    assert len(tags) == 5
    for tag in tags:
        assert tag.startswith('W/"')
    status, _, body = get("?format=raw", If_None_Match=f'"other", "{root}.raw"')
    assert (status, body) == (304, b"")
    assert get("?format=raw", If_None_Match="*")[0] == 304
    assert get("?format=raw", If_None_Match='"other"')[0] == 200


def test_probes(get):
    assert get("?format=raw", cid="bafkqaaa")[::2] == (200, b"")
    status, headers, body = get("?format=car", cid="bafkqaaa")
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, CAR)
    assert body.endswith(b"\x67version\x01")
    assert b"\x01\x55\x00\x00" in body
    assert get("?format=car", cid="bafkqaaa", method="HEAD")[0] == 200
    other = format_cid(parse_cid("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"))
    for method in ("GET", "HEAD"):
        for form in ("raw", "car"):
            assert get(f"?format={form}", cid=other, method=method)[0] == 404
            assert get(f"?format={form}", cid=other, method=method, Cache_Control="only-if-cached")[0] == 412
    assert get("?format=raw", cid="bafkreinonsense")[0] == 400
    assert get("/data/empty?format=raw")[0] == 400
    assert get("/data/nothing?format=car")[0] == 404
    assert get("/data/empty/below?format=car")[0] == 404
