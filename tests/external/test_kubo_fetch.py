"""A stock Kubo with our node as its delegated router fetches a package from our gateway, by CID alone."""

import json
import urllib.request

import pytest

from heritage_testkit.kubo import Kubo
from heritage_testkit.nodes import Institution

pytestmark = pytest.mark.external


def test_kubo_fetches_a_package_from_our_gateway(tmp_path):
    museum = Institution.make(tmp_path, "museum")
    folder = tmp_path / "scans"
    (folder / "pages").mkdir(parents=True)
    (folder / "master.tif").write_bytes(bytes(at % 251 for at in range(3_000_000)))
    for at in range(300):
        (folder / "pages" / f"{at}.txt").write_text(f"page {at}")
    receipt = museum.run("ingest", folder, "--asset", "urn:example:1")[-1]
    daemon = Kubo(tmp_path / "kubo")
    try:
        museum.start()
        daemon.init()
        daemon.run("config", "Routing.Type", "delegated")
        daemon.run("config", "--json", "Routing.DelegatedRouters", json.dumps([museum.url]))
        daemon.start()
        daemon.run("pin", "add", "--progress=false", receipt["package_cid"])
        daemon.run("get", "-o", str(tmp_path / "copy"), receipt["package_cid"])
        assert museum.run("verify", "--bag", tmp_path / "copy")[0]["outcome"] == "pass"
        assert (tmp_path / "copy" / "data" / "master.tif").read_bytes() == (
            folder / "master.tif"
        ).read_bytes()
        daemon.run("pin", "rm", receipt["package_cid"])
        daemon.run("repo", "gc", "--quiet")
        car = tmp_path / "package.car"
        with urllib.request.urlopen(
            f"{museum.url}/ipfs/{receipt['package_cid']}?format=car", timeout=60
        ) as answer:
            car.write_bytes(answer.read())
        said = daemon.run("dag", "import", "--pin-roots=true", "--stats=true", str(car)).stdout
        assert f"Pinned root\t{receipt['package_cid']}\tsuccess" in said
        known = daemon.run("refs", "--recursive", "--unique", receipt["package_cid"]).stdout.split()
        assert len(known) > 300
    finally:
        daemon.stop()
        museum.stop()
