"""Ways in which a home comes back from the past: backups put back, and disks that are rolled back below it.

Each is a context manager over an empty folder that yields a `Past`: the folder of the home, `take()` to
remember how it is now, and `restore()` to bring that back. Snapshots of real file systems on loop devices
stand for LVM, ZFS, containers and virtual machines.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Past:
    """A home's folder, and how it is remembered and brought back."""

    home: Path
    take: Callable[[], object]
    restore: Callable[[], object]


def run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, stdin=subprocess.DEVNULL, capture_output=True)


def remove(folder: Path) -> None:
    if folder.exists():
        run("chmod", "-R", "u+w", folder)
        shutil.rmtree(folder)


@contextlib.contextmanager
def copied(folder: Path, *words: object, anew: bool = False) -> Iterator[Past]:
    """A copy put back by a program: `words` with SOURCE and TARGET, into the home or in its place."""
    home, backup = folder / "home", folder / "backup"

    def restore() -> None:
        if anew:
            remove(home)
            home.mkdir()
        place = {"SOURCE": f"{backup}/.", "TARGET": str(home)}
        run(*(place.get(str(word), word) for word in words))

    yield Past(home, lambda: run("cp", "-a", home, backup), restore)
    remove(backup)


def need_root(*programs: str) -> None:
    """Skip where loop devices cannot be mounted; CI has them."""
    missing = [program for program in programs if shutil.which(program) is None]
    reason = "this takes root, to mount loop devices" if os.geteuid() else None
    reason = f"{', '.join(missing)}: not here" if missing else reason
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"required in CI: {reason}")
    if reason:
        pytest.skip(reason)


@contextlib.contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    run("mount", "-o", "loop", image, place)
    try:
        yield
    finally:
        run("umount", "-l", place)


@contextlib.contextmanager
def rolled_back_image(folder: Path) -> Iterator[Past]:
    """The whole disk as it was, block by block: LVM, the disk of a virtual machine."""
    need_root("mkfs.ext4")
    image, kept, place = folder / "disk.img", folder / "kept.img", folder / "disk"
    run("truncate", "-s", "64M", image)
    run("mkfs.ext4", "-q", image)
    with contextlib.ExitStack() as held:
        held.enter_context(mounted(image, place))

        def again(source: Path, target: Path) -> None:
            held.close()
            run("cp", "--sparse=always", source, target)
            held.enter_context(mounted(image, place))

        yield Past(place / "home", lambda: again(image, kept), lambda: again(kept, image))


@contextlib.contextmanager
def btrfs(folder: Path) -> Iterator[Past]:
    """A snapshot of a file system that has them: btrfs, ZFS."""
    need_root("mkfs.btrfs", "btrfs")
    image, place = folder / "disk.img", folder / "disk"
    run("truncate", "-s", "256M", image)
    run("mkfs.btrfs", "-q", image)
    with mounted(image, place):
        run("btrfs", "subvolume", "create", place / "now")

        def restore() -> None:
            run("btrfs", "subvolume", "delete", place / "now")
            run("btrfs", "subvolume", "snapshot", place / "then", place / "now")

        yield Past(
            place / "now" / "home",
            lambda: run("btrfs", "subvolume", "snapshot", "-r", place / "now", place / "then"),
            restore,
        )


@contextlib.contextmanager
def overlay(folder: Path) -> Iterator[Past]:
    """A container's layer that is thrown away: what lies below it is how it was."""
    need_root("mkfs.ext4")
    image, place = folder / "disk.img", folder / "disk"
    run("truncate", "-s", "128M", image)
    run("mkfs.ext4", "-q", image)
    with mounted(image, place):
        for name in ("lower", "upper", "work", "now"):
            (place / name).mkdir()
        now = place / "now"
        below = [place / "lower"]

        def mount(upper: str) -> None:
            layers = {"lowerdir": ":".join(map(str, below)), "upperdir": place / upper}
            layers["workdir"] = place / f"{upper}-work"
            for name in ("upperdir", "workdir"):
                Path(layers[name]).mkdir(exist_ok=True)
            options = ",".join(f"{name}={value}" for name, value in layers.items())
            run("mount", "-t", "overlay", "overlay", "-o", options, now)

        mount("upper")
        try:

            def take() -> None:
                run("umount", "-l", now)
                below.insert(0, place / "upper")
                mount("later")

            def restore() -> None:
                run("umount", "-l", now)
                mount("latest")

            yield Past(now / "home", take, restore)
        finally:
            run("umount", "-l", now)


RESTORES = {
    "cp": lambda folder: copied(folder, "cp", "-a", "SOURCE", "TARGET"),
    "cp-anew": lambda folder: copied(folder, "cp", "-a", "SOURCE", "TARGET", anew=True),
    "cp-no-times": lambda folder: copied(folder, "cp", "-r", "SOURCE", "TARGET", anew=True),
    "rsync": lambda folder: copied(folder, "rsync", "-a", "--delete", "SOURCE", "TARGET"),
    "rsync-sizes": lambda folder: copied(folder, "rsync", "-a", "--size-only", "SOURCE", "TARGET"),
    "image": rolled_back_image,
    "btrfs": btrfs,
    "overlay": overlay,
}
