"""An I/O error says nothing about bytes: each call of a verify fails once, and nothing is called damaged."""

from __future__ import annotations

import errno
import io
import itertools
import os
import random
import shutil

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content import reading
from heritage_ledger.errors import HeritageError
from heritage_ledger.fixity.bag import verify_bag
from heritage_ledger.fixity.verdict import Outcome

ASSET = "urn:example:unreadable"
CALLS = ("open", "read", "pread", "stat", "lstat", "fstat", "scandir", "listdir")
SAYS_IT = {
    "bag-unreadable",
    "disk-failing",
    "file-unreadable",
    "home-unreadable",
    "key-file-missing",
    "log-unreadable",
    "log-unsure",
    "package-unreadable",
}
"""Codes that say that something could not be read, and nothing more."""
OF_THE_MACHINE = {
    "doctor-keys-unsealed",
    "doctor-space",
    "doctor-sqlite",
    "doctor-inodes",
    "doctor-no-witness",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A home with one small package."""
    root = tmp_path_factory.mktemp("unreadable")
    source = root / "source" / "below"
    source.mkdir(parents=True)
    (source / "page.tif").write_bytes(random.Random(3).randbytes(1_200_000))
    (source / "note.txt").write_text("a note\n")
    home = root / "home"
    with Ledger.init(home, institution="Museum", origin="museum.example/ledger/1", passphrase=None) as ledger:
        ledger.ingest(source.parent, asset=ASSET)
    return home


class _Failing:
    """Lets the call of this number, among those about files below a folder, fail with an I/O error."""

    def __init__(self, monkeypatch, folder, number):
        self.folder, self.number, self.count, self.failed = os.fsencode(folder), number, 0, None
        self.descriptors = set()
        for name in CALLS:
            monkeypatch.setattr(os, name, self._failing(name, getattr(os, name)))
        monkeypatch.setattr(os, "close", self._closing(os.close))
        monkeypatch.setattr(io, "open", self._failing("io.open", io.open))  # what pathlib opens by

    def _is_ours(self, target, rest):
        if isinstance(target, int):
            return target in self.descriptors
        if rest.get("dir_fd") in self.descriptors:
            return True
        return isinstance(target, str | bytes | os.PathLike) and os.fsencode(target).startswith(self.folder)

    def _failing(self, name, real):
        def call(*words, **rest):
            is_ours = bool(words) and self._is_ours(words[0], rest)
            if is_ours:
                self.count += 1
                if self.count == self.number:
                    self.failed = name
                    raise OSError(errno.EIO, "Input/output error", words[0])
            made = real(*words, **rest)
            if name == "open" and is_ours:
                self.descriptors.add(made)
            return made

        return call

    def _closing(self, real):
        def close(descriptor):
            self.descriptors.discard(descriptor)
            real(descriptor)

        return close


def _said(work):
    """Codes of all that was said, and the outcomes."""
    try:
        verdicts = list(work())
    except HeritageError as error:
        return {error.code}, {Outcome.FAIL}
    codes = {finding.code for verdict in verdicts for finding in verdict.findings}
    return codes - OF_THE_MACHINE, {verdict.outcome for verdict in verdicts}


def _walk(monkeypatch, folder, work, least):
    for number in itertools.count(1):
        with monkeypatch.context() as patch:
            failing = _Failing(patch, folder, number)
            codes, outcomes = _said(work)
        if failing.failed is None:
            assert outcomes == {Outcome.PASS}
            assert number > least
            return
        where = f"{failing.failed}, call {number}: {codes}"
        assert codes <= SAYS_IT, where
        assert codes or Outcome.FAIL not in outcomes, where


@pytest.mark.parametrize("deep", [False, True], ids=["plain", "deep"])
def test_no_error_of_a_disk_is_a_statement_about_bytes(whole, monkeypatch, deep):
    def work():
        with Ledger.open(whole) as ledger:
            yield from ledger.verify(deep=deep)

    _walk(monkeypatch, whole, work, 40)


def test_a_look_at_the_surroundings_ends_whatever_cannot_be_read(whole, monkeypatch):
    def work():
        with Ledger.open(whole) as ledger:
            return ledger.doctor()

    _walk(monkeypatch, whole, work, 20)


def test_a_bag_alone_is_not_accused_either(whole, monkeypatch):
    (bag,) = whole.glob("packages/*/1")
    _walk(monkeypatch, bag, lambda: [verify_bag(bag)], 20)


@pytest.mark.parametrize("name", ["data/below/page.tif", "bag-info.txt", "manifest-sha512.txt", "data/below"])
def test_what_this_user_may_not_read_is_not_called_smaller(whole, tmp_path, name):
    (bag,) = whole.glob("packages/*/1")
    copy = tmp_path / "bag"
    shutil.copytree(bag, copy)
    user = os.geteuid()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == user and path.name.startswith(("pytest", "popen", "test_")):
            path.chmod(0o755)
    (copy / name).chmod(0)
    try:
        if not user:
            os.seteuid(54_321)
        codes, outcomes = _said(lambda: [verify_bag(copy)])
    finally:
        os.seteuid(user)
        (copy / name).chmod(0o755)
    assert Outcome.FAIL in outcomes
    assert codes <= SAYS_IT, codes
    assert reading.read_file(bag / "bagit.txt", ()).size
