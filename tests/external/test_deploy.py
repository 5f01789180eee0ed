"""What `node/deploy` gives to institutions: a Kubo closed off by its script, settings that are settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import KeyProblem
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.settings import parse_settings
from heritage_testkit.kubo import Kubo, environment, programs
from heritage_testkit.outside import PROJECT

DEPLOY = PROJECT / "node" / "deploy"
TOKEN = "0123456789abcdef"


def close_off(folder, **more: str) -> subprocess.CompletedProcess[str]:
    path = f"{programs('kubo')}:{os.environ['PATH']}"
    return subprocess.run(
        [DEPLOY / "kubo" / "001-private.sh"],
        env=environment(IPFS_PATH=str(folder), PATH=path, **more),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture
def closed(tmp_path):
    """A stock repository, made as the image makes it, closed off, and its daemon."""
    daemon = Kubo(tmp_path / "repo")
    daemon.run("init", "--profile=server")
    done = close_off(daemon.folder, KUBO_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    for name in ("API", "Gateway"):
        daemon.run("config", f"Addresses.{name}", "/ip4/127.0.0.1/tcp/0")
    daemon.run("config", "--json", "Addresses.Swarm", '["/ip4/127.0.0.1/tcp/0"]')
    yield daemon
    daemon.stop()


@pytest.mark.external
def test_a_closed_kubo_serves_a_ledger_and_nobody_else(closed, tmp_path, monkeypatch):
    monkeypatch.setenv("LIBP2P_FORCE_PNET", "1")
    closed.start()
    log = (closed.folder / "daemon.log").read_text()
    assert "Swarm is limited to private network" in log
    home = tmp_path / "home"
    Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None).close()
    settings = home / "heritage.toml"
    content = (DEPLOY / "content.toml").read_text()
    content = content.replace("/dns4/kubo/tcp/5001", closed.api).replace(
        "file:/run/secrets/kubo-token", "env:T"
    )
    settings.write_text(settings.read_text() + content)
    monkeypatch.setenv("T", TOKEN)
    (tmp_path / "scan.tif").write_bytes(bytes(2_000_000))
    with Ledger.open(home) as ledger:
        ledger.engines.move("kubo")
    with Ledger.open(home) as ledger:
        receipt = ledger.ingest(tmp_path / "scan.tif", asset="urn:example:scan", storage_class="cold")
        assert receipt.released
        assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS]
    monkeypatch.setenv("T", "guessed")
    with Ledger.open(home) as ledger, pytest.raises(KeyProblem) as error:
        ledger.engines.status()
    assert error.value.code == "engine-token"


@pytest.mark.external
def test_the_script_says_nothing_to_the_world_and_can_be_run_again(closed):
    key = (closed.folder / "swarm.key").read_text()
    assert re.fullmatch(r"/key/swarm/psk/1\.0\.0/\n/base16/\n[0-9a-f]{64}\n", key)
    assert close_off(closed.folder, KUBO_TOKEN=TOKEN).returncode == 0
    assert (closed.folder / "swarm.key").read_text() == key
    config = json.loads((closed.folder / "config").read_text())
    assert config["Bootstrap"] in (None, [])
    assert config["Routing"]["Type"] == "none"
    assert config["Provide"]["Enabled"] is False
    assert config["AutoConf"]["Enabled"] is False
    assert config["Gateway"]["NoFetch"] is True
    shared = closed.folder.parent / "shared.key"
    shared.write_text(key.replace(key[-5], "0"))
    assert close_off(closed.folder, SWARM_KEY_FILE=str(shared)).returncode == 0
    assert (closed.folder / "swarm.key").read_bytes() == shared.read_bytes()
    assert close_off(closed.folder, KUBO_TOKEN='x"}').returncode == 1


def test_the_compose_file_names_the_kubo_that_is_tested():
    text = (DEPLOY / "compose.yaml").read_text()
    module = (PROJECT / "tests" / "external" / "kubo" / "go.mod").read_text()
    tested = re.findall(r"github\.com/ipfs/kubo (v\S+)", module)[0]
    assert f"image: ipfs/kubo:{tested}\n" in text
    for name in re.findall(r"\./([\w.]+)(?=:)", text):
        assert (DEPLOY / name).exists(), name


def test_the_settings_are_settings():
    ledger = '[ledger]\ninstitution = "Museum"\norigin = "museum.example/ledger/1"\n'
    settings = parse_settings((ledger + (DEPLOY / "content.toml").read_text()).encode())
    assert settings.content.kubo_api == "/dns4/kubo/tcp/5001"
    assert settings.keeps_bag("default")


def test_the_entrypoint_hands_the_passphrase_over(tmp_path):
    (tmp_path / "heritage").write_text('#!/bin/sh\necho "$HERITAGE_PASSPHRASE|$*"\n')
    (tmp_path / "heritage").chmod(0o755)
    (tmp_path / "word").write_text("a secret\n")
    done = subprocess.run(
        [DEPLOY / "entrypoint.sh", "list", "a b"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HERITAGE_PASSPHRASE_FILE": str(tmp_path / "word")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "a secret|list a b\n"


UNIT = DEPLOY / "heritage-node.service"


def systemd_analyze(*words):
    program = shutil.which("systemd-analyze")
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("required in CI: systemd-analyze, of the package systemd")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


def test_the_unit_is_one_and_closes_what_a_node_does_not_need(tmp_path):
    """An exposure of 3.0 is the most that is let pass; without a running systemd the file alone is judged."""
    judged = systemd_analyze("security", "--offline=true", "--threshold=30", "--no-pager", str(UNIT))
    assert judged.returncode == 0, judged.stdout[-300:]
    program = tmp_path / "heritage"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/heritage-ledger/bin/heritage", str(program)))
    found = systemd_analyze("verify", "--man=no", str(copy))
    assert UNIT.name not in found.stderr, found.stderr


def test_the_unit_leaves_the_marks_of_the_home_alone():
    """What tells a restored home lies in /dev/shm and in a folder of its own, and names the boot."""
    text = UNIT.read_text()
    assert "RemoveIPC=yes" not in text
    assert "ProcSubset=pid" not in text
    assert "HERITAGE_MARKS=/var/lib/heritage-marks" in text
