"""Three institutions as three real processes: witnessed, mirrored, replicated, damaged, repaired, forked."""

import http.client
import json
import os
import pty
import shutil
import signal
import subprocess
import urllib.error
import urllib.request

import pytest

from heritage_testkit.nodes import HERITAGE, Institution, federation, until

pytestmark = pytest.mark.xdist_group("federation")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    with federation(tmp_path_factory.mktemp("federation"), "museum", "archive", "library") as made:
        yield made


def deposit(one, tmp_path, number, *, size=2_500_000):
    folder = tmp_path / f"scan-{number}"
    (folder / "pages").mkdir(parents=True)
    (folder / "master.tif").write_bytes(bytes((at * 7 + number) % 251 for at in range(1000)) * (size // 1000))
    for at in range(5):
        (folder / "pages" / f"{at}.txt").write_text(f"page {at} of {number}")
    (folder / "empty").write_bytes(b"")
    return one.run("ingest", folder, "--asset", f"urn:example:{number}")[-1]


def fetch(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.status, dict(answer.headers), answer.read()


def refused(url, data=None, **headers):
    """Return the status with which a request is refused."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=30)
    caught.value.close()
    return caught.value.code


def types(one):
    return [line["types"][1] for line in one.run("events") if line["type"] == "event"]


def flip(path, at):
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_deposit_is_witnessed_and_mirrored_by_all(three, tmp_path):
    museum, archive, library = three
    receipt = deposit(museum, tmp_path, 1)
    until(lambda: museum.standing()["size"] > receipt["log_index"])
    assert len(museum.standing()["cosigned"]) == 4  # two institutions with two kinds of key
    for other in (archive, library):
        until(lambda other=other: other.mirrored(museum) > receipt["log_index"])
    checkpoint = (museum.home / "log" / "checkpoint").read_bytes()
    assert checkpoint.count(b"\n\xe2\x80\x94 ") == 6
    verdict = museum.run("verify", "--deep")[-1]
    assert verdict["outcome"] == "ok", verdict
    status, _, body = fetch(f"{archive.url}/mirrors/{museum.origin}/checkpoint")
    assert status == 200
    assert body.splitlines()[:2] == checkpoint.splitlines()[:2]


def test_pledged_package_is_replicated_then_repairs_the_original(three, tmp_path):
    museum, archive, _ = three
    receipt = deposit(museum, tmp_path, 2)
    archive.run("pledge", museum.origin, "--until", "2099-12-31", "--assets", "urn:example:2")
    replica = archive.replica(museum, receipt["package_cid"])
    until(lambda: "Replication" in types(archive))
    checked = archive.run("verify", "--bag", replica)
    cid = next(line["detail"] for line in checked if line["type"] == "stage" and line["name"] == "cid")
    assert cid == receipt["package_cid"]
    assert not any(path.stat().st_mode & 0o222 for path in replica.rglob("*") if path.is_file())

    bag = next((museum.home / "packages").glob("urn-example-2-*/1"))
    good = (bag / "data" / "master.tif").read_bytes()
    flip(bag / "data" / "master.tif", 1_500_000)
    (bag / "data" / "pages").chmod(0o700)
    (bag / "data" / "pages" / "3.txt").unlink()
    (bag / "data" / "pages" / "stranger.txt").write_text("not of this bag")
    museum.run("verify", "urn:example:2", ok=(3,))
    done = museum.run("repair", "urn:example:2")
    repaired = next(line for line in done if line["type"] == "repaired")
    assert sorted(repaired["files"]) == ["data/master.tif", "data/pages/3.txt"]
    assert repaired["fetched"] <= 2 << 20  # one piece of the large file, and the small one
    assert repaired["helpers"] == [archive.origin]
    assert (bag / "data" / "master.tif").read_bytes() == good
    quarantined = {path.name for path in (museum.home / "quarantine").rglob("*") if path.is_file()}
    assert {"master.tif", "stranger.txt"} <= quarantined
    assert museum.run("verify", "urn:example:2")[-1]["outcome"] == "ok"
    assert types(museum)[-1] == "Recovery"
    until(lambda: types(archive)[-1] == "Dissemination")
    assert done[-1] | {"damaged": 1, "lost": 0} == done[-1]
    until(lambda: museum.run("copies", "urn:example:2", ok=(0, 3))[0]["copies"] == 2)
    (held,) = (line for line in museum.run("copies", "urn:example:2") if line["type"] == "holders")
    assert [one["origin"] for one in held["holders"]] == [archive.origin]
    deposit(museum, tmp_path, 9, size=1000)
    assert museum.run("copies", "urn:example:9", ok=(3,))[-1]["few"] == 1
    assert museum.run("repair", "urn:example:2")[-1]["damaged"] == 0


def test_damaged_replica_is_repaired_from_its_owner(three, tmp_path):
    museum, _, library = three
    receipt = deposit(museum, tmp_path, 3)
    library.run("pledge", museum.origin, "--until", "2099-12-31", "--assets", "urn:example:3")
    replica = library.replica(museum, receipt["package_cid"])
    until(replica.is_dir)
    until(lambda: "Replication" in types(library))
    flip(replica / "manifest-sha512.txt", 10)
    done = library.run("repair", receipt["package_cid"])
    assert next(line for line in done if line["type"] == "repaired")["files"] == ["manifest-sha512.txt"]
    assert library.run("verify", "--bag", replica)[-1]["outcome"] in {"ok", "evidence missing", "not checked"}


def test_what_nobody_holds_is_named_by_file_and_range(three, tmp_path):
    museum, *_ = three
    deposit(museum, tmp_path, 4)
    bag = next((museum.home / "packages").glob("urn-example-4-*/1"))
    flip(bag / "data" / "master.tif", 2_200_000)
    before = (bag / "data" / "master.tif").read_bytes()
    lines = museum.run("repair", "urn:example:4", ok=(3,))
    lost = next(line for line in lines if line["type"] == "finding" and line["code"] == "repair-lost")
    assert (lost["path"], lost["found"]) == ("data/master.tif", "bytes 2097152 to 2499999")
    assert (bag / "data" / "master.tif").read_bytes() == before
    flip(bag / "data" / "master.tif", 2_200_000)


def test_gateway_gives_what_is_held_and_nothing_else(three, tmp_path):
    museum, *_ = three
    receipt = deposit(museum, tmp_path, 5)
    url = f"{museum.url}/ipfs/{receipt['package_cid']}"
    status, headers, block = fetch(f"{url}?format=raw")
    assert (status, headers["Content-Type"]) == (200, "application/vnd.ipld.raw")
    assert headers["Cache-Control"].endswith("immutable")
    _, headers, car = fetch(url, Accept="application/vnd.ipld.car")
    assert headers["Content-Type"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    assert block in car
    assert len(car) > 2_500_000
    _, _, part = fetch(f"{url}/data/master.tif?format=car&dag-scope=entity&entity-bytes=0:9")
    assert (1 << 20) < len(part) < (1 << 20) + 3_000
    _, _, empty = fetch(f"{museum.url}/ipfs/bafkqaaa?format=raw")
    assert empty == b""
    etag = headers["ETag"]
    absent = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
    for address, sent, expected in [
        (url, {}, 400),
        (url, {"Accept": "text/html"}, 406),
        (f"{url}?format=dag-json", {}, 406),
        (f"{museum.url}/ipfs/nonsense?format=raw", {}, 400),
        (f"{museum.url}/ipfs/{absent}?format=raw", {}, 404),
        (f"{museum.url}/ipfs/{absent}?format=raw", {"Cache-Control": "only-if-cached"}, 412),
        (f"{url}/data/nothing?format=car", {}, 404),
        (f"{url}?format=car", {"If-None-Match": etag}, 304),
        (f"{url}?format=raw", {"If-None-Match": f'"{receipt["package_cid"]}.raw"'}, 304),
        (f"{museum.url}/log/../state.db", {}, 404),
        (f"{museum.url}/log/tile/0/000.p/999", {}, 404),
        (f"{museum.url}/mirrors/nobody.example/ledger/1/checkpoint", {}, 404),
    ]:
        assert refused(address, **sent) == expected, address
    _, _, found = fetch(f"{museum.url}/routing/v1/providers/{receipt['package_cid']}")
    (provider,) = json.loads(found)["Providers"]
    assert provider["Addrs"] == [f"/ip4/127.0.0.1/tcp/{museum.url.rpartition(':')[2]}/http"]
    assert json.loads(fetch(f"{museum.url}/routing/v1/providers/{absent}")[2]) == {"Providers": []}


def test_mirrors_are_read_as_the_own_log_and_say_whose_word_it_is(three, tmp_path):
    museum, archive, _ = three
    receipt = deposit(museum, tmp_path, 7)
    until(lambda: archive.mirrored(museum) > receipt["log_index"])
    shown = archive.run("show", "urn:example:7")
    assert shown[0]["word_of"] == museum.origin
    assert shown[0]["packages"][0]["package_cid"] == receipt["package_cid"]
    listed = archive.run("list", "--peer", museum.origin)
    assert "urn:example:7" in {line.get("asset") for line in listed}
    assert "urn:example:7" not in {line.get("asset") for line in archive.run("list")}
    steps = [line for line in archive.run("trace", "urn:example:7") if line["type"] == "step"]
    assert [(step["signature"], step["inclusion"]) for step in steps] == [("pass", "pass")]
    assert archive.run("events", "--peer", museum.origin)[-1]["events"] > receipt["log_index"]
    archive.run("show", "urn:example:nowhere", ok=(5,))


def test_witnessed_proof_convinces_a_stranger_with_the_policy(three, tmp_path):
    museum, *_ = three
    deposit(museum, tmp_path, 8)
    until(lambda: museum.run("show", "urn:example:8")[0]["standing"] == "witnessed")
    proof, policy = tmp_path / "8.proof", museum.home / "policy"
    museum.run("prove", "urn:example:8", "-o", proof)
    stranger = Institution(tmp_path / "nowhere", "")
    lines = stranger.run("check", proof, "--log-key", museum.key(), "--policy", policy)
    stages = {line["name"]: line["outcome"] for line in lines if line["type"] == "stage"}
    assert stages["witnesses"] == "pass"
    document = json.loads(proof.read_text())
    own = [line for line in document["checkpoint"].split("\n") if "/witness " not in line]
    document["checkpoint"] = "\n".join(own)
    proof.write_text(json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    lines = stranger.run("check", proof, "--log-key", museum.key(), "--policy", policy, ok=(4,))
    assert "witness-quorum" in {line.get("code") for line in lines}
    assert stranger.run("check", proof, "--log-key", museum.key())[-1]["outcome"] == "ok"


def test_unsigned_requests_and_strangers_are_refused(three):
    museum, *_ = three
    for path in ("/api/v1/blocks", "/api/v1/notices", "/api/v1/sync"):
        assert refused(f"{museum.url}{path}", b"{}") == 401


def test_api_and_metrics_answer(three, tmp_path):
    museum, archive, _ = three
    receipt = deposit(museum, tmp_path, 6)
    document = json.loads(fetch(f"{museum.url}/api/v1/openapi.json")[2])
    assert document["openapi"] == "3.1.0"
    about = json.loads(fetch(f"{museum.url}/api/v1/node")[2])
    assert about["origin"] == museum.origin
    package = json.loads(fetch(f"{museum.url}/api/v1/packages/{receipt['package_cid']}")[2])
    assert package["witnessed"] in {"witnessed", "pending"}
    event = fetch(f"{museum.url}/api/v1/events/{receipt['log_index']}")[2]
    assert json.loads(event)["id"] == receipt["event_id"]
    proof = tmp_path / "p.proof"
    proof.write_bytes(fetch(f"{museum.url}/api/v1/proofs/{receipt['event_id']}")[2])
    assert archive.run("check", proof, "--log-key", museum.key())[-1]["outcome"] == "ok"
    page = json.loads(fetch(f"{museum.url}/api/v1/assets?limit=1")[2])["assets"]
    following = json.loads(fetch(f"{museum.url}/api/v1/assets?limit=1&after={page[0]['asset']}")[2])["assets"]
    assert page != following
    assert b"heritage_log_entries" in fetch(f"{museum.url}/metrics")[2]
    assert json.loads(fetch(f"{museum.url}/readyz")[2]) == {"status": "ready"}


def test_killed_nodes_lose_nothing_and_come_back(three, tmp_path):
    museum, archive, library = three
    for number in range(10, 14):
        archive.stop(signal.SIGKILL)
        receipt = deposit(museum, tmp_path, number, size=1000)
        archive.start()
        until(lambda receipt=receipt: archive.mirrored(museum) > receipt["log_index"])
    until(lambda: museum.standing()["size"] > receipt["log_index"])
    for one in (museum, archive, library):
        assert one.run("verify", "--deep")[-1]["outcome"] == "ok"
    assert archive.stop() == 0  # SIGTERM ends a node cleanly
    archive.start()


def test_forked_log_is_found_proved_spread_and_frozen(three, tmp_path):
    """The library's home is copied and both grow: one key set, two histories (Twins)."""
    museum, archive, library = three
    until(lambda: archive.mirrored(library) == museum.mirrored(library) == library.standing()["entries"])
    library.stop()
    clone = Institution(tmp_path / "clone", library.origin)
    shutil.copytree(library.home, clone.home)
    deposit(library, tmp_path, 20, size=1000)
    deposit(clone, tmp_path, 21, size=1000)
    library.start()
    until(lambda: archive.mirrored(library) == museum.mirrored(library) == library.standing()["entries"])
    library.stop()
    shutil.move(library.home, tmp_path / "first-branch")
    shutil.move(clone.home, library.home)
    library.start()
    for one in (archive, museum):
        (proof,) = until(lambda one=one: list((one.home / "forks").glob("*.fork.json")))
    assert museum.run("check", proof, "--log-key", library.key(), ok=(7,))[-1]["outcome"] == "forked"
    museum.run("check", proof, "--log-key", museum.key(), ok=(4,))
    assert archive.status()[-1]["exit_code"] == 3
    # both histories stay readable: the mirror, and the other one under the name of the proof
    name = proof.name.removesuffix(".fork.json")
    until((museum.home / "forks" / name / "index.db").exists)
    for which, there, elsewhere in ((library.origin, 20, 21), (name, 21, 20)):
        assets = {line["asset"] for line in museum.run("list", "--peer", which) if line["type"] == "asset"}
        assert f"urn:example:{there}" in assets
        assert f"urn:example:{elsewhere}" not in assets
    trace = museum.run("trace", "urn:example:21", "--peer", name)
    assert trace[-1]["outcome"] == "ok", trace
    (shown,) = [line for line in museum.status(library.origin) if line["type"] == "peer"]
    assert [fork["is_readable"] for fork in shown["forks"]] == [True]
    before = archive.mirrored(library)
    archive.run("peer", "sync", ok=(3,))
    assert archive.mirrored(library) == before  # nothing more is taken of a log that forked
    assert library.standing()["size"] < library.standing()["entries"]  # and nothing of it is cosigned


def test_lost_disk_is_restored_from_the_others_and_an_old_copy_never_forks(tmp_path):
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, library):
        receipts = [deposit(museum, tmp_path, 1), deposit(museum, tmp_path, 2, size=300_000)]
        archive.run("pledge", museum.origin, "--until", "2099-12-31")
        until(lambda: types(archive).count("Replication") == 2)
        until(lambda: museum.standing()["size"] == 3)
        until(lambda: library.mirrored(museum) == 3)
        museum.stop()
        # an old backup, which does not know of a third deposit
        backup = tmp_path / "backup"
        shutil.copytree(museum.home, backup)
        museum.start()
        third = deposit(museum, tmp_path, 3, size=1000)
        until(lambda: museum.standing()["size"] == 4)
        until(lambda: archive.mirrored(museum) == library.mirrored(museum) == 4)
        until(lambda: types(archive).count("Replication") == 3)
        museum.stop()

        old = Institution(backup, museum.origin)
        for one in (archive, library):
            one.stop()
        refusal = old.run("ingest", tmp_path / "scan-3", "--asset", "urn:example:4", ok=(6,))
        assert refusal[-1]["code"] == "witnesses-silent"
        assert old.run("list")[-1]["assets"] == 2
        for one in (archive, library):
            one.start()
        fourth = old.run("ingest", tmp_path / "scan-3", "--asset", "urn:example:4")[-1]
        assert fourth["log_index"] == third["log_index"] + 1  # the third came back before the fourth
        shutil.rmtree(backup)

        lost = museum.home
        kept = tmp_path / "kept-elsewhere"
        kept.mkdir()
        for name in ("keys", "peers"):
            shutil.copytree(lost / name, kept / name)
        for name in ("heritage.toml", "policy"):
            shutil.copy(lost / name, kept / name)
        shutil.rmtree(lost)
        restored = Institution(kept, museum.origin)
        lines = restored.run("restore")
        assert lines[-1] | {"size": 4, "packages": 3, "lost": 0} == lines[-1]
        assert restored.run("verify", "--deep")[-1]["outcome"] == "ok"
        assert {line["package_cid"] for line in restored.run("list") if line["type"] == "asset"} == {
            receipt["package_cid"] for receipt in (*receipts, third)
        }
        assert restored.run("restore", ok=(2,))[-1]["code"] == "restore-not-empty"


def test_the_demonstration_of_a_federation_comes_out_as_told(tmp_path):
    lines = Institution(tmp_path / "unused", "").run("demo", "--federation")
    told = [line["text"] for line in lines if line["type"] == "told"]
    assert lines[-1]["outcome"] == "ok"
    assert any(text.startswith("witnesses pass") for text in told)


def test_node_of_an_old_copy_learns_it_from_a_witness_and_catches_up(tmp_path):
    with federation(tmp_path, "museum", "archive", "library") as (museum, archive, _):
        deposit(museum, tmp_path, 1, size=1000)
        until(lambda: museum.standing()["size"] == 2)
        museum.stop()
        clone = Institution(tmp_path / "clone", museum.origin, url=museum.url)
        shutil.copytree(museum.home, clone.home)
        museum.start()
        deposit(museum, tmp_path, 2, size=1000)
        until(lambda: museum.standing()["size"] == archive.mirrored(museum) == 3)
        museum.stop()
        (clone.home / "log" / "witnessed").unlink(missing_ok=True)
        clone.start()
        try:  # it appends nothing of its own: its checkpoint is refused, and the tail comes from a mirror
            until(lambda: clone.standing()["entries"] == 3)
            until(lambda: not (clone.home / ".behind").exists())
            third = deposit(clone, tmp_path, 3, size=1000)
            assert third["log_index"] == 3
            until(lambda: clone.standing()["size"] == 4)
        finally:
            clone.stop(signal.SIGKILL)


def test_node_mends_by_itself_what_it_finds_damaged(tmp_path):
    with federation(tmp_path, "museum", "archive") as (museum, archive):
        receipt = deposit(museum, tmp_path, 1)
        archive.run("pledge", museum.origin, "--until", "2099-12-31")
        replica = archive.replica(museum, receipt["package_cid"])
        until(replica.is_dir)
        until(lambda: "Replication" in types(archive))
        # a check that is due: the replica lies damaged, nobody asks for it
        flip(replica / "data" / "pages" / "3.txt", 2)
        archive.stop()
        noted = archive.home / "checked" / receipt["package_cid"]
        noted.parent.mkdir(exist_ok=True)
        noted.touch()
        long_ago = noted.stat().st_mtime - 40 * 86_400
        os.utime(noted, (long_ago, long_ago))
        archive.start()
        until(lambda: (replica / "data" / "pages" / "3.txt").read_text() == "page 3 of 1")
        until(lambda: "Recovery" in types(archive))
        # a block that was asked for and is damaged: refused, and mended
        master = next((museum.home / "packages").rglob("master.tif"))
        whole = master.read_bytes()
        flip(master, 1_500_000)
        url = f"{museum.url}/ipfs/{receipt['package_cid']}?format=car"
        with pytest.raises((urllib.error.URLError, http.client.HTTPException, OSError)):
            fetch(url)
        until(lambda: master.read_bytes() == whole)
        until(lambda: types(museum).count("Recovery") == 1)
        assert fetch(url)[0] == 200
        assert museum.run("verify", "--deep")[-1]["outcome"] == "ok"


@pytest.mark.parametrize(("said", "code", "trusted"), [("n", 130, 0), ("y", 0, 1)])
def test_peer_add_asks_a_person_before_it_trusts(three, tmp_path, said, code, trusted):
    museum, *_ = three
    visitor = Institution.make(tmp_path, "visitor")
    controller, terminal = pty.openpty()
    with subprocess.Popen(
        [HERITAGE, "--home", visitor.home, "peer", "add", museum.url],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        os.close(terminal)
        os.write(controller, said.encode() + b"\n")
        shown, asked = process.communicate(timeout=60)
        os.close(controller)
    assert process.returncode == code, asked
    for line in (museum.key(), museum.origin, "genesis", "Museum of Examples"):
        assert line in shown
    assert "compare a log key with what the institution says by another way" in asked
    assert "Trust this institution? [y/N]" in asked
    assert visitor.run("peer", "list")[-1]["peers"] == trusted


def test_two_repairs_of_one_package_do_not_meet(tmp_path):
    with federation(tmp_path, "museum", "archive") as (museum, archive):
        receipt = deposit(museum, tmp_path, 1)
        archive.run("pledge", museum.origin, "--until", "2099-12-31")
        until(lambda: "Replication" in types(archive))
        museum.stop()
        master = next((museum.home / "packages").rglob("master.tif"))
        whole = master.read_bytes()
        for at in range(3):
            flip(master, 700_000 * at + 9)
            flip(next((museum.home / "packages").rglob("4.txt")), at)
            words = [HERITAGE, "--home", museum.home, "--json", "repair"]
            running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(3)]
            verdicts = [json.loads(one.communicate(timeout=100)[0].splitlines()[-1]) for one in running]
            assert [one["outcome"] for one in verdicts] == ["ok"] * 3
            assert sorted(one["damaged"] for one in verdicts) == [0, 0, 1]  # mended once, and recorded once
            assert master.read_bytes() == whole
        assert types(museum).count("Recovery") == 3
        assert museum.run("verify", "--deep", receipt["asset"])[-1]["outcome"] == "ok"
