"""A bag that lies in an engine, read by its address: the same bytes, every block hashed on the way.

`stored_bag` gives a validation what a walk over a folder would give it, and a temporary folder with the tag
files. `write_stored` writes the whole bag into a folder again, byte for byte. What the address does not say
(times, permissions) is not brought back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from heritage_ledger.bags.walk import EmptyFolder
from heritage_ledger.content.cid import RAW, codec_of, digest_of
from heritage_ledger.content.message import Kind
from heritage_ledger.content.reading import FileDigests, digest_pieces
from heritage_ledger.content.walk import file_leaves, read_leaf, walk
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.bags.walk import Outcome
    from heritage_ledger.content.cid import Cid
    from heritage_ledger.content.directory import Get
    from heritage_ledger.content.package import PackageGraph
    from heritage_ledger.content.walk import Visit
    from heritage_ledger.progress import Progress

MAX_TAG_BYTES: Final = 2 << 30
"""Bytes of tag files that are brought onto the disk to validate a bag: manifests of ten million files."""


def stored_files(get: Get, root: Cid) -> Iterator[tuple[str, Visit | None]]:
    """Yield every file of the package `root` with its path, and every empty folder with None.

    Raises:
        EvidenceInvalid: a node is damaged (`block-damaged`) or no bag has such a tree (`package-tree`).
        EvidenceMissing: `block-missing`.
    """
    folder = ""
    for visit in walk(get, root):
        path = _text(visit)
        if folder and not path.startswith(f"{folder}/"):
            yield folder, None
        folder = ""
        if visit.kind is Kind.DIRECTORY:
            folder = path
        elif visit.kind is Kind.FILE:
            yield path, visit
        else:
            raise _no_bag(path, visit.kind.name)
    if folder:
        yield folder, None


def _text(visit: Visit) -> str:
    try:
        parts = [part.decode() for part in visit.path]
    except UnicodeDecodeError as error:
        raise _no_bag(repr(visit.path), "a name that is not UTF-8") from error
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
        raise _no_bag("/".join(parts), "a name that leads elsewhere")
    return "/".join(parts)


def _no_bag(path: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "package-tree",
        "the tree below this address is not that of a bag",
        path=path,
        expected="files and folders",
        found=found,
        advice="check that the address is that of a package of this ledger",
    )


def add_stored(get: Get, root: Cid, graph: PackageGraph, progress: Progress) -> None:
    """Add every file of the package `root` to `graph`, from its nodes alone: no payload is read.

    Raises:
        EvidenceInvalid, EvidenceMissing: as `stored_files`.
    """
    for path, visit in stored_files(get, root):
        if visit is None:
            graph.add_folder(path)
            continue
        graph.add(path, FileDigests(visit.size or 0, {}, _leaf_digests(get, visit.cid)))
        progress.advance(files=1)


def _leaf_digests(get: Get, cid: Cid) -> bytes:
    if codec_of(cid) == RAW:
        return digest_of(cid)
    return b"".join(digest_of(leaf.cid) for leaf in file_leaves(get, cid))


@contextlib.contextmanager
def stored_tags(get: Get, root: Cid) -> Iterator[Path]:
    """Give a temporary folder that holds the tag files of the package `root` and an empty `data/`.

    Raises:
        EvidenceInvalid, EvidenceMissing: as `stored_files`; `package-tree` beyond `MAX_TAG_BYTES`.
    """
    with tempfile.TemporaryDirectory(prefix="heritage-tags-") as name:
        folder = Path(name)
        size = 0
        for path, visit in stored_files(get, root):
            if path == "data" or path.startswith("data/"):
                (folder / "data").mkdir(exist_ok=True)
                continue
            if visit is None:
                (folder / path).mkdir(parents=True)
                continue
            size += visit.size or 0
            if size > MAX_TAG_BYTES:
                raise _no_bag(path, f"more than {MAX_TAG_BYTES} bytes of tag files")
            _write(get, visit, folder / path)
        yield folder


def read_stored_bag(
    get: Get, root: Cid, algorithms: tuple[str, ...], progress: Progress
) -> Iterator[tuple[str, Outcome]]:
    """Yield each path of the package with its digests, as `heritage_ledger.bags.walk.read_bag` does.

    A file whose blocks are missing or damaged comes as the `OSError` that a bad disk would have given.
    """
    for path, visit in stored_files(get, root):
        if visit is None:
            yield path, EmptyFolder()
            continue
        try:
            yield path, digest_pieces(_pieces(get, visit, progress), algorithms)
        except (EvidenceInvalid, EvidenceMissing) as error:
            said = f"{error.code}: {error.path}"
            yield path, OSError(errno.EIO, said)


def write_stored(get: Get, root: Cid, target: Path, progress: Progress) -> None:
    """Write the package `root` into the empty folder `target`; nothing is synced.

    Raises:
        EvidenceInvalid, EvidenceMissing: as `stored_files`, also of the files' own blocks.
        DiskProblem: the disk is full or failing.
    """
    for path, visit in stored_files(get, root):
        if visit is None:
            with writing(target):
                (target / path).mkdir(parents=True)
        else:
            _write(get, visit, target / path, progress)
            progress.advance(files=1)


def _pieces(get: Get, visit: Visit, progress: Progress | None = None) -> Iterator[bytes]:
    for leaf in file_leaves(get, visit.cid):
        piece = read_leaf(get, leaf)
        if progress is not None:
            progress.advance(size=len(piece))
        yield piece


def _write(get: Get, visit: Visit, target: Path, progress: Progress | None = None) -> None:
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        for piece in _pieces(get, visit, progress):
            view = memoryview(piece)
            with writing(target):
                while view:
                    view = view[file.write(view) :]
