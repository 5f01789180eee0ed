"""From a walk over files to the address of the whole directory, holding only the folders that are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heritage_ledger.content.unixfs import UNIXFS_V1_2025, DirectoryBuilder, Entry, check_name
from heritage_ledger.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from heritage_ledger.content.unixfs import Emit, Profile


class _Open:
    """A folder that is being fed, and the names of the folders in it that are already closed."""

    __slots__ = ("builder", "closed", "name")

    def __init__(self, name: bytes, emit: Emit, profile: Profile) -> None:
        self.name = name
        self.builder = DirectoryBuilder(emit, profile=profile)
        self.closed: set[bytes] = set()


class TreeBuilder:
    """Makes a directory tree from paths with their entries.

    Order: everything below one folder comes in one piece; folders and files of one folder may come in any
    order and mixed. So a depth-first walk works, and so does any list sorted by the whole path as text or as
    bytes; a manifest in another order must be sorted first. `emit` gets each folder's nodes when the walk
    leaves it.

    A path is text with `/` between its parts, or a tuple of byte names; text is encoded as UTF-8.
    """

    def __init__(self, emit: Emit, *, profile: Profile = UNIXFS_V1_2025) -> None:
        self._emit = emit
        self._profile = profile
        self._stack = [_Open(b"", emit, profile)]
        self._last: str | None = None
        self._first_level: dict[bytes, Entry] = {}
        self._finished = False

    def add(self, path: str | Sequence[bytes], entry: Entry) -> None:
        """Add the file `path`.

        Raises:
            UsageError: `tree-order`, its folder was left before; `entry-name`; `tree-finished`.
            OperationFailed: a folder that is left holds duplicates or colliding names.
        """
        if not isinstance(path, str):
            self._move(tuple(path[:-1]))
            self._stack[-1].builder.add(path[-1] if path else b"", entry)
            return
        folder, slash, name = path.rpartition("/")
        if folder != self._last or (slash and not folder):
            self._move(_parts(folder) if folder else (b"",) * len(slash))  # "/a" has an empty first part
            self._last = folder
        self._stack[-1].builder.add(_encode(name), entry)

    def add_directory(self, path: str | Sequence[bytes]) -> None:
        """Add the folder `path`, for one that holds no file; adding an open one changes nothing.

        The empty path is the root: it leaves every folder that is open, so that `first_level` knows them.

        Raises:
            UsageError, OperationFailed: as `add`.
        """
        self._move(_parts(path) if isinstance(path, str) else tuple(path))

    def finish(self) -> Entry:
        """Close all folders and return the entry of the whole tree.

        Raises:
            UsageError: `tree-finished`, a second time.
            OperationFailed: as `add`.
        """
        self._move(())
        self._finished = True
        return self._stack[0].builder.finish()

    def first_level(self, name: str | bytes) -> Entry:
        """Return the entry of the folder `name` in the root, once it was left (always after `finish`).

        Raises:
            UsageError: `tree-folder`, there is none, or it is still open.
        """
        key = _encode(name) if isinstance(name, str) else name
        entry = self._first_level.get(key)
        if entry is None:
            raise UsageError(
                "tree-folder", "no such folder was closed", path=key.decode(errors="backslashreplace")
            )
        return entry

    def _move(self, parts: tuple[bytes, ...]) -> None:
        """Close the folders that are left and open those that are entered."""
        self._last = None
        if self._finished:
            raise UsageError("tree-finished", "nothing can be added to a finished tree")
        same = 0
        for folder, name in zip(self._stack[1:], parts, strict=False):
            if folder.name != name:
                break
            same += 1
        while len(self._stack) > same + 1:
            self._close()
        for name in parts[same:]:
            if name in self._stack[-1].closed:
                raise UsageError(
                    "tree-order",
                    "a folder is entered a second time",
                    path=b"/".join(parts).decode(errors="backslashreplace"),
                    expected="everything below one folder in one piece",
                    advice="sort the paths",
                )
            check_name(name)
            self._stack.append(_Open(name, self._emit, self._profile))

    def _close(self) -> None:
        folder = self._stack.pop()
        entry = folder.builder.finish()
        parent = self._stack[-1]
        parent.builder.add(folder.name, entry)
        parent.closed.add(folder.name)
        if len(self._stack) == 1:
            self._first_level[folder.name] = entry


def _parts(path: str) -> tuple[bytes, ...]:
    return tuple(_encode(part) for part in path.split("/")) if path else ()


def _encode(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            "entry-name", "a name in text must be Unicode", found=ascii(name), advice="pass the name's bytes"
        ) from error
