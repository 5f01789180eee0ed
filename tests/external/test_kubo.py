"""The Kubo engine against a real daemon: what it holds, what it notices, what it says."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from heritage_ledger.content.blocks import PackageKey, State
from heritage_ledger.content.cid import format_cid, make_cid, parse_cid
from heritage_ledger.content.http import parse_address
from heritage_ledger.content.kubo import MAX_NAME, KuboEngine, pin_name
from heritage_ledger.content.kubo_rpc import KuboRpc
from heritage_ledger.content.package import PackageGraph, read_package
from heritage_ledger.errors import (
    DiskProblem,
    EvidenceInvalid,
    EvidenceMissing,
    KeyProblem,
    OperationFailed,
    TemporaryFailure,
)
from heritage_ledger.progress import SILENT
from heritage_testkit.kubo import kubo

pytestmark = pytest.mark.external
ORIGIN = "museum.example/ledger/1"
KEY = PackageKey("urn:example:kubo", 1)
STRANGER = make_cid(0x55, bytes(32))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One daemon for the tests that do it no harm."""
    with kubo(tmp_path_factory.mktemp("kubo") / "repo") as daemon:
        yield daemon


@pytest.fixture
def daemon(tmp_path):
    """A daemon of its own for a test that harms it."""
    with kubo(tmp_path / "repo") as one:
        yield one


@pytest.fixture
def bag(tmp_path):
    """A folder with a large file, many small ones, an empty one and a name beyond ASCII."""
    root = tmp_path / "home" / "packages" / "bag"
    (root / "data" / "many").mkdir(parents=True)
    (root / "data" / "large.bin").write_bytes(os.urandom((5 << 20) + 17))
    for number in range(300):
        (root / "data" / "many" / f"{number}.txt").write_text(f"page {number}\n")
    (root / "data" / "Ä leer").write_bytes(b"")
    (root / "bagit.txt").write_text("BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    return root


@pytest.fixture
def graph(bag):
    with PackageGraph() as made:
        read_package(bag, made, SILENT)
        made.root = made.finish().cid
        yield made


def engine(daemon, bag, token=None):
    return KuboEngine(KuboRpc(parse_address(daemon.api), token), ORIGIN, bag.parents[1])


def add(one, graph):
    one.add_package(KEY, graph.root, "packages/bag", graph)
    return graph.root


def leaves(graph):
    return [row.cid for row in graph.files() if not row.leaves]


def test_a_package_is_held_under_our_address_and_kubo_reads_it(shared, bag, graph, tmp_path):
    with engine(shared, bag) as one:
        root = add(one, graph)
        assert one.is_pinned(root)
        assert [(pin.cid, pin.name) for pin in one.own_pins()] == [(format_cid(root), pin_name(ORIGIN, KEY))]
        assert list(one.damaged(root)) == []
        assert one.rpc.pin_verify(root) == []
        for cid in leaves(graph)[:3]:
            assert one.has(cid)
            assert one.state(cid) is State.OK
        shared.run("get", "--output", str(tmp_path / "out"), format_cid(root))
        assert subprocess.run(["diff", "-r", bag, tmp_path / "out"], check=False).returncode == 0
        # ours is the address that Kubo gives the same folder
        said = shared.run("add", "-r", "-Q", "--only-hash", "--hidden", str(bag)).stdout.strip()
        assert parse_cid(said) == root


def test_adding_again_and_renaming_change_the_name_alone(shared, bag, graph):
    with engine(shared, bag) as one:
        root = add(one, graph)
        add(one, graph)
        one.rename(PackageKey(KEY.asset, 2), root)
        assert [pin.name for pin in one.own_pins() if pin.cid == format_cid(root)] == [
            f"heritage-ledger:{ORIGIN} {KEY.asset} v2"
        ]
        one.remove_package(KEY, root)
        assert one.is_pinned(root), "the pin of another version is kept"
        one.remove_package(PackageKey(KEY.asset, 2), root)
        one.remove_package(PackageKey(KEY.asset, 2), root)
        assert not one.is_pinned(root)


def test_a_block_that_is_not_there_is_missing_at_once(shared, bag):
    with engine(shared, bag) as one:
        assert not one.has(STRANGER)
        assert one.state(STRANGER) is State.MISSING
        with pytest.raises(EvidenceMissing) as caught:
            one.get(STRANGER)
        assert caught.value.code == "block-missing"
        assert list(one.damaged(STRANGER)) == [(STRANGER, State.MISSING)]
        with pytest.raises(EvidenceMissing):
            one.rename(KEY, STRANGER)


def test_a_file_that_changed_is_refused_and_named(shared, bag, graph):
    with engine(shared, bag) as one:
        path = bag / "data" / "many" / "7.txt"
        path.write_text("page X\n")
        with pytest.raises(EvidenceInvalid) as caught:
            add(one, graph)
        assert (caught.value.code, caught.value.path) == ("block-damaged", "data/many/7.txt")


def test_damage_in_its_store_is_found_by_reading(daemon, bag, graph):
    with engine(daemon, bag) as one:
        root = add(one, graph)
        first, second = [path for path in daemon.block_files() if path.stat().st_size == 1 << 20][:2]
        data = bytearray(first.read_bytes())
        data[5] ^= 1
        first.chmod(0o644)
        first.write_bytes(data)
        second.unlink()
        assert sorted(state.value for _, state in one.damaged(root)) == ["changed", "missing"]
        # its own check sees nothing
        assert one.rpc.pin_verify(root) == []
        # the same call fills it again, once it has let go of what is damaged
        for cid, state in list(one.damaged(root)):
            if state is State.CHANGED:
                daemon.run("pin", "rm", format_cid(root))
                daemon.run("block", "rm", "--force", format_cid(cid))
        add(one, graph)
        assert list(one.damaged(root)) == []


def test_garbage_collected_behind_our_back(daemon, bag, graph):
    with engine(daemon, bag) as one:
        root = add(one, graph)
        daemon.run("pin", "rm", format_cid(root))
        daemon.run("repo", "gc", "--quiet")
        assert not one.is_pinned(root)
        assert list(one.damaged(root)) == [(root, State.MISSING)]
        add(one, graph)
        assert list(one.damaged(root)) == []


def test_a_lost_leaf_does_not_hang_a_pin(daemon, bag, graph, monkeypatch):
    monkeypatch.setattr("heritage_ledger.content.kubo_rpc.PIN_STILL_SECONDS", 1.0)
    with engine(daemon, bag) as one:
        root = add(one, graph)
        daemon.run("pin", "rm", format_cid(root))
        daemon.run("block", "rm", "--force", format_cid(leaves(graph)[0]))
        with pytest.raises(EvidenceMissing) as caught:
            one.rename(KEY, root)
        assert caught.value.code == "block-missing"


def test_a_daemon_that_is_down_and_comes_back(daemon, bag, graph):
    with engine(daemon, bag) as one:
        daemon.keep_port()
        daemon.stop()
        for call in (lambda: add(one, graph), lambda: one.get(STRANGER), lambda: list(one.own_pins())):
            with pytest.raises(TemporaryFailure) as caught:
                call()
            assert caught.value.code == "engine-unreachable"
        daemon.start()
        root = add(one, graph)
        assert list(one.damaged(root)) == []


def test_a_daemon_killed_in_the_middle_of_an_import(daemon, bag, graph):
    with engine(daemon, bag) as one:
        daemon.keep_port()

        class Killing:
            """The package, whose nodes kill the daemon on the way."""

            files = staticmethod(graph.files)

            @staticmethod
            def nodes():
                for number, node in enumerate(graph.nodes()):
                    yield node
                    if number == 1:
                        daemon.stop(9)

        with pytest.raises(TemporaryFailure) as caught:
            one.add_package(KEY, graph.root, "packages/bag", Killing())
        assert caught.value.code == "engine-unreachable"
        daemon.start()
        root = add(one, graph)
        assert list(one.damaged(root)) == []


def test_a_token_is_asked_for_and_a_wrong_one_is_said(daemon, bag, graph):
    daemon.keep_port()
    daemon.stop()
    rule = '{"node": {"AuthSecret": "bearer:right", "AllowedPaths": ["/api/v0"]}}'
    daemon.run("config", "--json", "API.Authorizations", rule)
    daemon.start()
    for token in (None, "wrong"):
        with engine(daemon, bag, token) as one:
            for call in (one.rpc.version, lambda one=one: list(one.own_pins())):
                with pytest.raises(KeyProblem) as caught:
                    call()
                assert caught.value.code == "engine-token"
                assert "wrong" not in str(caught.value)
    with engine(daemon, bag, "right") as one:
        root = add(one, graph)
        assert list(one.damaged(root)) == []


def test_a_full_disk_is_said(daemon, bag, graph):
    blocks, aside = daemon.folder / "blocks", daemon.folder / "aside"
    daemon.keep_port()
    daemon.stop()
    shutil.copytree(blocks, aside)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(blocks)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small disk here")
    shutil.copytree(aside, blocks, dirs_exist_ok=True)
    daemon.start()
    try:
        with engine(daemon, bag) as one:
            with pytest.raises(DiskProblem) as caught:
                add(one, graph)
            assert caught.value.code == "engine-disk-full"
            assert not one.is_pinned(graph.root)
    finally:
        daemon.stop()
        subprocess.run(["umount", str(blocks)], check=True)


def test_names_are_cut_where_kubo_would_refuse_them(shared, bag, graph):
    key = PackageKey("urn:example:" + "ä" * 200, 12)
    name = pin_name(ORIGIN, key)
    assert len(name.encode()) <= MAX_NAME
    assert name != pin_name(ORIGIN, PackageKey("urn:example:" + "ä" * 201, 12))
    with engine(shared, bag) as one:
        root = graph.root
        one.add_package(key, root, "packages/bag", graph)
        assert name in [pin.name for pin in one.own_pins()]
        one.remove_package(key, root)


def test_something_else_at_the_address(shared, bag):
    address = parse_address(f"{shared.url}/webui")
    with KuboRpc(address) as rpc, pytest.raises(OperationFailed) as caught:
        rpc.pin_name(STRANGER)
    assert caught.value.code in {"engine-answer", "engine-refused"}
