"""Other institutions without a network: homes whose files are read as a web server would give them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from heritage_ledger.federation.client import Answer
from heritage_ledger.federation.mirroring import Synced, sync_mirror
from heritage_ledger.federation.peers import discover
from heritage_ledger.log.note import format_note, parse_note, parse_vkey

if TYPE_CHECKING:
    from heritage_ledger import Ledger


class Papers:
    """In place of a client: what lies below `folder` is what `url` gives; `change` replaces single files."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.change: dict[str, bytes] = {}

    def get(self, url: str, *, limit: int = 1 << 20) -> bytes | None:
        assert url.startswith(f"{self.url}/")
        path = url.removeprefix(f"{self.url}/")
        if path in self.change:
            return self.change[path]
        place = self.folder / path
        data = place.read_bytes() if place.is_file() else None
        assert data is None or len(data) <= limit
        return data

    def ask(self, method: str, url: str, *, limit: int = 1 << 20, headers: object = None) -> Answer:
        assert method == "GET"
        data = self.get(url, limit=limit)
        return Answer(404, {}, b"") if data is None else Answer(200, {}, data)


def befriend(ledger: Ledger, other: Path, url: str) -> Synced:
    """Make the institution of the home `other` a peer of `ledger`, and mirror its log."""
    papers = Papers(url, other)
    peer = discover(papers, url)  # type: ignore[arg-type]
    ledger.federation.peers.add(peer)
    settings = ledger.settings.node
    return sync_mirror(ledger.home, ledger.federation.state, peer, papers, settings=settings)  # type: ignore[arg-type]


def without_kind(checkpoint: bytes, vkeys: list[str], kind: int) -> bytes:
    """The signed checkpoint without the line of the key of that kind."""
    cut = {(key.name, key.key_id) for key in map(parse_vkey, vkeys) if key.kind == kind}
    assert cut
    note = parse_note(checkpoint)
    return format_note(note.text, [one for one in note.signatures if (one.name, one.key_id) not in cut])
