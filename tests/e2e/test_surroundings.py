"""What is around a process changes no verdict: locale, umask, working directory, time zone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from heritage_testkit.locales import make_locales

HERITAGE = str(Path(sys.executable).parent / "heritage")
JOB = Path(__file__).with_name("main_job.py")
LATIN, JAPANESE = "de_DE.ISO-8859-1", "ja_JP.EUC-JP"
LOCALES = {
    "C": {"LC_ALL": "C"},
    "utf-8": {"LC_ALL": "C.UTF-8"},
    "ascii": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "latin": {"LC_ALL": LATIN},
    "japanese": {"LC_ALL": JAPANESE},
}
PLACES = [("000", "/", "Pacific/Kiritimati"), ("077", "source", "America/St_Johns")]
NAMES = ["é/Łódź 日本語.txt", "Fès é.txt", unicodedata.normalize("NFD", "Žluťoučký kůň.jpg"), "plain.txt"]


@pytest.fixture(scope="module")
def locales(tmp_path_factory):
    """A folder with the locales that are not UTF-8."""
    folder = tmp_path_factory.mktemp("locales")
    make_locales(folder, LATIN, JAPANESE)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Files whose names no single older charset holds."""
    folder = tmp_path_factory.mktemp("source")
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes([number]) * (number * 700_000 + 5))
    return folder


def _around(locales, around):
    kept = {name: os.environ[name] for name in ("PATH", "HERITAGE_MARKS") if name in os.environ}
    return kept | {"LOCPATH": str(locales), **LOCALES[around]}


def _job(tmp_path, source, locales, around, place):
    umask, folder, zone = place
    done = subprocess.run(
        [sys.executable, str(JOB), str(tmp_path / "home"), str(source), str(tmp_path / "out"), umask],
        cwd=source if folder == "source" else folder,
        env=_around(locales, around) | {"TZ": zone},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr.decode()
    return {line["verb"]: line for line in map(json.loads, done.stdout.splitlines())}


def _verdicts(said):
    """What must be the same everywhere: exit codes, outcomes of stages, codes of findings, addresses."""
    told = {}
    for name, line in said.items():
        findings = [(one["code"], one["path"]) for one in line["lines"] if one["type"] == "finding"]
        if name == "doctor":
            findings = [one for one in findings if not one[0].startswith("doctor-")]  # of the machine
        stages = [(one["name"], one["outcome"]) for one in line["lines"] if one["type"] == "stage"]
        told[name] = (line["code"], stages, findings)
    receipt = said["ingest"]["lines"][-1]
    return told | {"payload": receipt["payload_cid"], "title": said["list"]["lines"][0]["title"]}


def _shape(home):
    """Names and modes of everything that is kept for good, and the bytes of payloads."""
    shape = {}
    for path in sorted([home, *home.joinpath("packages").rglob("*")]):
        mode = stat.S_IMODE(path.lstat().st_mode)
        name = os.fsencode(path.relative_to(home))
        shape[name] = (mode, path.read_bytes() if b"/data/" in name and path.is_file() else b"")
    return shape


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory, source, locales):
    """The job in C.UTF-8 with an ordinary umask: what all others are compared with."""
    place = tmp_path_factory.mktemp("ordinary")
    said = _job(place, source, locales, "utf-8", ("022", str(place), "UTC"))
    return place / "home", _verdicts(said)


@pytest.mark.parametrize("place", PLACES, ids=["open", "closed"])
@pytest.mark.parametrize("around", LOCALES)
def test_the_main_job_gives_the_same_everywhere(tmp_path, source, locales, ordinary, around, place):  # noqa: PLR0917 - fixtures
    home, expected = ordinary
    said = _verdicts(_job(tmp_path, source, locales, around, place))
    assert said == expected
    assert all(said[name][0] == 0 for name in said if isinstance(said[name], tuple))
    assert _shape(tmp_path / "home") == _shape(home)


@pytest.mark.parametrize("around", LOCALES)
def test_the_command_itself_does_not_accuse_a_sound_bag(source, locales, ordinary, around):
    home, _ = ordinary
    environment = _around(locales, around)
    for words in (["--json", "verify", "--deep"], ["show", "data/Fès é.txt"]):
        done = subprocess.run(
            [HERITAGE, "--home", str(home), *words],
            env=environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    if around == "latin":  # what is printed keeps to the terminal's own charset
        assert "Fès é.txt".encode("latin-1") in done.stdout


@pytest.mark.parametrize("around", ["ascii", "latin", "japanese"])
def test_a_foreign_process_is_refused_and_never_told_a_lie(tmp_path, source, locales, ordinary, around):
    home, _ = ordinary
    code = """
import sys
from pathlib import Path
from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
from heritage_ledger.fixity.bag import verify_bag
for call in (lambda: Ledger.open(Path(sys.argv[1])),
             lambda: Ledger.init(Path(sys.argv[2]), institution="M", origin="m.example/l/1", passphrase=None),
             lambda: verify_bag(next(Path(sys.argv[1], "packages").glob("*/1")))):
    try:
        call()
    except HeritageError as error:
        print(error.code)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), str(tmp_path / "new")],
        env=_around(locales, around),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["locale-not-utf8"] * 3
    assert not (tmp_path / "new").exists()
