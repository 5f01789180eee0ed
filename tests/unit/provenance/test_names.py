"""One grammar of names for every command, and all events about what is named, by whomever."""

from __future__ import annotations

import shutil
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.statement import frame, record_statement
from heritage_ledger.errors import EvidenceMissing, UsageError
from heritage_ledger.events.bodies import dissemination_body, recovery_body, replication_body
from heritage_ledger.federation.peers import Peer
from heritage_ledger.federation.pledges import pledge
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.identity.didkey import format_did_key
from heritage_ledger.index.resolve import spellings
from heritage_ledger.log.merkle import leaf_hash

ORIGIN, OTHER = "museum.example/ledger/1", "archive.example/ledger/1"
SCAN, VASE, HASH = "https://m.example/scan", "https://m.example/vase", "https://m.example/a#b"
NFD = unicodedata.normalize("NFD", "Žluťoučký/kůň é.txt")
NFC = unicodedata.normalize("NFC", NFD)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("names")


def _take(ledger, place, asset, **files):
    source = place / f"source-{len(list(place.iterdir()))}"
    for name, content in files.items():
        path = source / (NFD if name == "odd" else f"{name}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return ledger.ingest(source, asset=asset, title=asset)


@pytest.fixture(scope="module")
def ledger(place):
    """Two assets that share a path, one whose URI holds a `#`, and one bag that was taken in twice."""
    with Ledger.init(place / "home", institution="Museum", origin=ORIGIN, passphrase=None) as made:
        _take(made, place, SCAN, a="one", odd="odd")
        _take(made, place, SCAN, a="two", odd="odd")
        _take(made, place, VASE, a="other")
        _take(made, place, HASH, x="one")
        twice = place / "twice"
        shutil.copytree(_take(made, place, "https://m.example/twice", t="t").bag_path, twice)
        made.adopt(twice, asset="https://m.example/again")
        yield made


@pytest.fixture(scope="module")
def told(ledger, place):
    """Events about the second version of SCAN, in the own log and in the mirror of another institution."""
    cid = ledger.show(SCAN).packages[1].package_cid
    until = datetime.now(UTC) + timedelta(days=9)

    def common(books):
        return {"frame": frame(books, books.now()), "package_cid": cid, "source": ORIGIN}

    books = ledger.books
    counts = {"file_count": 1, "byte_count": 7}
    record_statement(
        books, recovery_body(**common(books), **counts, helpers=[OTHER], failures=[], is_whole=True)
    )
    record_statement(books, dissemination_body(**common(books), recipient=OTHER, byte_count=9))
    with Ledger.init(place / "other", institution="Archive", origin=OTHER, passphrase=None) as other:
        theirs = other.books
        pledge(theirs, ORIGIN, until, assets=[SCAN])
        pledge(theirs, ORIGIN, until, assets=[VASE])
        pledge(theirs, "third.example/ledger/1", until, assets=[SCAN])
        record_statement(theirs, replication_body(**common(theirs), **counts, helpers=[ORIGIN]))
        epoch = other.evidence().history.key_at(0)
        ledger.federation.peers.add(
            Peer(
                origin=OTHER,
                institution="Archive",
                url="https://archive.example",
                log_keys=epoch.log_keys,
                witness_keys=epoch.witness_keys,
                node_key=format_did_key(epoch.node_key),
                genesis=leaf_hash(other.log.read_entry(0, 1)).hex(),
            )
        )
        mirror = ledger.home.mirror_of(OTHER).log
        shutil.copytree(other.home.log, mirror)
    return cid


def _steps(ledger, what):
    traced = ledger.trace(what)
    assert {step.signature for step in traced.steps} == {step.inclusion for step in traced.steps}
    assert all(step.signature is Outcome.PASS for step in traced.steps)
    assert traced.findings == ()
    return [(step.event.log, step.event.types[1], step.event.version) for step in traced.steps]


LATER = [
    (ORIGIN, "Recovery", 2),
    (ORIGIN, "Dissemination", 2),
    (OTHER, "Replication", 2),
]
FIRST, SECOND = (ORIGIN, "Ingestion", 1), (ORIGIN, "Ingestion", 2)


def test_an_asset_shows_all_events_about_it_by_whomever(ledger, told):
    pledged = [*LATER[:2], (OTHER, "Pledge", None), LATER[2]]
    assert _steps(ledger, SCAN) == [FIRST, SECOND, *pledged]
    events = [(event.log, event.types[1], event.version) for event in ledger.events(SCAN)]
    assert events == [FIRST, SECOND, *pledged]
    shown = [(event.log, event.types[1], event.version) for event in ledger.show(SCAN).events]
    assert shown == events


@pytest.mark.parametrize("what", ["cid", f"{SCAN} v2", f"{SCAN} version 2"])
def test_a_version_shows_what_is_about_it_alone(ledger, told, what):
    assert _steps(ledger, told if what == "cid" else what) == [SECOND, *LATER]
    assert _steps(ledger, f"{SCAN} v1") == [FIRST]


def test_a_file_shows_what_is_about_the_packages_that_hold_it(ledger, told):
    assert _steps(ledger, f"{SCAN}#data/a.txt") == [FIRST, SECOND, *LATER]
    one = next(place.cid for place in ledger.show(f"{SCAN}#data/a.txt").files)
    assert [step.event.asset for step in ledger.trace(one).steps] == [SCAN, HASH]


def test_a_log_that_cannot_be_searched_is_told(ledger, told):
    mirror = ledger.home.mirror_of(OTHER).log
    bundle = next((mirror / "tile" / "entries").rglob("5"))
    kept = bundle.read_bytes()
    bundle.chmod(0o600)
    bundle.write_bytes(kept.replace(b"Replication", b"Replicatiom"))
    try:
        traced = ledger.trace(SCAN)
    finally:
        bundle.write_bytes(kept)
    assert [(finding.code, finding.path) for finding in traced.findings] == [("log-not-searched", OTHER)]
    assert [step.event.types[1] for step in traced.steps][:2] == ["Ingestion", "Ingestion"]


def test_an_asset_whose_uri_holds_a_hash_is_not_mixed_up(ledger):
    traced = ledger.trace(f"{HASH}#data/x.txt")
    assert [(step.event.asset, step.paths) for step in traced.steps] == [(HASH, ("data/x.txt",))]


def test_a_path_that_several_assets_have_is_listed_and_asked_for(ledger):
    assert {place.package.asset for place in ledger.show("data/a.txt").files} == {SCAN, VASE}
    for ask in (ledger.trace, ledger.prove):
        with pytest.raises(UsageError) as caught:
            ask("data/a.txt")
        assert caught.value.code == "name-ambiguous"
        named = [finding.path for finding in caught.value.findings]
        assert named == [f"{SCAN}#data/a.txt", f"{VASE}#data/a.txt"]
        for name in named:
            assert ask(name)


def test_one_bag_that_was_taken_in_twice_has_two_holders(ledger, tmp_path):
    cid = ledger.show("https://m.example/again").packages[0].package_cid
    both = ["https://m.example/twice", "https://m.example/again"]
    assert [package.asset for package in ledger.show(cid).packages] == both
    assert [step.event.asset for step in ledger.trace(cid).steps] == both
    with pytest.raises(UsageError) as caught:
        ledger.prove(cid)
    assert [finding.path for finding in caught.value.findings] == both
    ledger.export(cid, tmp_path / "out")  # the same bytes, whoever holds them


@pytest.mark.parametrize("form", ["NFC", "NFD", "mixed"])
def test_names_are_found_in_any_unicode_form(ledger, form):
    typed = {"NFC": NFC, "NFD": NFD, "mixed": f"{NFD.split('/')[0]}/{NFC.split('/')[1]}"}[form]
    for what in (f"data/{typed}", f"{SCAN}#data/{typed}"):
        assert {place.path for place in ledger.show(what).files} == {f"data/{NFD}"}
        assert [step.paths for step in ledger.trace(what).steps][:2] == [(f"data/{NFD}",)] * 2
        assert ledger.prove(what)


def test_the_number_of_spellings_is_bounded():
    assert spellings("data/é")[0] == "data/é"
    assert len(spellings("/".join(["é"] * 4_000))) == 64


EVERY = ["asset", "version", "cid", "file", "path", "event", "entry"]


@pytest.mark.parametrize("kind", EVERY)
def test_every_command_that_takes_a_name_takes_every_name(ledger, told, tmp_path, kind):
    package = ledger.show(f"{VASE} v1").packages[0]
    event = next(ledger.events(VASE))
    what = {
        "asset": VASE,
        "version": f"{VASE} v1",
        "cid": package.package_cid.upper(),
        "file": f"{VASE}#data/a.txt",
        "path": f"{VASE}#bag-info.txt",
        "event": event.event_id,
        "entry": str(event.log_index),
    }[kind]
    assert ledger.show(what).kind in {"asset", "package", "file", "event"}
    assert event.log_index in {step.event.log_index for step in ledger.trace(what).steps}
    assert event.log_index in {one.log_index for one in ledger.events(what)}
    assert ledger.prove(what)
    assert [one.package_cid for one in ledger.federation.repairs.run(what)] == [package.package_cid]
    assert [one.package_cid for one in ledger.federation.copies(ledger.index, what)] == [package.package_cid]
    assert [verdict.asset for verdict in ledger.verify([what])] == [VASE]
    assert ledger.export(what, tmp_path / kind).package_cid == package.package_cid


def test_an_event_that_took_nothing_in_names_no_package(ledger):
    with pytest.raises(EvidenceMissing) as caught:
        list(ledger.verify(["0"]))
    assert caught.value.found is not None
