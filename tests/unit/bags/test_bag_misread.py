"""Names that other software misreads: each warning is true, and what needs one has one."""

from __future__ import annotations

import subprocess
import sys
import unicodedata

import bagit
import pytest

from heritage_ledger import Ledger
from heritage_ledger.bags.misread import MISREADINGS, misread
from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.bags.write import BagWriter
from heritage_ledger.content.reading import read_small

SPACES = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code))[0] == "Z"]
CONTROLS = [chr(code) for code in (*range(1, 0x20), *range(0x7F, 0xA0))]
SIGNS = [chr(code) for code in range(0x21, 0x7F) if not chr(code).isalnum() and chr(code) != "/"]
NAMES = [
    name
    for character in (*SPACES, *CONTROLS, *SIGNS, "\u00e9", "\ufeff", "\u200b", "\u180e")
    for name in (f"a{character}b", f"a{character}", f"{character}a", f"a.{character}{character}b")
    if name not in {".a", "a."}
] + ["100%25", "%41", "a$PATH", "a${PATH}b", "-rf", "a\r\nb", "\n\n\n", "a\rb\rc\rd", "\r\n\r\n", "%\n "]


def make(root, names):
    (root / "data").mkdir()
    with BagWriter(root) as writer:
        for name in names:
            (root / "data" / name).write_bytes(b"x")
            writer.add_payload(f"data/{name}", read_small(b"x", writer.algorithms))
        writer.seal([])


def reads(root) -> bool:
    """Say whether bagit-python takes the bag for a valid one."""
    try:
        return bagit.Bag(str(root)).is_valid()
    except bagit.BagError:
        return False


def by_python(name) -> bool:
    """Say whether the warning blames bagit-python for this very name."""
    return any(words.startswith("bagit-python") for words in misread(name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_bagit_python_misreads_exactly_what_is_said(tmp_path):
    wrong = []
    for number, name in enumerate(NAMES):
        root = tmp_path / str(number)
        root.mkdir()
        make(root, [name])
        assert validate_bag(root).is_valid, ascii(name)
        if reads(root) == by_python(name):
            wrong.append(name)
    assert wrong == []


EXAMPLES = {
    "percent": "100%.txt",
    "line separator": "a\u2028b",
    "space at the end": "a ",
    "line end": "a\nb",
    "three line ends": "a\nb\n\n",
    "dash": "-rf",
    "backslash": "a\\b",
}


@pytest.mark.parametrize("one", MISREADINGS, ids=lambda one: one.kind)
def test_each_kind_has_an_example_that_ingest_and_verify_warn_of(tmp_path, one):
    source = tmp_path / "source"
    source.mkdir()
    (source / EXAMPLES[one.kind]).write_text("x")
    with Ledger.init(
        tmp_path / "home", institution="Museum", origin="museum.example/ledger/1", passphrase=None
    ) as ledger:
        receipt = ledger.ingest(source)
        report = validate_bag(receipt.bag_path)
        adopted = ledger.adopt(receipt.bag_path, asset="urn:example:again")
    for findings in (receipt.findings, report.findings, adopted.findings):
        found = next(finding.found for finding in findings if finding.code == "name-misread")
        assert one.words.partition("`")[0] in found
    assert report.is_valid


def test_a_shell_does_what_is_said(tmp_path):
    (tmp_path / "-rf").write_text("x")
    (tmp_path / "two\nlines").write_text("x")
    done = subprocess.run(["sh", "-c", "cat *"], cwd=tmp_path, capture_output=True, check=False)
    assert b"option" in done.stderr
    script = 'ls | while read -r name; do [ -e "$name" ] || echo "no $name"; done'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, check=False)
    assert done.stdout == b"no two\nno lines\n"
