"""The operator's handbook is true: each page is walked through on one machine, in order, beside a real peer.

`console` blocks are run and print what the page says there, or anything where it says nothing; those of
`console archive` are run at the peer. `toml` blocks go to the end of the settings. `sh` blocks name what this
machine lacks, and are checked word by word.
"""

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest
import yaml

from heritage_ledger.home.settings import parse_settings
from heritage_testkit.command import all_commands
from heritage_testkit.kubo import Kubo
from heritage_testkit.machine import Machine
from heritage_testkit.nodes import HERITAGE, Institution, until
from heritage_testkit.outside import PROJECT
from heritage_testkit.pages import blocks, matches, steps
from heritage_testkit.postgres import Postgres
from heritage_testkit.proxies import free_port, need
from heritage_testkit.tls import Authority

NODE = PROJECT / "node"
PAGES = [
    "README.md",
    *(
        f"handbook/{name}.md"
        for name in ("systemd", "proxy", "engines", "containers", "backup", "changes", "trouble", "alerts")
    ),
]
"""In the order in which they are walked through."""
DEPLOY = NODE / "deploy"
UNITS = {path.name for path in DEPLOY.iterdir() if path.suffix in {".service", ".timer"}}
COMPOSE = {"build", "up", "run", "exec", "logs", "ps"}
pytestmark = pytest.mark.xdist_group("handbook")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The machine of a museum with a name, a port and a certificate, and an archive that runs."""
    for program in ("nginx", "caddy", "promtool", "openssl", "curl", "psql", "systemd-analyze", "runuser"):
        need(program)
    folder = tmp_path_factory.mktemp("handbook")
    house = Authority(folder / "house")
    archive = Institution.make(folder, "archive")
    path = archive.home / "heritage.toml"
    path.write_text(path.read_text() + f'ca_file = "{house.file}"\n')
    archive.start()
    port, public = free_port(), free_port()
    machine = Machine(
        folder / "museum",
        {
            "127.0.0.1:8463": f"127.0.0.1:{port}",
            "https://ledger.museum.example": f"https://localhost:{public}",
            "https://ledger.archive.example": archive.url,
            "    listen [::]:443 ssl http2;\n": "",
            "listen 443 ssl": f"listen 127.0.0.1:{public} ssl",
            "{$HERITAGE_NAME:ledger.museum.example}": f"https://localhost:{public}",
        },
        {"CURL_CA_BUNDLE": str(house.file)},
    )
    machine.prepare_nginx()
    tls = machine.root / "etc" / "heritage" / "tls"
    tls.mkdir(parents=True)
    certificate = house.issue()
    for name in ("fullchain.pem", "privkey.pem"):
        shutil.copy(certificate, tls / name)
    shutil.copy(house.file, machine.root / "etc" / "heritage" / "house-ca.pem")
    (machine.source / "scans").mkdir()
    (machine.source / "scans" / "page.txt").write_text("page")
    (archive.home.parent / "scans").mkdir()
    (archive.home.parent / "scans" / "deed.txt").write_text("deed")
    archive.run("ingest", archive.home.parent / "scans", "--asset", "urn:example:deed")
    try:
        yield machine, archive
    finally:
        machine.close()
        archive.stop()


def walk(world, page):
    """Go through a page."""
    machine, _ = world
    count = 0
    wrong = []
    for block in blocks(NODE / page):
        if block.language == "toml" and not block.more:
            with (machine.home / "heritage.toml").open("a") as file:
                file.write("\n" + machine.here(block.text))
                if "[node]" in block.text:  # the archive is on loopback
                    file.write("allow_private = true\nsync_seconds = 1\npublic_rate = 1000000\n")
        if block.language != "console":
            continue
        for step in steps(re.sub(r"(?m)^ {3}", "", block.text)):
            done = run(world, step.command, block.more)
            said = f"{page}: $ {step.command}\n{done.stdout}\n{done.stderr}"
            printed = [line.rstrip() for line in done.stdout.splitlines()]
            if done.returncode or (step.expected and not matches(step.expected, printed)):
                wrong.append(f"{said}\nends with {done.returncode}")
            count += 1
    assert not wrong, "\n\n".join(wrong)
    return count


def settle(machine, archive):
    """Wait until the peer mirrors what is here: else a restore would have to wait for it."""
    shown = machine.run("heritage --json checkpoint")
    size = int(json.loads(shown.stdout.splitlines()[0])["size"])
    museum = Institution(machine.home, "museum.example/ledger/1")
    until(lambda: archive.mirrored(museum) >= size, 60)


def run(world, command, where):
    machine, archive = world
    keys = {"museum": None, "archive": archive}
    for name, one in keys.items():
        written = re.search(rf"{name}\.example/ledger/1\+[0-9a-f]{{8}}\+\S*…", command)
        if written:
            key = one.key() if one else machine.run("heritage log key").stdout.split()[0]
            command = command.replace(written[0], key)
    if not where:
        if re.match(r"systemctl stop heritage-node|mv ", command):
            settle(machine, archive)
        return machine.run(command)
    assert where == "archive"
    return subprocess.run(
        ["bash", "-c", machine.here(command)],
        env=archive.environment
        | {"HERITAGE_HOME": str(archive.home), "PATH": f"{HERITAGE.parent}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


TOKEN = "0123456789abcdef"


@contextlib.contextmanager
def engines(machine, folder):
    """A database server and a Kubo, where the page of engines says they are."""
    server = Postgres(folder / "postgres")
    server.init()
    server.start()
    daemon = Kubo(folder / "kubo")
    daemon.init()
    allowed = {"heritage": {"AuthSecret": f"bearer:{TOKEN}", "AllowedPaths": ["/api/v0"]}}
    daemon.run("config", "--json", "API.Authorizations", json.dumps(allowed))
    (machine.root / "etc" / "heritage" / "kubo-token").write_text(TOKEN)
    usual = dict(machine.names)
    try:
        daemon.start()
        machine.names |= {
            "db.museum.example:5432": f"127.0.0.1:{server.port}",
            "ledger@db.museum.example": f"ledger@127.0.0.1:{server.port}",
            "-h db.museum.example": f"-h 127.0.0.1 -p {server.port}",
            "/ip4/127.0.0.1/tcp/5001": daemon.api,
        }
        yield
    finally:
        daemon.stop()
        server.stop()
        machine.names = usual


@pytest.mark.external
@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_the_page_says(world, page, tmp_path):
    machine, _ = world
    surroundings = engines(machine, tmp_path) if "engines" in page else contextlib.nullcontext()
    with surroundings:
        assert walk(world, page) > 2


def check_heritage(words):
    """The words of a call of `heritage`: a command that there is, with options that it has."""
    words = [one for one in words if one not in {"--json", "--quiet"}]
    if words[:1] == ["--version"]:
        return
    commands = all_commands()
    name = max((one for one in commands if one.split() == words[: len(one.split())]), key=len, default="")
    assert name, words
    known = {option for parameter in commands[name].params for option in parameter.opts}
    given = {one.partition("=")[0] for one in words if one.startswith("--")}
    assert given <= known | {"--home", "--help"}, words


def check_compose(words):
    """The words behind `docker compose`: one of its commands, with a service of the file."""
    options = {
        "run": {"--rm", "--entrypoint", "--volume"},
        "up": {"--detach", "--wait"},
        "logs": {"--follow"},
    }
    options |= {"build": {"--pull"}}
    verb, *rest = words
    assert verb in COMPOSE, words
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    while rest and rest[0].startswith("--"):
        option = rest.pop(0)
        assert option in options[verb], words
        if option in {"--entrypoint", "--volume"}:
            rest.pop(0)
    if verb in {"run", "exec"}:
        assert rest[0] in services, words
        if verb == "exec":
            assert rest[1] == "heritage-entrypoint"
            check_heritage(rest[2:])
        elif "--entrypoint" not in words:
            check_heritage(rest[1:])
    else:
        assert set(rest) <= set(services), words


def helped(program, *words):
    """Each word that is an option or a verb stands in what the program says of itself."""
    said = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    for word in words:
        name = word.partition("=")[0]
        assert re.search(rf"(?m)^[^\n]*(?<![\w-]){re.escape(name)}(?![\w-])", said), (
            f"{program} has no {name}"
        )


def check_words(words):
    """A command that cannot be run here."""
    installed = (PROJECT / ".ci" / "run").read_text()
    match words:
        case ["apt-get", "install", *packages]:
            assert all(re.search(rf"(?m)\b{one}$", installed) for one in packages), words
        case ["python3", "-m", "venv", folder]:
            assert folder == "/opt/heritage-ledger"
        case ["/opt/heritage-ledger/bin/pip", "install", *rest]:
            extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"][
                "optional-dependencies"
            ]
            (wanted,) = (one for one in rest if one != "--upgrade")
            assert set(wanted.removeprefix(".[").removesuffix("]").split(",")) <= set(extras)
        case ["systemctl", verb, unit]:
            helped("systemctl", verb)
            assert f"{unit}.service" in UNITS
        case ["journalctl", unit, *rest]:
            helped("journalctl", "--unit", *rest)
            assert f"{unit.removeprefix('--unit=')}.service" in UNITS
        case ["timedatectl", verb]:
            helped("timedatectl", verb)
        case ["git", "fetch", "--tags"]:
            pass
        case ["docker", "buildx", "imagetools", "inspect", image]:
            assert image in (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "Containerfile").read_text()
        case ["docker", "compose", *rest]:
            check_compose(rest)
        case _:
            pytest.fail(f"nothing checks {words}")


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_be_run_here_is_right_word_by_word(page):
    for block in blocks(NODE / page):
        assert block.language in {"sh", "console", "toml", "text"}, block
        if block.language == "sh":
            for line in block.text.splitlines():
                check_words(shlex.split(line))


@pytest.mark.parametrize("page", [*PAGES, "handbook/threats.md"])
def test_what_is_named_in_passing_exists(page):
    text = (NODE / page).read_text()
    for inline in re.findall(r"`(heritage [a-z][^`\n]*)`", text.replace("\n", " ")):
        check_heritage(shlex.split(inline)[1:])
    for block in blocks(NODE / page):
        if block.language == "toml":
            ledger = '[ledger]\ninstitution = "M"\norigin = "museum.example/ledger/1"\n'
            parse_settings((ledger + block.text).encode())
    for name in re.findall(r"`((?:node|specs|tests)/[\w./-]+)`", text):
        assert (PROJECT / name).exists(), name
    for name in re.findall(r"`((?:handbook/)?[\w-]+\.md)`", text):
        assert any((folder / name).exists() for folder in (NODE, NODE / "handbook", PROJECT)), name
    for name in re.findall(r"`((?:nginx|caddy)/[\w.-]+)`", text):
        assert (DEPLOY / name).exists(), name
    codes = (PROJECT / "specs" / "findings.md").read_text() + (PROJECT / "specs" / "engines.md").read_text()
    for code in re.findall(r"`((?:log|disk|peer|node|tls|database|state|repair|witnesses)-[a-z-]+)`", text):
        assert f"`{code}`" in codes, code


def test_every_page_is_in_the_table_and_every_alert_has_its_section():
    first = (NODE / "README.md").read_text()
    pages = {f"handbook/{path.name}" for path in (NODE / "handbook").glob("*.md")}
    assert pages == set(re.findall(r"^\| `(handbook/[\w.]+)` \|", first, re.MULTILINE))
    assert pages == set(PAGES[1:]) | {"handbook/threats.md"}
    rules = (DEPLOY / "prometheus" / "heritage.rules.yml").read_text()
    sections = re.findall(r"^## (\w+)$", (NODE / "handbook" / "alerts.md").read_text(), re.MULTILINE)
    assert sections == re.findall(r"- alert: (\w+)", rules)


def test_what_a_page_refers_to_is_there():
    for page in (NODE / one for one in (*PAGES, "handbook/threats.md")):
        for name, title in re.findall(r'`([\w/-]+\.md)`,\s"([^"]+)"', page.read_text()):
            found = [folder / name for folder in (page.parent, NODE, PROJECT) if (folder / name).exists()]
            wanted = re.escape(title.replace("\n", " "))
            heading = rf"(?m)^(#+ {wanted}$|\*\*{wanted}\.\*\*)"
            assert re.search(heading, found[0].read_text()), f"{page.name}: {name}, {title}"
