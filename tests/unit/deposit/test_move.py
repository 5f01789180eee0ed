"""`--move` never removes what it does not hold, whatever happens to the source meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from heritage_ledger.errors import HeritageError, OperationFailed
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.progress import Silent

ASSET = "urn:example:moved"


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("old")
    (folder / "below" / "b.txt").write_text("bb")
    return folder


def _sound(ledger) -> bool:
    return all(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))


def _hook(monkeypatch, name, at, then):
    """Do `then` once, just before `os.<name>` of a path that ends with `at`."""
    real = getattr(os, name)
    done = []

    def call(path, *words, **rest):
        if not done and os.fsencode(path).endswith(at):
            done.append(1)
            then()
        return real(path, *words, **rest)

    monkeypatch.setattr(os, name, call)
    return done


def _replace(source, content="new!!"):
    (source.parent / "aside").write_text(content)
    (source.parent / "aside").replace(source / "a.txt")


def test_what_is_linked_is_what_was_read(ledger, source, monkeypatch):
    done = _hook(monkeypatch, "link", b"/a.txt", lambda: _replace(source))
    receipt = ledger.ingest(source, asset=ASSET, move=True)
    assert done
    assert (receipt.bag_path / "data" / "a.txt").read_text() == "old"
    assert (source / "a.txt").read_text() == "new!!"
    assert not (source / "below").exists()
    assert _sound(ledger)


@pytest.mark.parametrize("call", ["lstat", "rename"])
def test_what_came_after_the_copy_stays(ledger, source, monkeypatch, call):
    class AtTheEnd(Silent):
        def begin(self, phase, *, files=None, size=None):
            if phase == "seal":
                self.done = _hook(monkeypatch, call, b"source/a.txt", lambda: _replace(source))

    progress = AtTheEnd()
    receipt = ledger.ingest(source, asset=ASSET, move=True, progress=progress)
    assert progress.done
    assert (receipt.bag_path / "data" / "a.txt").read_text() == "old"
    assert [path.read_text() for path in source.iterdir()] == ["new!!"]
    assert [path.name for path in source.iterdir()] == ["a.txt"]
    assert _sound(ledger)


class _Meddling(Silent):
    """Does something once the survey is over."""

    def __init__(self, change):
        self.change = change

    def begin(self, phase, *, files=None, size=None):
        if phase == "copy":
            self.change()


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("how", ["pipe", "pipe in a swapped folder", "link", "folder"])
def test_nothing_in_the_place_of_a_file_hangs_or_misleads(ledger, source, tmp_path, how, move):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.mkfifo(elsewhere / "b.txt")

    def change():
        file = source / "below" / "b.txt"
        file.unlink()
        match how:
            case "pipe":
                os.mkfifo(file)
            case "pipe in a swapped folder":
                file.parent.rmdir()
                file.parent.symlink_to(elsewhere)
            case "link":
                file.symlink_to("/etc/hostname")
            case "folder":
                file.mkdir()

    with pytest.raises(OperationFailed) as caught:
        ledger.ingest(source, asset=ASSET, move=move, progress=_Meddling(change))
    assert caught.value.code in {"source-changed", "source-unreadable"}
    assert (source / "a.txt").read_text() == "old"
    assert list(ledger.assets()) == []


def test_a_pipe_that_takes_the_place_of_a_bag_s_file_hangs_nobody(ledger, source, tmp_path):
    bag = tmp_path / "bag"
    shutil.copytree(ledger.ingest(source).bag_path, bag)
    (bag / "data").chmod(0o755)

    def change():
        (bag / "data" / "a.txt").unlink()
        os.mkfifo(bag / "data" / "a.txt")

    with pytest.raises(HeritageError) as caught:
        ledger.adopt(bag, asset=ASSET, progress=_Meddling(change))
    assert caught.value.code in {"bag-invalid", "source-unreadable"}


def test_nothing_is_lost_while_another_program_renames(ledger, source):
    """Every version that was ever complete under the name is in the source or in a package at the end."""
    stop = threading.Event()
    written = []

    def rename():
        number = 0
        while not stop.is_set():
            number += 1
            aside = source.parent / "aside"
            aside.write_text(f"version {number}")
            try:
                os.link(aside, source / "a.txt")  # only where the last one was taken
                written.append(f"version {number}")
            except FileExistsError:
                pass
            except FileNotFoundError:
                source.mkdir(exist_ok=True)
            aside.unlink()

    (source / "a.txt").unlink()
    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for _ in range(30):
            with contextlib.suppress(HeritageError):  # the source is empty, or changed meanwhile
                ledger.ingest(source, asset=ASSET, move=True)
    finally:
        stop.set()
        thread.join()
    kept = {path.read_text() for path in ledger.home.packages.glob("*/*/data/a.txt")}
    left = {path.read_text() for path in source.glob("*")} if source.exists() else set()
    assert set(written) <= kept | left
    assert written
    assert _sound(ledger)
    assert not list(Path(source).glob(".heritage-moved-*"))
