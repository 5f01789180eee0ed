"""Durable writes: whole or not at all, and honest about the disk."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import textwrap

import pytest

from heritage_ledger.errors import DiskProblem, OperationFailed
from heritage_ledger.home import durable


def test_a_written_file_is_whole_sealed_and_alone(tmp_path):
    target = tmp_path / "checkpoint"
    durable.write_file(target, b"one")
    assert target.read_bytes() == b"one"
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_an_existing_file_is_kept_unless_it_may_be_replaced(tmp_path):
    target = tmp_path / "file"
    durable.write_file(target, b"first")
    with pytest.raises(OperationFailed) as caught:
        durable.write_file(target, b"second")
    assert caught.value.code == "file-exists"
    assert target.read_bytes() == b"first"
    durable.write_file(target, b"second", replace=True)
    assert target.read_bytes() == b"second"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_is_moved_and_never_over_another(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    with pytest.raises(OperationFailed) as caught:
        durable.move_folder(tmp_path / "a", tmp_path / "b")
    assert caught.value.code == "file-exists"
    durable.move_folder(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c" / "x").read_text() == "a"
    assert (tmp_path / "b" / "x").read_text() == "b"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "disk-read-only"),
        (errno.EACCES, "disk-refused"),
        (errno.EPERM, "disk-refused"),
        (errno.EIO, "disk-failing"),
        (errno.ENOTDIR, "file-system"),
    ],
)
def test_each_refusal_of_the_file_system_has_its_code(number, code):
    error = durable.disk_error(OSError(number, os.strerror(number)), "/home/x")
    assert error.code == code
    assert error.path == "/home/x"


def test_a_short_write_goes_on(tmp_path):
    path = tmp_path / "x"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        durable.write_all(descriptor, b"abcdef", 2)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == b"\0\0abcdef"


def test_sealed_trees_can_be_removed(tmp_path):
    sealed = tmp_path / "bag" / "data"
    sealed.mkdir(parents=True)
    (sealed / "x").write_bytes(b"x")
    sealed.chmod(0o555)
    sealed.parent.chmod(0o555)
    durable.remove_tree(tmp_path / "bag")
    durable.remove_tree(tmp_path / "bag")
    assert list(tmp_path.iterdir()) == []


def test_the_first_failed_fsync_stops_all_writing():
    # a pipe cannot be synced: a real failing fsync, in a process of its own because it stays stopped
    script = textwrap.dedent(
        """
        import os, pathlib, tempfile
        from heritage_ledger.errors import DiskProblem
        from heritage_ledger.home import durable
        reader, writer = os.pipe()
        try:
            durable.sync_descriptor(writer, "pipe")
        except DiskProblem as error:
            print(error.code)
        folder = pathlib.Path(tempfile.mkdtemp())
        try:
            durable.write_file(folder / "x", b"x")
        except DiskProblem as error:
            print(error.code)
        print(list(folder.iterdir()))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:3] == ["disk-sync-failed", "disk-sync-stopped", "[]"]


@pytest.mark.parametrize("syncfs", [True, False])
def test_a_tree_is_synced_as_a_whole_or_file_by_file(tmp_path, syncfs):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(b"b")
    with durable.TreeSync(tmp_path) as tree:
        if not syncfs:
            tree._syncfs = None
        tree.sync()


def test_a_folder_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises((OperationFailed, DiskProblem)) as caught:
        durable.sync_folder(tmp_path / "none")
    assert caught.value.code == "file-system"
