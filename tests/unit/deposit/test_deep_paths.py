"""What is said to be kept can be read where it lies: long paths are refused, or read by descriptors."""

from __future__ import annotations

import os
import shutil
import tarfile

import pytest

from heritage_ledger import Ledger
from heritage_ledger.errors import ProblemsFound
from heritage_ledger.fixity.bag import verify_bag
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.deep import PATH_MAX, list_below, lstat_below, open_below
from heritage_ledger.home.layout import longest_path

ASSET = "https://museum.example/object/a-rather-long-name-of-an-asset/1887.12"


def _deep(folder, size, *, name="é"):
    """Make a file below `folder` whose path has just so many bytes."""
    parts = []
    left = size - len("/f")
    while left:
        part = name * (min(left, 200) // len(name.encode()))
        part += "x" * (min(left, 200) - len(part.encode()))
        left -= min(left, 200)
        if left:  # the separator
            left -= 1
        parts.append(part)
    path = "/".join([*parts, "f"])
    descriptor = os.open(folder, os.O_RDONLY)
    for part in parts:
        os.mkdir(part, dir_fd=descriptor)
        below = os.open(part, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    file = os.open("f", os.O_WRONLY | os.O_CREAT, dir_fd=descriptor)
    os.write(file, b"deep")
    os.close(file)
    os.close(descriptor)
    assert len(path.encode()) == size
    return path


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def test_a_path_that_would_not_fit_is_refused_before_a_byte_is_copied(ledger, source):
    longest = longest_path(ledger.home) - len("data/")
    path = _deep(source, longest + 1)
    with pytest.raises(ProblemsFound) as caught:
        ledger.ingest(source, asset=ASSET)
    (finding,) = caught.value.findings
    assert (finding.code, finding.path) == ("source-path-too-long", path)
    assert list(ledger.home.staging.iterdir()) == []


def test_a_path_that_just_fits_is_kept_and_given_back(ledger, source, tmp_path):
    path = _deep(source, longest_path(ledger.home) - len("data/"))
    receipt = ledger.ingest(source, asset=ASSET)
    assert (receipt.bag_path / "data" / path).read_bytes() == b"deep"
    assert all(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))
    ledger.export(ASSET, tmp_path / "out")
    assert (tmp_path / "out" / "data" / path).read_bytes() == b"deep"


@pytest.mark.parametrize("packed", [False, True])
def test_a_bag_with_such_a_path_is_not_adopted(ledger, source, tmp_path, packed):
    _deep(source, longest_path(ledger.home) - len("data/"))
    bag = tmp_path / "bag"
    shutil.copytree(ledger.ingest(source).bag_path, bag)
    os.system(f"chmod -R u+w {bag}")
    # the same bag for a home that lies deeper
    below = tmp_path / ("d" * 100)
    with Ledger.init(below, institution="M", origin="m.example/l/1", passphrase=None) as other:
        given = bag
        if packed:
            given = tmp_path / "bag.tar"
            with tarfile.open(given, "w") as tar:
                tar.add(bag, "bag")
        with pytest.raises(ProblemsFound) as caught:
            other.adopt(given)
        assert {finding.code for finding in caught.value.findings} == {"source-path-too-long"}
        assert list(other.assets()) == []


def test_a_home_that_was_moved_to_a_longer_place_is_still_read(ledger, source, tmp_path):
    path = _deep(source, longest_path(ledger.home) - len("data/"))
    receipt = ledger.ingest(source, asset=ASSET)
    ledger.close()
    longer = tmp_path / ("m" * 200)
    longer.mkdir()
    home = longer / ("n" * 130)
    ledger.home.root.rename(home)
    bag = home / receipt.bag_path.relative_to(ledger.home.root)
    assert len(os.fsencode(bag)) + len("/data/") + len(path.encode()) > PATH_MAX
    with pytest.raises(OSError, match="too long"):
        (bag / "data" / path).read_bytes()
    with Ledger.open(home) as moved:
        for deep in (False, True):
            verdicts = list(moved.verify(deep=deep))
            assert [verdict.outcome for verdict in verdicts] == [Outcome.PASS] * len(verdicts)
        moved.export(ASSET, tmp_path / "out")
        assert [done.was_damaged for done in moved.federation.repairs.run(ASSET)] == [False]
        assert not moved.rebuild_index().findings
    assert (tmp_path / "out" / "data" / path).read_bytes() == b"deep"
    assert verify_bag(bag).outcome is Outcome.PASS


def test_the_way_down_has_no_end(tmp_path):
    path = _deep(tmp_path, 3 * PATH_MAX)
    folder = path.rpartition("/")[0]
    assert [met.name for met in list_below(tmp_path, folder)] == ["f"]
    assert lstat_below(tmp_path, path).st_size == 4
    descriptor = open_below(tmp_path, path, os.O_RDONLY)
    assert os.read(descriptor, 9) == b"deep"
    os.close(descriptor)
    with pytest.raises(FileNotFoundError):
        lstat_below(tmp_path, f"{folder}/none")
