"""What `node/deploy` gives to institutions: a Kubo closed off by its script, settings that are settings."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from heritage_ledger import Ledger
from heritage_ledger.errors import KeyProblem
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.settings import parse_settings
from heritage_testkit.inside import node_inside
from heritage_testkit.kubo import Kubo, environment, programs
from heritage_testkit.outside import PROJECT
from heritage_testkit.proxies import free_port

DEPLOY = PROJECT / "node" / "deploy"
TOKEN = "0123456789abcdef"
LEDGER = b'[ledger]\ninstitution = "Museum"\norigin = "museum.example/ledger/1"\n'


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


def beside(program):
    """A program of the group `dev`, beside this Python; skips where it is not installed, fails in CI."""
    found = Path(sys.executable).with_name(program)
    if not found.exists() and os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {program}, of the group dev")
    if not found.exists():
        pytest.skip(f"{program} is not here: pip install --group dev")
    return str(found)


def judged(*words):
    done = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr


COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
IMAGE = re.compile(r"([\w/.-]+):(v?\d+\.\d+(?:\.\d+)?(?:-[a-z-]+)?)\$\{(\w+_DIGEST):\+@\$\{\3\}\}")


def test_the_compose_file_is_one_by_its_schema():
    judged(
        beside("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")
    )


def test_nothing_is_wrong_with_the_container_file():
    judged(beside("hadolint"), "--failure-threshold", "style", str(DEPLOY / "Containerfile"))


def test_images_are_exact_tags_and_take_a_digest():
    images = [one["image"] for one in COMPOSE["services"].values() if "build" not in one]
    (base,) = re.findall(r"(?m)^FROM (.*)$", (DEPLOY / "Containerfile").read_text())
    module = (PROJECT / "tests" / "external" / "kubo" / "go.mod").read_text()
    tested = re.findall(r"github\.com/ipfs/kubo (v\S+)", module)[0]
    page = (PROJECT / "node" / "handbook" / "containers.md").read_text()
    found = [IMAGE.fullmatch(image) for image in (*images, base)]
    assert all(found), (images, base)
    assert ("ipfs/kubo", tested, "KUBO_DIGEST") in {one.groups() for one in found}
    for one in found:
        assert f"imagetools inspect {one[1]}:{one[2]}\n" in page
        assert f"\n{one[3]}=sha256:…\n" in page
    argument = found[-1][3]
    assert re.search(rf"(?m)^ARG {argument}=$", (DEPLOY / "Containerfile").read_text())
    for service in COMPOSE["services"].values():
        if "build" in service:
            assert service["build"]["args"] == {argument: f"${{{argument}:-}}"}


def test_what_the_compose_file_mounts_and_names_is_there():
    services = COMPOSE["services"]
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            known = (DEPLOY / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
            assert known, (name, volume)
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert set(service.get("depends_on", [])) <= set(services)
    folder = DEPLOY / services["node"]["build"]["context"]
    assert (folder / services["node"]["build"]["dockerfile"]).is_file()
    made = (PROJECT / "node" / "handbook" / "containers.md").read_text()
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].removeprefix("secrets/") in made


def test_the_node_of_the_compose_file_is_looked_at_and_closed_off():
    node = COMPOSE["services"]["node"]
    assert node["command"] == ["node", "run"]
    assert node["read_only"] is True
    assert node["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in node["ports"])
    outside = [
        name for name, one in COMPOSE["services"].items() for port in one.get("ports", []) if "." not in port
    ]
    assert set(outside) == {"caddy"}
    marks = {"/home/marks", "/home/memory"}
    assert marks <= {volume.split(":")[1] for volume in node["volumes"]}
    text = (DEPLOY / "Containerfile").read_text()
    assert all(f"={folder}" in text for folder in marks)
    (words,) = re.findall(r"HEALTHCHECK .*\n\s*CMD (\[.*\])", text)
    settings = parse_settings(LEDGER + (DEPLOY / "node.toml").read_bytes())
    assert f":{settings.node.port}/healthz" in words
    assert f"127.0.0.1:{settings.node.port}:{settings.node.port}" in node["ports"]
    subnet = COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert settings.node.trusted_proxies == (subnet,)


def test_the_health_check_fails_when_nobody_answers(tmp_path):
    """The words of the container file, against a node and against nothing."""
    (found,) = re.findall(r"HEALTHCHECK .*\n\s*CMD (\[.*\])", (DEPLOY / "Containerfile").read_text())
    home = tmp_path / "home"
    Ledger.init(home, institution="M", origin="museum.example/ledger/1", passphrase=None).close()
    with (home / "heritage.toml").open("a") as file:
        file.write('\n[node]\nlisten = "127.0.0.1:0"\n')

    def check(port):
        words = [word.replace(":8463/", f":{port}/") for word in json.loads(found)]
        return subprocess.run([sys.executable, *words[1:]], capture_output=True, check=False).returncode

    with node_inside(home) as node:
        assert check(node.port) == 0
    assert check(free_port()) != 0


def test_the_image_gets_what_it_is_built_of_and_no_more():
    """What is copied is let through, and of what git does not know nothing is."""
    lines = (PROJECT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    passed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = re.findall(r"(?m)^COPY (?:--\S+ )?(.*) \S+$", (DEPLOY / "Containerfile").read_text())
    assert passed == {name for names in copied for name in names.split()}
    assert all((PROJECT / name).exists() for name in passed)


def test_the_settings_are_settings():
    settings = parse_settings(LEDGER + (DEPLOY / "content.toml").read_bytes())
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
UNITS = sorted(path for path in DEPLOY.iterdir() if path.suffix in {".service", ".timer"})


def systemd_analyze(*words):
    program = shutil.which("systemd-analyze")
    if program is None and os.environ.get("CI") == "true":
        pytest.fail("required in CI: systemd-analyze, of the package systemd")
    if program is None:
        pytest.skip("systemd-analyze is not here")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_one_and_closes_what_it_does_not_need(unit, tmp_path):
    """An exposure of 3.0 is the most that is let pass; without a running systemd the file alone is judged."""
    if unit.suffix == ".service":
        said = systemd_analyze("security", "--offline=true", "--threshold=30", "--no-pager", str(unit))
        assert said.returncode == 0, said.stdout[-300:]
    program = tmp_path / "heritage"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for one in UNITS:
        text = one.read_text().replace("/opt/heritage-ledger/bin/heritage", str(program))
        (tmp_path / one.name).write_text(text)
    found = systemd_analyze("verify", "--man=no", str(tmp_path / unit.name))
    assert unit.name not in found.stderr, found.stderr


def test_commands_beside_the_node_run_as_its_user_with_its_variables(tmp_path):
    """The wrapper with another user and other places: what the program is given."""
    program = tmp_path / "opt" / "heritage-ledger" / "bin" / "heritage"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\necho "$(id -un)|$HERITAGE_HOME|$HERITAGE_MARKS|$HERITAGE_PASSPHRASE|$PGPASSFILE|$*"\n'
    )
    program.chmod(0o755)
    for parent in program.parents:  # pytest's folders are closed to others
        if str(parent) != "/" and parent.owner() == Path.home().owner():
            parent.chmod(parent.stat().st_mode | 0o011)
    folder = tmp_path / "etc" / "heritage"
    folder.mkdir(parents=True)
    (folder / "passphrase").write_text("a secret\n")
    (folder / "passphrase").chmod(0o600)
    (folder / "environment").write_text("PGPASSFILE=/etc/heritage/pgpass\n")
    text = (DEPLOY / "heritage-as-node.sh").read_text()
    for name in ("/opt/", "/etc/"):
        text = text.replace(name, f"{tmp_path}{name}")
    user = "nobody" if os.geteuid() == 0 else None
    text = text.replace("runuser -u heritage --", f"runuser -u {user} --" if user else "env")
    script = tmp_path / "wrapper"
    script.write_text(text)
    done = subprocess.run(
        ["sh", script, "list", "a b"],
        env={"PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    who, *rest = done.stdout.strip().split("|")
    assert user in {None, who}
    home, marks = "/var/lib/heritage", "/var/lib/heritage-marks"
    assert rest == [home, marks, "a secret", "/etc/heritage/pgpass", "list a b"]
    assert all(f"={folder}\n" in UNIT.read_text() for folder in (home, marks))


def test_the_unit_leaves_the_marks_of_the_home_alone():
    """What tells a restored home lies in /dev/shm and in a folder of its own, and names the boot."""
    text = UNIT.read_text()
    assert "RemoveIPC=yes" not in text
    assert "ProcSubset=pid" not in text
    assert "HERITAGE_MARKS=/var/lib/heritage-marks" in text
