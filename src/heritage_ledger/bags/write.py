"""Write our bags' tag files: BagIt 1.0, UTF-8, tag manifests over all of them (`specs/bag-profile.md`)."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, BinaryIO, Self

from heritage_ledger.bags.names import encode_path
from heritage_ledger.bags.tags import format_bag_info, format_declaration
from heritage_ledger.content.algorithms import ALGORITHMS, STRONG, plain_name, supports
from heritage_ledger.content.reading import read_file
from heritage_ledger.errors import HeritageError, UsageError
from heritage_ledger.home.durable import writing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from heritage_ledger.content.reading import FileDigests

_BUFFER = 1 << 20


def format_manifest_line(digest: bytes, path: str) -> bytes:
    """Return one line of a manifest: hexadecimal digest, two spaces, encoded path, newline."""
    return f"{digest.hex()}  {encode_path(path)}\n".encode()


def parse_algorithms(names: Sequence[str]) -> tuple[str, ...]:
    """Return the algorithms' names as manifests have them, each once, whatever the spelling (`SHA-256`).

    Raises:
        UsageError: none of them is strong, or one cannot be computed here (`bag-algorithm`): what could not
            be verified is not written.
    """
    plain = tuple(dict.fromkeys(map(plain_name, names)))
    unknown = [name for name in names if not supports(plain_name(name))]
    if unknown or not STRONG.intersection(plain):
        raise UsageError(
            "bag-algorithm",
            "a bag is not written with these digest algorithms",
            expected="sha512 or sha256, and others that can be verified here beside it: "
            + ", ".join(filter(supports, ALGORITHMS)),
            found=", ".join(map(ascii, unknown or names)) or "none",
            advice="leave the choice out, or add sha512",
        )
    return plain


class BagWriter:
    """The tag files of a bag in the making; payload lines go straight to the manifests on the disk."""

    def __init__(self, root: Path, *, algorithms: Sequence[str] = ("sha512",)) -> None:
        """Begin the payload manifests in the existing folder `root`.

        Raises:
            UsageError: no strong algorithm is given, or one that is not known (`bag-algorithm`).
            DiskProblem: they cannot be written.
        """
        self._root = root
        self.algorithms = parse_algorithms(algorithms)
        self._manifests: dict[str, BinaryIO] = {}
        try:
            with writing(root):
                for algorithm in self.algorithms:
                    path = root / f"manifest-{algorithm}.txt"
                    self._manifests[algorithm] = path.open("xb", buffering=_BUFFER)
        except HeritageError:
            self.__exit__()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the manifests, also where the disk took no more of them."""
        for file in self._manifests.values():
            with contextlib.suppress(OSError):
                file.close()

    def _close(self) -> None:
        with writing(self._root):
            for file in self._manifests.values():
                file.close()

    def add_payload(self, path: str, digests: FileDigests) -> None:
        """List the payload file `path` (`data/…`) in every manifest."""
        with writing(self._root):
            for algorithm, file in self._manifests.items():
                file.write(format_manifest_line(digests.digests[algorithm], path))

    def seal(self, bag_info: Sequence[tuple[str, str]], extra: Sequence[str] = ()) -> list[str]:
        """Write the remaining tag files and return the names of all, files of the root first.

        `extra` names tag files that are there already, relative to the bag.

        Raises:
            UsageError: bag-info.txt cannot hold a label or value (`bag-info-value`).
            DiskProblem: one cannot be written.
        """
        self._close()
        with writing(self._root):
            (self._root / "bagit.txt").write_bytes(format_declaration())
            (self._root / "bag-info.txt").write_bytes(format_bag_info(bag_info))
        listed = ["bag-info.txt", "bagit.txt", *(f"manifest-{name}.txt" for name in self.algorithms), *extra]
        listed.sort(key=lambda name: ("/" in name, name))
        with writing(self._root):
            digests = {name: self._digests(name) for name in listed}
            for algorithm in self.algorithms:
                lines = (format_manifest_line(digests[name].digests[algorithm], name) for name in listed)
                (self._root / f"tagmanifest-{algorithm}.txt").write_bytes(b"".join(lines))
        listed += [f"tagmanifest-{name}.txt" for name in self.algorithms]
        return sorted(listed, key=lambda name: ("/" in name, name))

    def _digests(self, name: str) -> FileDigests:
        return read_file(self._root / name, self.algorithms)
