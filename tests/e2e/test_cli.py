"""The `heritage` command as a user runs it: real processes, real files, every exit code in reach."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heritage_testkit.nodes import until

HERITAGE = str(Path(sys.executable).parent / "heritage")
ASSET = "urn:example:cli"
COMMANDS = [
    "init",
    "ingest",
    "adopt",
    "list",
    "show",
    "events",
    "trace",
    "verify",
    "prove",
    "check",
    "checkpoint",
    "log key",
    "log verify",
    "index rebuild",
    "engine status",
    "engine move",
    "export",
    "doctor",
    "demo",
]


@pytest.fixture
def run(tmp_path):
    """Run `heritage` in a folder of its own; returns the finished process."""

    def call(*words, **options):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HERITAGE_")}
        environment = kept | {"HERITAGE_HOME": str(tmp_path / "home")} | options.pop("env", {})
        return subprocess.run(
            [HERITAGE, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **options,
        )

    return call


@pytest.fixture
def home(run, tmp_path):
    done = run("init", "--institution", "Museum", "--origin", "museum.example/ledger/1", "--no-passphrase")
    assert done.returncode == 0, done.stderr
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "page.txt").write_text("page\n")
    return tmp_path / "home"


def _verdict(done) -> dict:
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all("type" in line for line in lines)
    assert lines[-1]["type"] == "verdict"
    assert lines[-1]["exit_code"] == done.returncode
    assert "Traceback" not in done.stderr
    return lines[-1]


def test_the_main_job(run, home, tmp_path):
    taken = _verdict(run("--json", "ingest", "scans", "--asset", ASSET, "--title", "Scans"))
    wanted = {"asset", "version", "package_cid", "payload_cid", "log_index", "event_id", "bag_path"}
    assert wanted <= set(taken)
    assert (taken["asset"], taken["version"], taken["log_index"]) == (ASSET, 1, 1)
    assert _verdict(run("ingest", "scans", "--asset", ASSET, "--json"))["version"] == 2
    for words in (
        ["list"],
        ["show", ASSET],
        ["show", taken["package_cid"]],
        ["show", "data/page.txt"],
        ["events"],
        ["events", ASSET],
        ["trace", ASSET],
        ["trace", "data/page.txt"],
        ["verify"],
        ["verify", ASSET],
        ["verify", "--deep"],
        ["verify", "--bag", taken["bag_path"]],
        ["prove", ASSET, "-o", "a.proof"],
        ["checkpoint"],
        ["log", "key"],
        ["log", "verify"],
        ["index", "rebuild"],
        ["doctor"],
    ):
        done = run("--json", *words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        assert _verdict(done)["outcome"] == "ok"
        if words[0] != "prove":
            assert run(*words).returncode == 0
    keys = run("log", "key").stdout.split()
    for key in keys:
        assert run("check", "a.proof", "--log-key", key).returncode == 0
    shutil.copytree(Path(taken["bag_path"]).parent / "2", tmp_path / "copy")
    away = {"HERITAGE_HOME": str(tmp_path / "nowhere")}
    checked = run("--json", "check", "a.proof", "--log-key", keys[0], "--bag", "copy", env=away)
    assert _verdict(checked)["outcome"] == "ok"


def test_a_bag_from_elsewhere(run, home, tmp_path):
    taken = _verdict(run("--json", "ingest", "scans"))
    archive = shutil.make_archive(str(tmp_path / "bag"), "gztar", taken["bag_path"])
    adopted = _verdict(run("--json", "adopt", archive, "--asset", "urn:example:adopted"))
    assert adopted["payload_cid"] == taken["payload_cid"]
    assert adopted["package_cid"] == taken["package_cid"]


def test_usage_is_1(run, home):
    for words in (["nothing"], ["ingest"], ["ingest", "none"], ["ingest", "scans", "--asset", "x y"]):
        done = run(*words)
        assert done.returncode == 1, done.stderr
        assert _verdict(run("--json", *words))["exit_code"] == 1


def test_an_unset_variable_does_not_mean_this_folder(run, home):
    for words in (["ingest", ""], ["adopt", ""], ["export", ASSET, ""]):
        assert _verdict(run("--json", *words))["code"] == "usage-error"


def test_failed_is_2(run, home):
    assert run("init", "--institution", "M", "--origin", "m.example/l/1", "--no-passphrase").returncode == 2


def test_problems_are_3(run, home, tmp_path):
    (tmp_path / "scans" / "link").symlink_to("page.txt")
    refused = run("--json", "ingest", "scans")
    assert _verdict(refused)["exit_code"] == 3
    assert '"source-link"' in refused.stdout
    (tmp_path / "scans" / "link").unlink()
    bag = Path(_verdict(run("--json", "ingest", "scans"))["bag_path"])
    (bag / "data" / "page.txt").chmod(0o644)
    (bag / "data" / "page.txt").write_text("Page\n")
    for words in (["verify"], ["verify", "--deep"], ["verify", "--bag", bag]):
        done = run(*words)
        assert done.returncode == 3
        assert "data/page.txt" in done.stdout
        assert "file-damaged" in done.stdout


def test_evidence_invalid_is_4_and_missing_is_5(run, home, tmp_path):
    run("ingest", "scans", "--asset", ASSET)
    run("prove", ASSET, "-o", "a.proof")
    key = run("log", "key").stdout.split()[0]
    proof = tmp_path / "a.proof"
    proof.write_bytes(proof.read_bytes().replace(b"Museum", b"Museun"))
    assert run("check", "a.proof", "--log-key", key).returncode == 4
    proof.write_text("no proof")
    assert run("check", "a.proof", "--log-key", key).returncode == 4
    assert run("show", "urn:example:none").returncode == 5


def test_no_home_is_10(run):
    done = run("list")
    assert done.returncode == 10
    assert "heritage init" in done.stderr


def test_locked_is_11(run, home, monkeypatch):
    # 30 seconds of waiting are too long for a test: the wait is cut where the command starts
    script = (
        "import heritage_ledger.home.lock as lock; lock.hold.__wrapped__.__kwdefaults__['wait'] = 0.2\n"
        "import sys; sys.argv[1:] = ['ingest', 'scans']\n"
        "from heritage_cli.app import main; main()"
    )
    with (home / ".lock").open("w+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=home.parent,
            env=os.environ | {"HERITAGE_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 11, done.stderr
    assert run("ingest", "scans").returncode == 0


def test_temporary_is_6_and_the_same_call_succeeds_later(run, home, tmp_path):
    # the head is not where this process believes it to be, as when another ignored the lock
    script = (
        "from heritage_ledger.home.state import StateStore as S\n"
        "swap = S.swap_head\n"
        "S.swap_head = lambda store, origin, old, new: swap(store, origin, old + 1, new)\n"
        "import sys; sys.argv[1:] = ['--json', 'ingest', 'scans', '--asset', 'urn:example:twice']\n"
        "from heritage_cli.app import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"HERITAGE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    verdict = _verdict(done)
    assert (verdict["exit_code"], verdict["code"]) == (6, "state-conflict")
    assert run("ingest", "scans").returncode == 0
    assert run("verify", "--deep").returncode == 0
    listed = [json.loads(line) for line in run("--json", "list").stdout.splitlines()]
    assert "urn:example:twice" not in [line.get("asset") for line in listed]


def test_key_is_12(run, tmp_path):
    words = ["--institution", "Museum", "--origin", "museum.example/ledger/1"]
    assert run("init", *words).returncode == 12
    assert not (tmp_path / "home").exists() or not any((tmp_path / "home").iterdir())
    (tmp_path / "word").write_text("a secret\n")
    assert run("init", *words, "--passphrase-file", "word").returncode == 0
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "a").write_text("a")
    assert run("ingest", "scans").returncode == 12
    wrong = run("ingest", "scans", env={"HERITAGE_PASSPHRASE": "another"})
    assert wrong.returncode == 12
    assert "key-passphrase-wrong" in wrong.stderr
    assert run("ingest", "scans", env={"HERITAGE_PASSPHRASE": "a secret"}).returncode == 0
    assert run("verify", "--deep").returncode == 0


def test_interrupted_is_130_and_nothing_is_left(run, home, tmp_path):
    with (tmp_path / "scans" / "large.bin").open("wb") as file:
        file.truncate(3 << 30)
    child = subprocess.Popen(
        ["env", "--default-signal=INT", HERITAGE, "ingest", "scans"],  # a suite in the background ignores it
        cwd=tmp_path,
        env=os.environ | {"HERITAGE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    until(lambda: list((home / "staging").glob("*/bag/data/large.bin")))
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=60)
    assert child.returncode == 130
    assert list((home / "staging").iterdir()) == []
    assert list((home / "packages").iterdir()) == []
    (tmp_path / "scans" / "large.bin").unlink()
    assert run("ingest", "scans").returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(run, command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"$ heritage {command}" in done.stdout or "$ heritage" in done.stdout
    assert len(done.stdout.splitlines()) <= 50


def test_names_from_outside_never_reach_the_terminal_raw(run, home, tmp_path):
    (tmp_path / "scans" / "\x1b[31mred\x07").write_text("x")
    done = run("ingest", "scans")
    assert done.returncode == 0
    assert "\x1b" not in done.stdout + done.stderr
    assert "\x07" not in done.stdout + done.stderr


def test_a_proof_is_not_written_over(run, home, tmp_path):
    run("ingest", "scans", "--asset", ASSET)
    assert run("prove", ASSET, "-o", "a.proof").returncode == 0
    before = (tmp_path / "a.proof").read_bytes()
    assert run("prove", ASSET, "-o", "a.proof").returncode != 0
    assert (tmp_path / "a.proof").read_bytes() == before
