"""The numbers of `/metrics`: one table of what is told, and how each is read.

What cannot be read now is `NaN` or has no series, `heritage_metrics_unreadable` is 1 for its part, and no
other number goes with it. Totals count from the start of the process.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily

from heritage_ledger.errors import HeritageError
from heritage_ledger.federation.clocks import read_clock
from heritage_ledger.federation.held import replica_folders
from heritage_ledger.home.marks import read_unsure
from heritage_ledger.home.room import free_room, reserve_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from heritage_node.service import Service

log = logging.getLogger("heritage_node")

GAUGES: Final = {
    "log_entries": ("Entries of the own log", ()),
    "log_witnessed_entries": ("Entries that meet the witness policy", ()),
    "log_cosigned_timestamp_seconds": ("When a witness cosigned last", ("witness",)),
    "appends_allowed": ("0 where the log forked, or it is open which copy is the newest", ()),
    "mirror_entries": ("Entries of a mirror", ("origin",)),
    "mirror_frozen": ("1 where a log has shown two histories", ("origin",)),
    "peer_contact_timestamp_seconds": ("When a look at a peer went well last", ("origin",)),
    "peer_heard_timestamp_seconds": ("When a peer signed something for us last", ("origin",)),
    "peer_clock_ahead_seconds": ("How far a peer's clock is ahead of ours", ("origin",)),
    "packages": ("Packages of the own log", ()),
    "packages_due": ("Packages whose time to be checked had come, at the last look", ()),
    "packages_damaged": ("Packages that were not whole when they were checked last, and were not mended", ()),
    "replicas": ("Packages that are held for others", ("origin",)),
    "pledges": ("Promises to hold packages of others", ()),
    "disk_free_bytes": ("Bytes that may still be written on the disk of the home", ()),
    "disk_reserve_bytes": ("Bytes of that disk that nothing from others may take", ()),
    "database_up": ("1 where the heads can be read", ()),
    "database_seconds": ("How long it took to read the heads", ()),
    "engine_up": ("1 where what holds the blocks answers", ("engine",)),
    "engine_seconds": ("How long it took to answer", ("engine",)),
    "metrics_unreadable": ("1 where numbers of this part cannot be read now", ("part",)),
}
"""What each gauge says, and its labels, by its name without `heritage_`."""
TOTALS: Final = {
    "peer_failures": ("Looks at a peer that did not go well", "origin"),
    "peer_given_bytes": ("Bytes of blocks that a peer was given", "origin"),
    "checks": ("Packages that were compared with their addresses", "result"),
}
"""What each total says, and its label."""
UNREADABLE: Final = "metrics_unreadable"


class Numbers:
    """The gauges and totals of one node; `read` brings them up to date."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._gauges = {
            name: Gauge(f"heritage_{name}", said, labels, registry=registry)
            for name, (said, labels) in GAUGES.items()
        }
        self._totals: dict[str, Mapping[str, int]] = {}
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        build = Info("heritage_build", "The release of this software", registry=registry)
        build.info({"version": version("heritage-ledger")})
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The totals, as prometheus_client asks for them."""
        for name, counts in self._totals.items():
            said, label = TOTALS[name]
            family = CounterMetricFamily(f"heritage_{name}", said, labels=[label])
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            yield family

    def describe(self) -> Iterator[Metric]:
        """Nothing before the first reading."""
        return iter(())

    def read(self, service: Service) -> None:
        """Read every part anew; one that cannot be read takes no other one away."""
        for part, read in PARTS.items():
            try:
                read(self, service)
                self._set(UNREADABLE, 0, part)
            except Exception as error:
                self._set(UNREADABLE, 1, part)
                if not isinstance(error, HeritageError):
                    log.exception("metrics: %s cannot be read", part)

    def _set(self, name: str, value: float, *labels: str) -> None:
        gauge = self._gauges[name]
        (gauge.labels(*labels) if labels else gauge).set(value)

    def _forget(self, *names: str) -> None:
        """Say that nothing is known of these, until it is read."""
        for name in names:
            if GAUGES[name][1]:
                self._gauges[name].clear()
            else:
                self._set(name, math.nan)

    def log(self, service: Service) -> None:
        """How far the own log has come."""
        self._forget("log_entries")
        self._set("log_entries", service.checkpoint().size)

    def witnesses(self, service: Service) -> None:
        """How far it is witnessed, and since when."""
        self._forget("log_witnessed_entries", "log_cosigned_timestamp_seconds")
        standing = service.federation.standing()
        self._set("log_witnessed_entries", standing.size)
        for witness, when in standing.cosigned.items():
            self._set("log_cosigned_timestamp_seconds", when, witness)

    def appends(self, service: Service) -> None:
        """Whether the own log may grow."""
        self._forget("appends_allowed")
        unsure = read_unsure(service.ledger.home)
        is_open = unsure is not None and unsure.own
        self._set("appends_allowed", not is_open and not service.federation.is_frozen(service.ledger.origin))

    def peers(self, service: Service) -> None:
        """What is known of each peer."""
        self._forget("mirror_entries", "mirror_frozen")
        self._forget("peer_contact_timestamp_seconds", "peer_heard_timestamp_seconds")
        self._forget("peer_clock_ahead_seconds")
        frozen = {fork.origin for fork in service.forks()}
        for peer in service.federation.peers:
            self._set("mirror_entries", service.federation.mirrored(peer.origin), peer.origin)
            self._set("mirror_frozen", peer.origin in frozen, peer.origin)
            if (when := service.watch.contacts.get(peer.origin)) is not None:
                self._set("peer_contact_timestamp_seconds", when, peer.origin)
            if (when := service.watch.heard.get(peer.origin)) is not None:
                self._set("peer_heard_timestamp_seconds", when, peer.origin)
            if (ahead := read_clock(service.ledger.home.mirror_of(peer.origin))) is not None:
                self._set("peer_clock_ahead_seconds", ahead, peer.origin)

    def packages(self, service: Service) -> None:
        """What is checked."""
        self._forget("packages", "packages_due", "packages_damaged")
        self._set("packages_due", service.watch.due)
        self._set("packages_damaged", len(service.watch.damaged))
        self._set("packages", service.ledger.index.count_packages())

    def totals(self, service: Service) -> None:
        """What was counted since the start."""
        watch = service.watch
        given, failures = dict(watch.given), dict(watch.failures)
        checks = {result: watch.checks[result] for result in ("whole", "mended", "damaged")}
        self._totals = {"peer_failures": failures, "peer_given_bytes": given, "checks": checks}

    def holding(self, service: Service) -> None:
        """What is held for others, and promised to them."""
        self._forget("replicas", "pledges")
        held = Counter("/".join(path.parts[-4:-1]) for path in replica_folders(service.ledger.home))
        for origin, count in held.items():
            self._set("replicas", count, origin)
        self._set("pledges", len(service.federation.promises.published()))

    def disk(self, service: Service) -> None:
        """What room there is."""
        self._forget("disk_free_bytes", "disk_reserve_bytes")
        root = service.ledger.home.root
        self._set("disk_free_bytes", free_room(root).bytes)
        self._set("disk_reserve_bytes", reserve_of(root, service.ledger.settings.node.reserve_mib).bytes)

    def database(self, service: Service) -> None:
        """Whether the heads can be read."""
        self._forget("database_seconds")
        self._set("database_up", 0)
        began = time.perf_counter()
        service.federation.state.heads()
        self._set("database_up", 1)
        self._set("database_seconds", time.perf_counter() - began)

    def engine(self, service: Service) -> None:
        """Whether what holds the blocks answers, and how soon."""
        self._forget("engine_up", "engine_seconds")
        if service.watch.engine is not None:
            is_up, seconds = service.watch.engine
            name = service.ledger.settings.content.engine
            self._set("engine_up", is_up, name)
            if is_up:
                self._set("engine_seconds", seconds, name)


PARTS: Final[dict[str, Callable[[Numbers, Service], None]]] = {
    "log": Numbers.log,
    "witnessed": Numbers.witnesses,
    "appends": Numbers.appends,
    "peers": Numbers.peers,
    "packages": Numbers.packages,
    "totals": Numbers.totals,
    "holding": Numbers.holding,
    "disk": Numbers.disk,
    "database": Numbers.database,
    "engine": Numbers.engine,
}
"""How each part is read; the names are those that `heritage_metrics_unreadable` tells."""
