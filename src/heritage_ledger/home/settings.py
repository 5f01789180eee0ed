"""The settings file `heritage.toml`: strict, small, no secrets (worked example: `specs/home.md`)."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import tomlkit

from heritage_ledger.errors import KeyProblem, UsageError
from heritage_ledger.home.durable import write_file, writing

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_INSTITUTION = 200
"""Characters in an institution's name: it stands in every event and bag."""
MAX_ORIGIN = 200
"""Bytes in an origin: C2SP cosignatures allow 255."""
_ORIGIN = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
    r"/[a-z0-9][a-z0-9._-]*/[1-9][0-9]{0,5}"
)
MAX_COPIES = 64
"""Copies that may be asked for: a federation, not a swarm."""
DEFAULT_KUBO = "/ip4/127.0.0.1/tcp/5001"
"""Where a Kubo daemon listens unless it was told otherwise."""
DEFAULT_PORT = 8463
"""Where a node listens unless it was told otherwise; 0 lets the system choose."""
MAX_CHECK_DAYS = 3_650
"""The longest time between two checks of a package by the node."""
MAX_MIB = 1 << 40
"""The largest size that can be set, in MiB: 2^60 bytes."""
MAX_ENTRIES = 1 << 40
"""The most entries of a mirror that can be set."""
MAX_SYNC_SECONDS = 86_400
"""The longest pause between two rounds of looking at peers."""
DEFAULT_RATE = 50
"""Units of work a second for one address: `node/heritage_node/costs.py` says what each route costs."""
MAX_RATE = 1_000_000
"""A rate that limits nobody."""
DEFAULT_CLASS = "default"
"""The storage class of a package for which none was named."""
_CLASS = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


@dataclass(frozen=True, slots=True)
class Replication:
    """Where copies are kept beyond this machine: `kind` is `cluster` or `pinning`, `api` its address.

    `token` says where the token is found (`read_secret`), never the token itself. `allocations` names the
    peers that are to hold copies before others.
    """

    kind: str
    api: str
    token: str | None = None
    copies_min: int = 2
    copies_max: int = 3
    allocations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """How one peer's copy is read back: `kind` is `kubo_api` or `gateway`, `api` its address."""

    kind: str
    api: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """Where blocks live: `engine` is `embedded` or `kubo`, `kubo_api` a multiaddr or URL."""

    engine: str = "embedded"
    kubo_api: str = DEFAULT_KUBO
    kubo_token: str | None = None
    replication: Replication | None = None


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How this institution's node meets others.

    `host` and `port` are where it listens, `url` where others reach it; `admin_token` says where the token
    for local administration is found. `allow_private` lets peers live at loopback and private addresses.
    `copies` is how many verified copies a package should have, its own among them. `check_days` is how often
    the node compares every package with its address, 0 for never. `trusted_proxies` are the addresses and
    networks whose X-Forwarded-For is believed; `public_rate` is how many units of work a second the public
    may ask for from one address.

    What comes from others is bounded: `reserve_mib` of the disk stay free of it (None: a share of the disk,
    `heritage_ledger.home.room`), `replicas_mib` are taken by replicas in all and `peer_replicas_mib` by those
    of one peer (0: as far as pledges and the reserve go), `mirrors_mib` and `peer_mirror_mib` by mirrors,
    and a mirror has at most `peer_mirror_entries` entries.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    url: str | None = None
    admin_token: str | None = None
    allow_private: bool = False
    sync_seconds: int = 60
    copies: int = 2
    check_days: int = 30
    trusted_proxies: tuple[str, ...] = ()
    public_rate: int = DEFAULT_RATE
    reserve_mib: int | None = None
    replicas_mib: int = 0
    peer_replicas_mib: int = 0
    mirrors_mib: int = 65_536
    peer_mirror_mib: int = 16_384
    peer_mirror_entries: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """What `heritage.toml` says.

    `database` is the URL of the index and the heads where SQLite is not used. `classes` says for each storage
    class whether its bags stay on the disk beside the engine's own blocks. `readers` says by the name of a
    peer how its copy is read back.
    """

    institution: str
    origin: str
    database: str | None = None
    content: Content = Content()
    classes: Mapping[str, bool] = field(default_factory=dict)
    readers: Mapping[str, Reader] = field(default_factory=dict)
    node: NodeSettings = NodeSettings()

    def kept_in(self, file: Path) -> Path | str:
        """Where what the file of a home would hold is kept: in that file, or in the database."""
        return self.database or file

    def keeps_bag(self, storage_class: str) -> bool:
        """Say whether bags of a storage class stay on the disk.

        Raises:
            UsageError: there is no such class (`storage-class`).
        """
        kept = self.classes.get(storage_class, True if storage_class == DEFAULT_CLASS else None)
        if kept is None:
            raise UsageError(
                "storage-class",
                "heritage.toml has no storage class of this name",
                expected=", ".join(sorted({DEFAULT_CLASS, *self.classes})),
                found=storage_class[:80],
                advice="name one of them, or write a table [storage.NAME] into heritage.toml",
            )
        return kept or self.content.engine == "embedded"


def check_institution(name: str) -> None:
    """Raise `UsageError` unless `name` is one line of 1 to 200 printable characters."""
    if not 1 <= len(name) <= MAX_INSTITUTION or name != name.strip() or not name.isprintable():
        raise UsageError(
            "institution-invalid",
            "the institution's name cannot be used",
            expected=f"1 to {MAX_INSTITUTION} printable characters, no space at either end",
            found=repr(name[:80]),
        )


def check_origin(origin: str) -> None:
    """Raise `UsageError` unless `origin` is `<domain>/<name>/<epoch>` in lower case (`specs/log.md`)."""
    if not _ORIGIN.fullmatch(origin):
        raise UsageError(
            "origin-invalid",
            "the log's origin cannot be used",
            expected="<domain>/<name>/<epoch> in lower case, as in museum.example/ledger/1",
            found=repr(origin[:80]),
            advice="take a domain that the institution owns; count the epoch from 1",
        )


def format_settings(settings: Settings) -> bytes:
    """Return the text of `heritage.toml`."""

    # a JSON string without escapes beyond \\ and \" is a TOML basic string; control characters are refused
    def quoted(text: str) -> str:
        return json.dumps(text, ensure_ascii=False)

    return (
        "# Settings of this ledger home. Never put secrets here.\n"
        "[ledger]\n"
        f"institution = {quoted(settings.institution)}\n"
        f"origin = {quoted(settings.origin)}\n"
        + (f"database = {quoted(settings.database)}\n" if settings.database else "")
    ).encode()


def parse_settings(data: bytes) -> Settings:
    """Return the checked settings.

    Raises:
        UsageError: it is not TOML, a key is unknown or missing, or a value cannot be used.
    """
    try:
        document = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(
            "settings-invalid", f"heritage.toml cannot be read: {error}", advice="mend the file by hand"
        ) from error
    root = _Table("", document, {"ledger", "content", "storage", "copies", "node"})
    ledger = root.table("ledger", {"institution", "origin", "database"})
    institution, origin = ledger.text("institution"), ledger.text("origin")
    if institution is None or origin is None:
        raise _invalid("institution and origin as text", str(sorted(ledger.values)))
    check_institution(institution)
    check_origin(origin)
    return Settings(
        institution,
        origin,
        check_database(ledger.text("database")),
        _content(root.table("content", _CONTENT_KEYS)),
        _classes(root.table("storage", None)),
        _readers(root.table("copies", None)),
        _node(root.table("node", _NODE_KEYS)),
    )


_CONTENT_KEYS = {
    "engine",
    "kubo_api",
    "kubo_token",
    "cluster",
    "cluster_token",
    "pinning",
    "pinning_token",
    "copies_min",
    "copies_max",
    "allocations",
}


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the file, whose keys are among `known` where that is given."""

    name: str
    values: Mapping[str, object]
    known: set[str] | None

    def __post_init__(self) -> None:
        unknown = sorted(self.values.keys() - self.known) if self.known is not None else []
        if unknown:
            raise _invalid("the keys of specs/home.md", f"{', '.join(unknown)} in [{self.name}]")

    def table(self, name: str, known: set[str] | None) -> _Table:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise _invalid(f"a table [{name}]", type(value).__name__)
        return _Table(name, value, known)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and (not isinstance(value, str) or not value or not value.isprintable()):
            raise _invalid(f"{name} as text", repr(value)[:80])
        return value

    def names(self, name: str) -> tuple[str, ...]:
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(
            isinstance(one, str) and one.isprintable() for one in value
        ):
            raise _invalid(f"{name} as a list of names", repr(value)[:80])
        return tuple(value)

    def count(self, name: str, default: int, most: int = MAX_COPIES, *, least: int = 1) -> int:
        value = self.values.get(name, default)
        if type(value) is not int or not least <= value <= most:
            raise _invalid(f"{name} from {least} to {most}", repr(value)[:80])
        return value


def check_database(url: str | None) -> str | None:
    """Return `url`, None or the address of a PostgreSQL database.

    Raises:
        UsageError: it is something else, or holds a password (`database-url`).
    """
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError as error:
        raise _no_database(str(error)) from error
    if password or "password" in parts.query:
        raise _no_database("a password in it")
    if parts.scheme != "postgresql+psycopg":
        raise _no_database(f"{parts.scheme}://…"[:80])
    return url


def _no_database(found: str) -> UsageError:
    return UsageError(
        "database-url",
        "this database URL cannot be used",
        expected="postgresql+psycopg://USER@HOST/NAME, without a password",
        found=found,  # never the text itself, which may hold a password
        advice="leave the password to the server's own ways: PGPASSFILE or PGPASSWORD",
    )


def _content(table: _Table) -> Content:
    engine = table.text("engine") or "embedded"
    if engine not in {"embedded", "kubo"}:
        raise _invalid('engine = "embedded" or "kubo"', repr(engine)[:80])
    targets = [name for name in ("cluster", "pinning") if table.text(name)]
    if len(targets) > 1:
        raise _invalid("either cluster or pinning", "both")
    replication = None
    allocations = table.names("allocations")
    for kind in targets:
        usual = 2 if kind == "cluster" else 1  # a pinning service is one copy, whatever it does inside
        fewest = table.count("copies_min", usual)
        most = table.count("copies_max", max(fewest, usual + 1))
        if fewest > most:
            raise _invalid("copies_min ≤ copies_max", f"{fewest} and {most}")
        replication = Replication(
            kind,
            table.text(kind) or "",
            _secret(table.text(f"{kind}_token")),
            fewest,
            most,
            allocations,
        )
    return Content(
        engine,
        table.text("kubo_api") or DEFAULT_KUBO,
        _secret(table.text("kubo_token")),
        replication,
    )


def _classes(table: _Table) -> dict[str, bool]:
    classes = {}
    for name in table.values:
        entry = table.table(name, {"keep_bag"})
        keeps = entry.values.get("keep_bag")
        if not _CLASS.fullmatch(name) or not isinstance(keeps, bool):
            raise _invalid("[storage.NAME] with keep_bag = true or false", f"[storage.{name}]"[:80])
        classes[name] = keeps
    return classes


def _readers(table: _Table) -> dict[str, Reader]:
    readers = {}
    for name in table.values:
        entry = table.table(name, {"kubo_api", "gateway", "token"})
        kinds = [kind for kind in ("kubo_api", "gateway") if entry.text(kind)]
        if len(kinds) != 1:
            raise _invalid("[copies.PEER] with kubo_api or gateway", f"[copies.{name}]"[:80])
        readers[name] = Reader(kinds[0], entry.text(kinds[0]) or "", _secret(entry.text("token")))
    return readers


_NODE_KEYS = {one.name for one in fields(NodeSettings)} - {"host", "port"} | {"listen"}


def _node(table: _Table) -> NodeSettings:
    usual = NodeSettings()
    host, colon, port = (table.text("listen") or f"{usual.host}:{usual.port}").rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise _invalid('listen = "ADDRESS:PORT"', repr(table.values["listen"])[:80])
    url = table.text("url")
    if url is not None:
        _check_own_url(url)
    private = table.values.get("allow_private", usual.allow_private)
    if not isinstance(private, bool):
        raise _invalid("allow_private = true or false", repr(private)[:80])
    return NodeSettings(
        host.strip("[]"),
        int(port),
        None if url is None else url.rstrip("/"),
        _secret(table.text("admin_token")),
        private,
        table.count("sync_seconds", usual.sync_seconds, MAX_SYNC_SECONDS),
        table.count("copies", usual.copies),
        table.count("check_days", usual.check_days, MAX_CHECK_DAYS, least=0),
        _proxies(table),
        table.count("public_rate", usual.public_rate, MAX_RATE),
        table.count("reserve_mib", 0, MAX_MIB, least=0) if "reserve_mib" in table.values else None,
        table.count("replicas_mib", usual.replicas_mib, MAX_MIB, least=0),
        table.count("peer_replicas_mib", usual.peer_replicas_mib, MAX_MIB, least=0),
        table.count("mirrors_mib", usual.mirrors_mib, MAX_MIB),
        table.count("peer_mirror_mib", usual.peer_mirror_mib, MAX_MIB),
        table.count("peer_mirror_entries", usual.peer_mirror_entries, MAX_ENTRIES),
    )


def _check_own_url(url: str) -> None:
    """Refuse a URL that peers could not sign a request for: they sign one spelling of it."""
    try:
        parts = urlsplit(url)
        usable = (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and "@" not in parts.netloc
            and parts.port != 0
            and not {"?", "#", " "} & set(url)
            and url.isascii()
        )
    except ValueError:  # a port above 65535, half an IPv6 address
        usable = False
    if not usable:
        expected = 'url = "https://HOST[:PORT][/PATH]", without name, password, query or fragment, in ASCII'
        raise _invalid(expected, "another URL")  # never the text itself, which may hold a password


def _proxies(table: _Table) -> tuple[str, ...]:
    names = table.names("trusted_proxies")
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError as error:
            raise _invalid(
                'trusted_proxies = ["ADDRESS", "NETWORK/BITS"]', f"{name!r}: {error}"[:80]
            ) from error
    return names


def _secret(text: str | None) -> str | None:
    if text is not None and not text.startswith(("env:", "file:")):
        raise _invalid("a token as env:NAME or file:PATH, never the token itself", "something else")
    return text


def read_secret(text: str | None) -> str | None:
    """Return the secret that `env:NAME` or `file:PATH` stands for; None for None.

    Raises:
        KeyProblem: it is not there, empty, or not one line (`token-missing`).
    """
    if text is None:
        return None
    kind, _, name = text.partition(":")
    try:
        value = os.environ[name] if kind == "env" else Path(name).expanduser().read_text(encoding="utf-8")
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise _no_token(text, type(error).__name__) from error
    value = value.strip()
    if not value or not value.isprintable():
        raise _no_token(text, "nothing, or more than one line")
    return value


def _no_token(text: str, found: str) -> KeyProblem:
    return KeyProblem(
        "token-missing",
        "the token that heritage.toml names cannot be read",
        path=text,
        expected="one line of text",
        found=found,
        advice="set the variable, or write the file for this user alone",
    )


def _invalid(expected: str, found: str) -> UsageError:
    return UsageError(
        "settings-invalid",
        "heritage.toml does not say what it must",
        expected=expected,
        found=found,
        advice="mend the file by hand",
    )


def read_settings(path: Path) -> Settings:
    """Read and check `heritage.toml`."""
    with writing(path):
        data = path.read_bytes()
    return parse_settings(data)


def change_settings(path: Path, table: str, name: str, value: str | None) -> Settings:
    """Set or remove one key of `heritage.toml`, and leave everything else in it as it was written.

    Raises:
        UsageError: the file would no longer be settings; nothing is written.
    """
    with writing(path):
        data = path.read_bytes()
    parse_settings(data)
    document = tomlkit.parse(data.decode())
    if value is None:
        document.get(table, {}).pop(name, None)
    else:
        document.setdefault(table, tomlkit.table())[name] = value
    changed = tomlkit.dumps(document).encode()
    settings = parse_settings(changed)
    write_file(path, changed, mode=0o644, replace=True)
    return settings
