"""What `heritage.toml` says under `[node]` (`specs/home.md`, "Settings")."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from heritage_ledger.home.settings_table import check_secret, invalid

if TYPE_CHECKING:
    from heritage_ledger.home.settings_table import Table

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
LOGS = ("text", "json")
"""What the log of a node may be written as."""
MAX_RATE = 1_000_000
"""A rate that limits nobody."""


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How this institution's node meets others.

    `host` and `port` are where it listens, `url` where others reach it; `admin_token` says where the token
    for local administration is found. `allow_private` lets peers live at loopback and private addresses.
    `copies` is how many verified copies a package should have, its own among them. `check_days` is how often
    the node compares every package with its address, 0 for never. `trusted_proxies` are the addresses and
    networks whose X-Forwarded-For is believed; `public_rate` is how many units of work a second the public
    may ask for from one address. `ca_file` names certificates that are believed of peers beside those of the
    system. With `call_in` nobody can reach the node, and it calls its peers. `proxy` is the URL of a proxy
    through which peers are asked, `proxy_login` says where its `NAME:PASSWORD` is found. `log` is one of
    `LOGS`; with `access_log` it has a line for each request.

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
    ca_file: str | None = None
    call_in: bool = False
    proxy: str | None = None
    proxy_login: str | None = None
    log: str = "text"
    access_log: bool = False


NODE_KEYS = {one.name for one in fields(NodeSettings)} - {"host", "port"} | {"listen"}


def parse_node(table: Table) -> NodeSettings:
    """Read the table `[node]`."""
    usual = NodeSettings()
    host, colon, port = (table.text("listen") or f"{usual.host}:{usual.port}").rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) >= 1 << 16:
        raise invalid('listen = "ADDRESS:PORT"', repr(table.values["listen"])[:80])
    url = table.text("url")
    if url is not None:
        _check_own_url(url)
    call_in = _flag(table, "call_in", default=usual.call_in)
    if call_in and url is not None:
        raise invalid("call_in = true, or url", "both")
    proxy, login = table.text("proxy"), check_secret(table.text("proxy_login"))
    if proxy is not None:
        _check_own_url(proxy, "proxy")
        if urlsplit(proxy).scheme != "http" or urlsplit(proxy).path.strip("/"):
            raise invalid('proxy = "http://HOST:PORT"', "https, or a path")
    if login is not None and proxy is None:
        raise invalid("proxy_login beside proxy", "no proxy")
    return NodeSettings(
        host.strip("[]"),
        int(port),
        None if url is None else url.rstrip("/"),
        check_secret(table.text("admin_token")),
        _flag(table, "allow_private", default=usual.allow_private),
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
        table.file("ca_file"),
        call_in,
        None if proxy is None else proxy.rstrip("/"),
        login,
        _log(table),
        _flag(table, "access_log", default=usual.access_log),
    )


def _flag(table: Table, name: str, *, default: bool) -> bool:
    found = table.values.get(name, default)
    if not isinstance(found, bool):
        raise invalid(f"{name} = true or false", repr(found)[:80])
    return found


def _log(table: Table) -> str:
    found = table.text("log") or LOGS[0]
    if found not in LOGS:
        raise invalid(f"log = one of {', '.join(LOGS)}", repr(found)[:80])
    return found


def _check_own_url(url: str, name: str = "url") -> None:
    """Refuse a URL that nobody could ask by."""
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
        expected = (
            f'{name} = "https://HOST[:PORT][/PATH]", without name, password, query or fragment, in ASCII'
        )
        raise invalid(expected, "another URL")  # never the text itself, which may hold a password


def _proxies(table: Table) -> tuple[str, ...]:
    names = table.names("trusted_proxies")
    for name in names:
        try:
            ipaddress.ip_network(name)
        except ValueError as error:
            raise invalid(
                'trusted_proxies = ["ADDRESS", "NETWORK/BITS"]', f"{name!r}: {error}"[:80]
            ) from error
    return names
