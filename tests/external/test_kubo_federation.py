"""Institutions with Kubo and without: each replicates from and repairs with the others, in any mix."""

import os

import pytest

from heritage_testkit.kubo import kubo
from heritage_testkit.nodes import federation, until

pytestmark = [pytest.mark.external, pytest.mark.xdist_group("federation")]
COLD = "\n[storage.cold]\nkeep_bag = false\n"


def use_kubo(one, daemon):
    path = one.home / "heritage.toml"
    text = path.read_text().partition("\n[node]")
    engine = f'\n[content]\nengine = "kubo"\nkubo_api = "{daemon.api}"\n{COLD}'
    path.write_text(text[0] + engine + text[1] + text[2])


def deposit(one, tmp_path, name, *words):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "master.tif").write_bytes(os.urandom(4_500_000))
    for at in range(30):
        (folder / f"{at}.txt").write_text(f"page {at} of {name}")
    return one.run("ingest", folder, "--asset", f"urn:example:{name}", *words)[-1]


def large_blocks(daemon):
    return [path for path in daemon.block_files() if path.stat().st_size == 1 << 20]


def test_any_mix_of_engines_replicates_and_repairs(tmp_path):
    with (
        kubo(tmp_path / "kubo-1") as first,
        kubo(tmp_path / "kubo-2") as second,
        federation(tmp_path, "museum", "archive", "library") as (museum, archive, library),
    ):
        for one, daemon in ((museum, first), (library, second)):
            one.stop()
            use_kubo(one, daemon)
            one.start()
        for one, sources in ((museum, [archive]), (archive, [museum]), (library, [museum])):
            for source in sources:
                one.run("pledge", source.origin, "--until", "2099-12-31")
        # the museum's bag is given up: only its Kubo holds the bytes
        cold = deposit(museum, tmp_path, "cold", "--storage-class", "cold")
        assert not (museum.home / cold["bag_path"]).is_dir()
        embedded = deposit(archive, tmp_path, "embedded")
        until(archive.replica(museum, cold["package_cid"]).is_dir)
        until(library.replica(museum, cold["package_cid"]).is_dir)
        until(museum.replica(archive, embedded["package_cid"]).is_dir)
        for one, source, receipt in (
            (archive, museum, cold),
            (library, museum, cold),
            (museum, archive, embedded),
        ):
            verdict = one.run("verify", "--bag", one.replica(source, receipt["package_cid"]))[-1]
            assert verdict["outcome"] == "ok"

        # blocks of the museum's Kubo change and vanish; the others give them back
        museum.stop()  # or its node would see to it by itself
        changed, missing = large_blocks(first)[:2]
        data = bytearray(changed.read_bytes())
        data[7] ^= 1
        changed.chmod(0o644)
        changed.write_bytes(data)
        missing.unlink()
        museum.run("verify", "urn:example:cold", ok=(3,))
        (repaired,) = [line for line in museum.run("repair") if line["type"] == "repaired"]
        assert (repaired["blocks"], repaired["files"]) == (2, ["data/master.tif"])
        assert repaired["fetched"] == 2 << 20
        assert museum.run("verify", "urn:example:cold")[-1]["outcome"] == "ok"
        assert museum.run("engine", "status")[-1]["outcome"] == "ok"
        museum.start()

        # and what the embedded archive lost comes from a museum that runs Kubo
        archive.stop()
        master = next((archive.home / "packages").rglob("master.tif"))
        master.chmod(0o600)
        master.write_bytes(master.read_bytes()[:-9])
        ended = archive.run("repair")[-1]
        assert (ended["damaged"], ended["lost"]) == (1, 0)
        assert archive.run("verify", "--deep")[-1]["outcome"] == "ok"
