"""Valid values at their extremes go the whole way: append, mirror, absorb, index, trace, duties, replicate.

One event with a count of 19 digits ended every node that followed its log. Each kind of event of a peer's
log is signed here with every number at its ends, and with what 0.1 signed beyond them, and followed by an
honest one: that one must be seen.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.statement import frame
from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, OperationFailed
from heritage_ledger.events.bodies import pledge_body
from heritage_ledger.events.canonical import format_canonical
from heritage_ledger.events.event import open_event, open_logged, sign_event
from heritage_ledger.events.proof import sign_document
from heritage_ledger.federation.client import Answer
from heritage_ledger.federation.mirroring import mirror_evidence, sync_mirror
from heritage_ledger.federation.peers import discover
from heritage_ledger.federation.pledges import Duties, Pledge, holders
from heritage_ledger.federation.quota import MirrorQuota
from heritage_ledger.federation.replicas import Replicator
from heritage_ledger.home.node_settings import NodeSettings
from heritage_ledger.index.store import Index

OWN, EVIL = "museum.example/ledger/1", "archive.example/ledger/1"
URL = "https://evil.example"
VECTORS = Path(__file__).resolve().parents[3] / "specs" / "vectors" / "event.json"
BODIES = {
    case["id"]: case["given"]["body"]
    for case in json.loads(VECTORS.read_text(encoding="ascii"))["cases"]
    if case["given"]["op"] == "sign" and "counts" not in case["id"] and case["id"] != "genesis"
}
COUNTS = ("size", "fileCount", "byteCount", "packageCount", "failureCount", "maxBytes")
EXTREMES = {
    "least": {"count": "0", "time": "0001-01-01T00:00:00Z", "version": "1"},
    "most": {"count": str(2**63 - 1), "time": "9999-12-31T23:59:59.999Z", "version": "999999999"},
    "beyond": {"count": "9" * 19, "time": "9999-12-31T23:59:59Z", "version": "999999999"},
}


def elsewhere(body, number):
    """The same body about an asset of its own."""
    for key in ("generated", "used"):
        if "asset" in body.get(key, ()):
            asset = {**body[key]["asset"], "id": f"urn:example:{number}"}
            return {**body, key: {**body[key], "asset": asset}}
    return body


def extreme(value, how, key=""):
    """The same body with every number and time of it changed."""
    if isinstance(value, dict):
        return {name: extreme(one, how, name) for name, one in value.items()}
    if isinstance(value, list):
        return [extreme(one, how, key) for one in value]
    if key in COUNTS:
        return how["count"]
    if key in {"startedAt", "endedAt", "until"}:
        return how["time"]
    return how["version"] if key == "version" else value


class Files:
    """A peer's node as far as its log: what `Client.get` would give."""

    def __init__(self, folder):
        self.folder = folder

    def get(self, url, *, limit=1 << 20):
        path = self.folder / url.removeprefix(f"{URL}/log/")
        return path.read_bytes() if path.is_file() else None

    def ask(self, method, url, *, limit=1 << 20, headers=None):
        data = self.get(url, limit=limit)
        return Answer(404, {}, b"") if data is None else Answer(200, {}, data)


@pytest.fixture
def evil(tmp_path):
    with Ledger.init(tmp_path / "evil", institution="Archive", origin=EVIL, passphrase=None) as made:
        yield made


@pytest.fixture
def own(tmp_path):
    with Ledger.init(tmp_path / "own", institution="Museum", origin=OWN, passphrase=None) as made:
        assert made.books  # opened before there is a witness to ask
        yield made


def write(ledger, body, number, *, strict):
    """Append a body as this log's own, as 0.1 would have where it is not `strict`."""
    books = ledger.books
    head = {"id": f"urn:uuid:00000000-0000-4000-8000-{number:012}", "log": EVIL}
    if strict:
        data = sign_event({**body, **head}, books.keys.event, created=books.now())
    else:
        data = format_canonical(sign_document({**body, **head}, books.keys.event, created=books.now()))
    books.appender.append([data], time=books.time())
    return data


def follow(own, evil):
    client = Files(evil.home.log)
    peer = discover(client, URL)
    own.federation.peers.add(peer)
    synced = sync_mirror(own.home, own.federation.state, peer, client, settings=own.settings.node)
    return peer, synced


@pytest.mark.parametrize("how", EXTREMES)
def test_every_kind_of_event_at_its_extremes_harms_nobody(own, evil, how):
    written = [
        write(evil, extreme(elsewhere(body, number), EXTREMES[how]), number, strict=how != "beyond")
        for number, body in enumerate(BODIES.values())
    ]
    honest = write(evil, BODIES["pledge"], 99, strict=True)
    peer, synced = follow(own, evil)
    entries = len(written) + 2
    assert synced.size == entries
    odd = [one.path.partition("/")[0].rstrip(",") for one in synced.findings]
    numbered = [f"entry {at}" for at, data in enumerate(written, 1) if open_logged(data).oversized]
    assert odd == (numbered if how == "beyond" else [])
    assert bool(numbered) == (how == "beyond")
    for data in written:
        if how == "beyond" and open_logged(data).oversized:
            with pytest.raises(EvidenceInvalid):
                open_event(data)

    with own.federation.reader(EVIL) as reader:
        assert [row.log_index for row in reader.index.events()] == list(range(entries))
        assert reader.show(open_event(honest).id).document == honest.decode()
        list(reader.assets())
        for summary in list(reader.events()):
            reader.show(summary.event_id)
        for row in list(reader.index.packages()):
            reader.trace(row.asset)
            assert row.bytes <= 2**63 - 1
    evidence = mirror_evidence(own.home, peer)
    with Index.open(own.home.mirror_of(EVIL).index, origin=EVIL) as index:
        duties = Duties()
        duties.update(index, evidence.log, evidence.checkpoint.size)
    holders(own.home, own.federation.peers, EVIL, {})
    list(own.federation.copies(own.index))
    promise = Pledge(EVIL, "9999-12-31T23:59:59.999Z", (), None, 1, "2026-01-01T00:00:00Z")
    made = Replicator(
        own.home, own.books, own.federation.peers, Duties(pledges={EVIL: promise}), nullcontext()
    )
    for done in made.run(lambda _: Nothing()):
        assert done.findings
    again = sync_mirror(
        own.home, own.federation.state, peer, Files(evil.home.log), settings=own.settings.node
    )
    assert again.findings == ()  # what is odd is named once


class Nothing:
    """A source that has nothing."""

    def __init__(self):
        self.given, self.findings = Counter(), ()

    def get(self, cid):
        raise EvidenceMissing("block-missing", "not here")

    def get_many(self, cids, most=None):
        return {}


def test_what_a_log_says_twice_does_not_blind_its_mirror(own, evil):
    body = BODIES["ingestion"]
    write(evil, body, 1, strict=True)
    write(evil, body, 1, strict=True)  # the same id
    write(evil, body, 2, strict=True)  # the same version of the same asset
    last = write(evil, BODIES["pledge"], 3, strict=True)
    _, synced = follow(own, evil)
    assert synced.size == 5
    assert [(one.code, one.path) for one in synced.findings] == [
        ("event-repeated", "entry 2"),
        ("event-repeated", "entry 3"),
    ]
    with own.federation.reader(EVIL) as reader:
        assert [row.log_index for row in reader.index.events()] == [0, 1, 3, 4]
        assert reader.index.event(4).event_id == open_event(last).id
        assert len(list(reader.index.packages())) == 1


def test_an_own_log_of_the_first_release_stays_usable(tmp_path, evil):
    """`pledge --max-bytes 9999999999999999999` was taken by 0.1."""
    books = evil.books
    good = pledge_body(frame(books, books.now()), source=OWN, until="2099-12-31T00:00:00Z", max_bytes=5)
    data = format_canonical(
        sign_document({**good, "maxBytes": "9" * 19}, books.keys.event, created=books.now())
    )
    books.appender.append([data], time=books.time())
    source = tmp_path / "f"
    source.write_text("x")
    evil.ingest(source, asset="urn:x")
    assert evil.federation.pledges()[OWN].max_bytes == 10**19 - 1
    taken_back = evil.federation.promises.withdraw(OWN)
    assert not taken_back.covers("urn:x", datetime.now(UTC))
    assert {one.outcome.value for one in evil.verify(deep=True)} == {"pass"}
    evil.rebuild_index()
    assert evil.federation.pledges()[OWN] == taken_back


@pytest.mark.parametrize("size", [2**40, 2**63 - 1])
def test_a_log_of_endless_entries_costs_no_request(own, size):
    quota = MirrorQuota(own.home, NodeSettings(), EVIL)
    with pytest.raises(OperationFailed) as caught:
        quota.check_entries(0, size)
    assert caught.value.code == "mirror-quota"


def test_a_mirror_stops_at_its_bytes(own, evil):
    for number in range(3):
        body = {**BODIES["pledge"], "notes": ["x" * 3_900] * 15}
        write(evil, body, number, strict=True)
    client = Files(evil.home.log)
    peer = discover(client, URL)
    settings = NodeSettings(peer_mirror_mib=1, peer_mirror_entries=30)
    first = sync_mirror(own.home, own.federation.state, peer, client, settings=settings)
    assert (first.size, first.findings) == (4, ())
    for number in range(3, 20):
        write(evil, {**BODIES["pledge"], "notes": ["x" * 3_900] * 15}, number, strict=True)
    second = sync_mirror(own.home, own.federation.state, peer, client, settings=settings)
    assert [one.code for one in second.findings] == ["mirror-quota"]
    assert second.size == 4
