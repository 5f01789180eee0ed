"""The settings file `heritage.toml`: strict, small, no secrets (worked example: `specs/home.md`)."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import tomlkit

from heritage_ledger.errors import OperationFailed, UsageError
from heritage_ledger.home.durable import write_file, writing
from heritage_ledger.home.node_settings import NODE_KEYS, NodeSettings, parse_node
from heritage_ledger.home.settings_table import Table, check_secret, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_INSTITUTION = 200
"""Characters in an institution's name: it stands in every event and bag."""
_ORIGIN = re.compile(
    r"(?=.{1,200}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
    r"/[a-z0-9][a-z0-9._-]*/[1-9][0-9]{0,5}"
)
DEFAULT_KUBO = "/ip4/127.0.0.1/tcp/5001"
"""Where a Kubo daemon listens unless it was told otherwise."""
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
    """Where blocks live: `engine` is `embedded` or `kubo`, `kubo_api` a multiaddr or URL.

    `ca_file` names certificates that are believed of engines beside those of the system.
    """

    engine: str = "embedded"
    kubo_api: str = DEFAULT_KUBO
    kubo_token: str | None = None
    replication: Replication | None = None
    ca_file: str | None = None


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
    node: NodeSettings = field(default_factory=NodeSettings)

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
    root = Table("", document, {"ledger", "content", "storage", "copies", "node"})
    ledger = root.table("ledger", {"institution", "origin", "database"})
    institution, origin = ledger.text("institution"), ledger.text("origin")
    if institution is None or origin is None:
        raise invalid("institution and origin as text", str(sorted(ledger.values)))
    check_institution(institution)
    check_origin(origin)
    return Settings(
        institution,
        origin,
        check_database(ledger.text("database")),
        _content(root.table("content", _CONTENT_KEYS)),
        _classes(root.table("storage", None)),
        _readers(root.table("copies", None)),
        parse_node(root.table("node", NODE_KEYS)),
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
    "ca_file",
}


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


def _content(table: Table) -> Content:
    engine = table.text("engine") or "embedded"
    if engine not in {"embedded", "kubo"}:
        raise invalid('engine = "embedded" or "kubo"', repr(engine)[:80])
    targets = [name for name in ("cluster", "pinning") if table.text(name)]
    if len(targets) > 1:
        raise invalid("either cluster or pinning", "both")
    replication = None
    allocations = table.names("allocations")
    for kind in targets:
        usual = 2 if kind == "cluster" else 1  # a pinning service is one copy, whatever it does inside
        fewest = table.count("copies_min", usual)
        most = table.count("copies_max", max(fewest, usual + 1))
        if fewest > most:
            raise invalid("copies_min ≤ copies_max", f"{fewest} and {most}")
        replication = Replication(
            kind,
            table.text(kind) or "",
            check_secret(table.text(f"{kind}_token")),
            fewest,
            most,
            allocations,
        )
    return Content(
        engine,
        table.text("kubo_api") or DEFAULT_KUBO,
        check_secret(table.text("kubo_token")),
        replication,
        table.file("ca_file"),
    )


def _classes(table: Table) -> dict[str, bool]:
    classes = {}
    for name in table.values:
        entry = table.table(name, {"keep_bag"})
        keeps = entry.values.get("keep_bag")
        if not _CLASS.fullmatch(name) or not isinstance(keeps, bool):
            raise invalid("[storage.NAME] with keep_bag = true or false", f"[storage.{name}]"[:80])
        classes[name] = keeps
    return classes


def _readers(table: Table) -> dict[str, Reader]:
    readers = {}
    for name in table.values:
        entry = table.table(name, {"kubo_api", "gateway", "token"})
        kinds = [kind for kind in ("kubo_api", "gateway") if entry.text(kind)]
        if len(kinds) != 1:
            raise invalid("[copies.PEER] with kubo_api or gateway", f"[copies.{name}]"[:80])
        readers[name] = Reader(kinds[0], entry.text(kinds[0]) or "", check_secret(entry.text("token")))
    return readers


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


def check_not_moved(path: Path, settings: Settings) -> None:
    """Raise `OperationFailed` (`database-moved`) where the file names another database than `settings` does.

    Heads of the old one are behind, and say nothing about the home.
    """
    if read_settings(path).database != settings.database:
        raise OperationFailed(
            "database-moved",
            "heads and index were moved to another database while this process ran",
            path=str(path),
            advice="start it again: it then reads the settings as they are now",
        )
