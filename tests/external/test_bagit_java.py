"""Bags of hard names as others see them: bagit-java of the Library of Congress, and bagit.py."""

import os
import shutil
import subprocess
from pathlib import Path

import bagit
import pytest

from heritage_ledger import Ledger
from heritage_ledger.bags.names import TreeNames

TOOLS = Path(__file__).with_name("tools.sh")
NAMES = {
    "plain": "page.tif",
    "spaces": "a b  c .tif",
    "a leading space": " page.tif",
    "a percent sign": "100%.tif",
    "an escape": "a%0Ab.tif",
    "umlauts composed": "caf\u00e9.tif",
    "umlauts decomposed": "cafe\u0301.tif",
    "four bytes": "\U0001f3fa.tif",
    "right to left": "\u05d0\u05d1.tif",
    "a tab": "a\tb.tif",
    "a line feed": "a\nb.tif",
    "a carriage return": "a\rb.tif",
    "a star": "*page.tif",
    "a tilde": "~page.tif",
    "a backslash": "a\\b.tif",
    "a hidden file": ".hidden",
    "a folder of them": "a b/%25/caf\u00e9/page.tif",
    "255 bytes": "x" * 251 + ".tif",
    "a quote": "a'b\"c.tif",
    "a dollar": "$HOME.tif",
    "a dash": "-rf",
}
pytestmark = pytest.mark.external


@pytest.fixture(scope="module")
def judge():
    done = subprocess.run([TOOLS, "bagit-java"], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    folder = done.stdout.strip()

    def verdicts(bags):
        said = subprocess.run(
            [
                "java",
                "-Dfile.encoding=UTF-8",
                "-Dsun.jnu.encoding=UTF-8",
                "-cp",
                f"{folder}:{folder}/*",
                "Judge",
                *bags,
            ],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"LC_ALL": "C.UTF-8"},
        )
        return said.stdout.splitlines()

    return verdicts


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    root = tmp_path_factory.mktemp("names")
    made = {}
    with Ledger.init(
        root / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        for number, (what, name) in enumerate(NAMES.items()):
            source = root / f"source-{number}"
            (source / name).parent.mkdir(parents=True)
            (source / name).write_bytes(what.encode())
            made[what] = ledger.ingest(source, asset=f"urn:example:{number}").bag_path
    return made


def is_warned_of(name):
    """Whether a deposit says that other software may read this name otherwise."""
    codes = {finding.code for finding in TreeNames().add_file(f"data/{name}")}
    return bool(codes & {"name-misread", "name-windows-character"})


def test_what_bagit_java_cannot_read_is_warned_of(judge, bags):
    said = dict(zip(bags, judge(list(bags.values())), strict=True))
    wrong = {what for what, one in said.items() if one != "valid"}
    assert "plain" not in wrong
    assert {what for what in wrong if not is_warned_of(NAMES[what])} == set()
    assert wrong == {"a percent sign", "an escape", "a backslash", "a folder of them"}, said


def test_what_bagit_python_cannot_read_is_warned_of(bags):
    wrong = set()
    for what, bag in bags.items():
        try:
            bagit.Bag(str(bag)).validate()
        except bagit.BagError:
            wrong.add(what)
    assert {what for what in wrong if not is_warned_of(NAMES[what])} == set()
    assert wrong == {"a percent sign", "an escape", "a folder of them"}


def test_both_see_what_is_damaged(judge, bags, tmp_path):
    """Judges that call everything valid would be none."""
    copy = tmp_path / "bag"
    shutil.copytree(bags["plain"], copy)
    page = copy / "data" / "page.tif"
    page.chmod(0o600)
    page.write_bytes(b"other")
    (said,) = judge([copy])
    assert said != "valid"
    with pytest.raises(bagit.BagValidationError):
        bagit.Bag(str(copy)).validate()
