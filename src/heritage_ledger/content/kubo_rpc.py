"""Kubo's RPC, as far as packages need it: the only home of `ipfshttpclient`.

`ipfshttpclient` carries the routes that work with current daemons (`version`, `repo/stat`, `block/get`,
`pin/rm`); its `connect` refuses them, so it is constructed as `Client`. The routes that it lacks or cannot
stream (`dag/import`, `dag/export`, `pin/add` and `pin/ls` with names) go over plain HTTP.

Every call says `offline`: a block is here or it is missing, and nothing waits for a network. `pin/add` waits
for missing blocks all the same (measured with 0.43); the count in its progress lines tells, and the wait
ends when it stands still.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import socket
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from heritage_ledger.content.cid import Cid, format_cid, parse_cid
from heritage_ledger.content.http import MAX_STREAM, Address, Service, WholeAdapter, authorization
from heritage_ledger.errors import EvidenceMissing, HeritageError, KeyProblem, OperationFailed, UsageError

try:
    import ipfshttpclient
except ImportError:  # it is an extra: one of its own parts has no wheel
    ipfshttpclient = None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from heritage_ledger.content.exchange import Waits

OLDEST: Final = (0, 32)
"""The oldest Kubo that is used: the first whose pins have names that can be listed with them."""
PIN_STILL_SECONDS: Final = 10.0
"""How long `pin/add` may count no further before blocks are taken to be missing."""
_VERSION: Final = re.compile(r"(?:kubo/|go-ipfs/)?([0-9]+)\.([0-9]+)\.[0-9]+")
_OFFLINE: Final = ("offline", "true")
_JOINED: Final = 256 << 10
"""Bytes that are sent at once when the sections of a CAR are small."""
_NOT_HERE: Final = ("block was not found locally", "could not find", "not found")
_NOT_PINNED: Final = "not pinned"
_INDIRECT: Final = "indirect through "


@dataclass(frozen=True, slots=True)
class Pin:
    """One recursive pin: what it holds and the name it was given, which may be empty."""

    cid: str
    name: str


@dataclass(frozen=True, slots=True)
class RepoStat:
    """What a repository says of itself: `size` and `limit` in bytes, `blocks` in all."""

    size: int
    limit: int
    blocks: int


class KuboRpc:
    """One daemon; a context, or to be closed. Raises what `heritage_ledger.content.http.Service` promises."""

    def __init__(self, address: Address, token: str | None = None, waits: Waits | None = None) -> None:
        """Nothing is asked yet.

        Raises:
            UsageError: the library for it is not installed (`engine-needs-extra`).
        """
        if ipfshttpclient is None:
            raise UsageError(
                "engine-needs-extra",
                "what speaks to a Kubo is not installed",
                expected="the extra kubo",
                found="an installation without it",
                advice="run: pip install 'heritage-ledger[kubo]'",
            )
        self._service = Service("Kubo", address, token, waits)
        self._headers = authorization(token)
        self._client: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of every connection."""
        self._service.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    @property
    def url(self) -> str:
        """Where the daemon is."""
        return self._service.address.url

    # through ipfshttpclient

    def _library(self, work: Callable[[Any], Any]) -> Any:
        """Do `work` with the client library, its exceptions turned into errors of ours."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of 2021: it uses what later releases of its own parts deprecate
            try:
                if self._client is None:
                    self._client = self._connected()
                return work(self._client)
            except HeritageError:
                raise
            except ipfshttpclient.exceptions.ErrorResponse as error:
                raise self._service.refusal(str(error), "an error") from error
            except ipfshttpclient.exceptions.StatusError as error:
                raise self._status(error) from error
            except Exception as error:  # it takes what it is told apart unchecked
                raise self._service.unexpected("an answer of Kubo's RPC", repr(error)) from error

    def _connected(self) -> Any:
        """The client library, on connections of ours: answers are bounded in size and time."""
        service = self._service
        client = ipfshttpclient.Client(
            service.address.multiaddr, session=True, headers=self._headers, timeout=service.waits.silent
        )
        session = client._client._session  # noqa: SLF001 - it has no other way to be given an adapter
        session.trust_env = False
        session.family = socket.AF_UNSPEC
        session.headers["Accept-Encoding"] = "identity"
        for scheme in ("http", "https"):
            session.mount(f"{scheme}://", WholeAdapter(service))
        return client

    def _status(self, error: Any) -> HeritageError:
        response = getattr(getattr(error, "original", None), "response", None)
        status = getattr(response, "status_code", 0)
        if status in {401, 403}:
            return KeyProblem(
                "engine-token",
                "Kubo does not accept our token",
                path=self.url,
                expected="a token that API.Authorizations of the daemon knows",
                found=f"status {status}",
                advice="set the token that the settings name, as the daemon's own settings have it",
            )
        return self._service.refusal(str(error), f"status {status}")

    def addresses(self) -> list[str]:
        """The multiaddrs at which other daemons find this one."""
        found = self._library(lambda client: client.id()["Addresses"])
        if found is not None and not _are_texts(found):
            raise self._service.unexpected("Addresses", repr(found)[:80])
        return list(found or ())

    def version(self) -> str:
        """The daemon's version.

        Raises:
            OperationFailed: it is older than what is used here (`engine-version`).
        """
        said = str(self._library(lambda client: client.version()["Version"]))
        match = _VERSION.match(said)
        if match is None:
            raise self._service.unexpected("a version", repr(said))
        if (int(match[1]), int(match[2])) < OLDEST:
            raise OperationFailed(
                "engine-version",
                "this Kubo is too old",
                path=self.url,
                expected=f"{'.'.join(map(str, OLDEST))}.0 or newer",
                found=said[:40],
                advice="install a current Kubo; its repository is migrated at the first start",
            )
        return said

    def repo_stat(self) -> RepoStat:
        """Size and number of blocks of the repository; counting takes time on large ones."""
        said = self._library(lambda client: dict(client.repo.stat()))
        try:
            found = [said[name] for name in ("RepoSize", "StorageMax", "NumObjects")]
        except (KeyError, TypeError) as error:
            raise self._service.unexpected("RepoSize, StorageMax, NumObjects", repr(said)[:80]) from error
        if not all(type(one) is int and 0 <= one < 1 << 64 for one in found):
            raise self._service.unexpected("sizes and a number of blocks", repr(said)[:80])
        return RepoStat(*found)

    def block_get(self, cid: Cid) -> bytes:
        """The bytes that the daemon has under `cid`; not hashed.

        Raises:
            EvidenceMissing: it has none (`block-missing`).
        """
        text = format_cid(cid)
        try:
            block = self._library(lambda client: client.block.get(text, opts=dict([_OFFLINE])))
        except OperationFailed as error:
            if error.code == "engine-refused" and any(words in str(error.found) for words in _NOT_HERE):
                raise _missing(cid) from error
            raise
        if not isinstance(block, bytes):
            raise self._service.unexpected("bytes", type(block).__name__)
        return block

    def pin_rm(self, cid: Cid) -> None:
        """Remove the recursive pin of `cid`; none is no error."""
        try:
            gone = self._library(lambda client: client.pin.rm(format_cid(cid))["Pins"])
        except OperationFailed as error:
            if error.code != "engine-refused" or _NOT_PINNED not in str(error.found):
                raise
            return
        if not _are_texts(gone) or format_cid(cid) not in gone:
            raise self._service.unexpected("the pin that was removed", repr(gone)[:80])

    # over plain HTTP

    def dag_import(self, root: Cid, sections: Iterable[bytes]) -> None:
        """Stream a CARv1 (its header first) into the daemon; nothing is pinned.

        Raises:
            EvidenceInvalid: a block does not hash to its CID (`block-damaged`), as far as Kubo's words tell.
            OperationFailed: the daemon took another number of blocks than were sent (`engine-import`).
        """
        counted = _Counted(sections)
        boundary = secrets.token_hex(16)
        lines = self._service.lines(
            "POST",
            "/api/v0/dag/import",
            query=[("pin-roots", "false"), ("stats", "true"), _OFFLINE],
            body=_multipart(boundary, counted),
            headers={"Content-Type": f'multipart/form-data; boundary="{boundary}"'},
        )
        taken = None
        for line in lines:
            _check_line(self._service, line)
            stats = line.get("Stats")
            if isinstance(stats, dict):
                taken = stats.get("BlockCount")
        if taken != counted.blocks:
            raise OperationFailed(
                "engine-import",
                "Kubo did not take every block",
                path=format_cid(root),
                expected=f"{counted.blocks} blocks",
                found=f"{taken} blocks",
                advice="run the same command again; what is there already is not stored twice",
            )

    @contextlib.contextmanager
    def dag_export(self, root: Cid) -> Iterator[Callable[[int], bytes]]:
        """The blocks below `root` as a CARv1 stream: a context that gives a function to read it.

        A block that is missing or damaged ends the stream early.
        """
        query = [("arg", format_cid(root)), ("progress", "false"), _OFFLINE]
        with self._service.opened("POST", "/api/v0/dag/export", query=query, limit=MAX_STREAM) as answer:
            assert answer is not None
            yield answer.read

    def pin_add(self, cid: Cid, name: str) -> None:
        """Pin everything below `cid` under `name`, which replaces the name of a pin that is there.

        Raises:
            EvidenceMissing: blocks are missing (`block-missing`).
        """
        lines = self._service.lines(
            "POST",
            "/api/v0/pin/add",
            query=[("arg", format_cid(cid)), ("name", name), ("progress", "true"), _OFFLINE],
        )
        moved, last = time.monotonic(), -1
        try:
            for line in lines:
                _check_line(self._service, line)
                if line.get("Pins"):
                    if not _are_texts(line["Pins"]) or format_cid(cid) not in line["Pins"]:
                        raise self._service.unexpected("the pin that was asked for", repr(line)[:80])
                    return
                count = line.get("Progress", 0)
                if count != last:
                    moved, last = time.monotonic(), count
                elif time.monotonic() - moved > PIN_STILL_SECONDS:
                    break
        except OperationFailed as error:
            if error.code == "engine-refused" and any(words in str(error.found) for words in _NOT_HERE):
                raise _missing(cid) from error
            raise
        raise _missing(cid)

    def pins(self) -> Iterator[Pin]:
        """Every recursive pin with its name."""
        lines = self._service.lines(
            "POST", "/api/v0/pin/ls", query=[("type", "recursive"), ("names", "true"), ("stream", "true")]
        )
        for line in lines:
            _check_line(self._service, line)
            cid = line.get("Cid")
            if not isinstance(cid, str):
                raise self._service.unexpected("Cid and Name", repr(line)[:80])
            yield Pin(cid, str(line.get("Name") or ""))

    def pin_name(self, cid: Cid) -> str | None:
        """The name of the recursive pin of `cid`; None when there is no such pin."""
        for text, found in self._pins_of(cid, ("type", "recursive"), ("names", "true")):
            if parse_cid(text) == cid:
                return str(found.get("Name") or "")
        return None

    def pin_over(self, cid: Cid) -> str | None:
        """A pin because of which the daemon keeps `cid`: the CID that is pinned; None without."""
        for text, found in self._pins_of(cid, ("type", "all")):
            kind = found.get("Type")
            if not isinstance(kind, str):
                raise self._service.unexpected("the Type of a pin", repr(found)[:80])
            return kind.removeprefix(_INDIRECT) if kind.startswith(_INDIRECT) else text
        return None

    def _pins_of(self, cid: Cid, *query: tuple[str, str]) -> list[tuple[str, dict[str, Any]]]:
        asked = [("arg", format_cid(cid)), *query, _OFFLINE]
        try:
            said = self._service.json("POST", "/api/v0/pin/ls", query=asked)
        except OperationFailed as error:
            if error.code == "engine-refused" and _NOT_PINNED in str(error.found):
                return []
            raise
        keys = said.get("Keys") if isinstance(said, dict) else None
        if not isinstance(keys, dict):
            raise self._service.unexpected("Keys", repr(said)[:80])
        return [(text, found) for text, found in keys.items() if isinstance(found, dict)]

    def block_rm(self, cid: Cid) -> None:
        """Remove a block that no pin holds; none is no error."""
        query = [("arg", format_cid(cid)), ("force", "true"), _OFFLINE]
        for line in self._service.lines("POST", "/api/v0/block/rm", query=query):
            _check_line(self._service, line)
            if line.get("Error"):
                raise self._service.refusal(str(line["Error"]), "a block that stays")
            if line.get("Hash") != format_cid(cid):
                raise self._service.unexpected("the block that was removed", repr(line)[:80])

    def pin_verify(self, cid: Cid) -> list[str]:
        """The blocks that the daemon itself says are bad below the pin of `cid`, in its words.

        It answers from what it remembers, and says nothing of bytes that changed: read the blocks to know.
        """
        bad = []
        query = [("quiet", "true"), _OFFLINE]
        for line in self._service.lines("POST", "/api/v0/pin/verify", query=query):
            _check_line(self._service, line)
            if not isinstance(line.get("Cid"), str):
                raise self._service.unexpected("the Cid of a pin", repr(line)[:80])
            if line["Cid"] == format_cid(cid):
                bad += [f"{node.get('Cid')}: {node.get('Err')}" for node in line.get("BadNodes") or ()]
        return bad


class _Counted:
    """The sections of a CAR, joined while they are small; counts the blocks that passed."""

    def __init__(self, sections: Iterable[bytes]) -> None:
        self._sections = sections
        self.blocks = -1  # the header is no block

    def __iter__(self) -> Iterator[bytes]:
        parts: list[bytes] = []
        size = 0
        for section in self._sections:
            self.blocks += 1
            parts.append(section)
            size += len(section)
            if size >= _JOINED:
                yield parts[0] if len(parts) == 1 else b"".join(parts)
                parts.clear()
                size = 0
        if parts:
            yield b"".join(parts)


def _multipart(boundary: str, car: Iterable[bytes]) -> Iterator[bytes]:
    """One file of a form (RFC 7578), piece by piece."""
    yield (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="package.car"\r\n'
        "Content-Type: application/vnd.ipld.car\r\n\r\n"
    ).encode()
    yield from car
    yield f"\r\n--{boundary}--\r\n".encode()


def _check_line(service: Service, line: Any) -> None:
    """Notice what goes wrong within an answer whose status is 200."""
    if not isinstance(line, dict):
        raise service.unexpected("JSON objects", repr(line)[:80])
    root = line.get("Root")
    said = line.get("Message") if line.get("Type") == "error" else None
    if isinstance(root, dict):
        said = said or root.get("PinErrorMsg")
    if said:
        raise service.refusal(str(said), "an error within the answer")


def _are_texts(found: object) -> bool:
    return isinstance(found, list) and all(isinstance(one, str) for one in found)


def _missing(cid: Cid) -> EvidenceMissing:
    return EvidenceMissing(
        "block-missing",
        "the engine does not hold the block, or one below it",
        path=format_cid(cid),
        advice="fill the engine again from the bag: `heritage engine move --to kubo`",
    )
