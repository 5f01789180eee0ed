"""The index against a model of dictionaries: whatever goes in, every question has the model's answer."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from heritage_ledger.content.cid import DAG_PB, RAW, block_cid, digest_of, format_cid
from heritage_ledger.content.package import FileRow
from heritage_ledger.errors import EvidenceMissing
from heritage_ledger.index.resolve import MAX_PLACES
from heritage_ledger.index.rows import AssetRow, EventRow, FileFound, IndexedFile, LatestRow, PackageRow
from heritage_ledger.index.store import MAX_CANDIDATES, Index

ORIGIN = "museum.example/ledger/1"
ASSETS = ["urn:a", "urn:a#b", "urn:ä", "https://museum.example/o/1"]
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=8)
PATHS = st.one_of(st.sampled_from(["data/a", "data/a/b", "data/a.b", "data/é", "bagit.txt"]), NAMES)
CONTENTS = st.binary(max_size=2)
FILES = st.dictionaries(PATHS, CONTENTS, max_size=6)


class TakenIn(NamedTuple):
    """One package of the model."""

    row: PackageRow
    files: dict[str, bytes]


class IndexMachine(RuleBasedStateMachine):
    """Adds, fails, clears and reopens; the invariants ask."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "index.db"
        self.index = Index.open(self.path, origin=ORIGIN)
        self.events: list[EventRow] = []
        self.packages: list[TakenIn] = []
        self.titles: dict[str, str | None] = {}

    def teardown(self) -> None:
        self.index.close()
        self.folder.cleanup()

    def event(self, asset: str | None, version: int | None) -> EventRow:
        number = len(self.events)
        return EventRow(
            number, ORIGIN, f"urn:uuid:{number}", ("t",), "now", "a", "k", None, None, None, asset, version
        )

    def package(self, asset: str, files: dict[str, bytes]) -> TakenIn:
        number = len(self.events)
        version = 1 + sum(taken.row.asset == asset for taken in self.packages)
        bag = block_cid(DAG_PB, repr(sorted(files.items())).encode())
        payload = block_cid(DAG_PB, b"payload" + bag)
        size = sum(map(len, files.values()))
        row = PackageRow(
            number, asset, version, bag, payload, f"packages/{number}", "1.0", len(files), size, 0, "ingest"
        )
        return TakenIn(row, files)

    def write(self, writer, taken: TakenIn, title: str | None) -> EventRow:
        event = self.event(taken.row.asset, taken.row.version)
        writer.add_event(event)
        writer.add_package(taken.row, title=title)
        writer.add_files(
            taken.row.log_index,
            [FileRow(path, len(data), block_cid(RAW, data), b"") for path, data in taken.files.items()],
        )
        writer.set_absorbed(len(self.events) + 1)
        return event

    @rule(asset=st.none() | st.sampled_from(ASSETS), version=st.none() | st.integers(1, 3))
    def add_event(self, asset, version):
        event = self.event(asset, version)
        with self.index.begin() as writer:
            writer.add_event(event)
            writer.set_absorbed(event.log_index + 1)
        self.events.append(event)

    @rule(asset=st.sampled_from(ASSETS), files=FILES, title=st.none() | NAMES)
    def add_package(self, asset, files, title):
        taken = self.package(asset, files)
        with self.index.begin() as writer:
            event = self.write(writer, taken, title)
        self.events.append(event)
        self.packages.append(taken)
        self.titles[asset] = self.titles.get(asset) if title is None else title

    @rule(asset=st.sampled_from(ASSETS), files=FILES)
    def fail_to_add_a_package(self, asset, files):
        before = self.index.rows_digest()
        with contextlib.suppress(ZeroDivisionError), self.index.begin() as writer:
            self.write(writer, self.package(asset, files), "never")
            raise ZeroDivisionError
        assert self.index.rows_digest() == before

    @rule()
    def reopen(self):
        self.index.close()
        self.index = Index.open(self.path, origin=ORIGIN)

    @precondition(lambda self: self.packages)
    @rule()
    def make_again_elsewhere(self):
        """Another index, filled in one go from the model alone, has the same rows."""
        taken_by_index = {taken.row.log_index: taken for taken in self.packages}
        titles: dict[str, str | None] = {}
        with Index.open(Path(self.folder.name) / "again.db", origin=ORIGIN) as again:
            with again.begin() as writer:
                writer.clear()
                for event in self.events:
                    writer.add_event(event)
                for taken in self.packages:
                    asset = taken.row.asset
                    titles[asset] = self.titles[asset]
                    writer.add_package(taken.row, title=titles[asset])
                writer.set_absorbed(len(self.events))
            for number in sorted(taken_by_index, reverse=True):
                with again.begin() as writer:
                    files = sorted(taken_by_index[number].files.items(), reverse=True)
                    writer.add_files(
                        number, [FileRow(path, len(data), block_cid(RAW, data), b"") for path, data in files]
                    )
            assert again.rows_digest() == self.index.rows_digest()

    @invariant()
    def it_reaches_as_far_as_the_log(self):
        assert self.index.absorbed() == len(self.events)

    @invariant()
    def events_packages_and_assets_are_the_models(self):
        index = self.index
        assert list(index.events()) == self.events
        assert list(index.packages()) == [taken.row for taken in self.packages]
        expected = []
        for asset in dict.fromkeys(taken.row.asset for taken in self.packages):
            mine = [taken.row for taken in self.packages if taken.row.asset == asset]
            assert list(index.packages(asset)) == mine
            assert index.package(asset) == mine[-1]
            first, last = mine[0].log_index, mine[-1]
            assert index.asset(asset) == AssetRow(asset, self.titles[asset], first, len(mine))
            latest = (last.package_cid, last.log_index, "now", last.files, last.bytes)
            expected.append(LatestRow(asset, self.titles[asset], first, len(mine), *latest))
        assert list(index.assets()) == expected
        for at, row in enumerate(expected):
            assert list(index.assets(row.first_index)) == expected[at + 1 :]
            assert list(index.assets(row.first_index, limit=1)) == expected[at + 1 : at + 2]
        for asset in ASSETS:
            assert list(index.events(asset)) == [event for event in self.events if event.asset == asset]

    @invariant()
    def files_are_the_models(self):
        for row, files in self.packages:
            listed = [
                IndexedFile(row.log_index, path, len(files[path]), block_cid(RAW, files[path]))
                for path in sorted(files, key=str.encode)
            ]
            assert list(self.index.files(row.log_index)) == listed
            for prefix in {path[:cut] for path in files for cut in (1, 3)}:
                found = [file.path for file in self.index.files(row.log_index, prefix)]
                assert found == [file.path for file in listed if file.path.startswith(prefix)]

    @invariant()
    def every_content_and_path_is_found_where_it_is(self):
        everywhere = [
            (taken.row, path, data) for taken in self.packages for path, data in taken.files.items()
        ]
        everywhere.sort(key=lambda at: (at[0].log_index, at[1].encode()))
        for content in {data for _, _, data in everywhere} | {b"never"}:
            cid = block_cid(RAW, content)
            expected = [(row, path) for row, path, data in everywhere if data == content]
            assert [(place.package, place.file.path) for place in self.index.find_file(cid)] == expected
            assert {reference.path for reference in self.index.lookup(digest_of(cid)).references} == {
                f"{row.folder}/{path}" for row, path in expected
            }
            for asset in ASSETS:
                mine = {f"{row.folder}/{path}" for row, path in expected if row.asset == asset}
                offered = self.index.candidates(asset, cid, len(content))
                assert set(offered) <= mine
                assert len(offered) == min(len(mine), MAX_CANDIDATES)
            if expected:
                found = self.index.resolve(format_cid(cid))
                assert isinstance(found, FileFound)
                assert [(at.package, at.file.path) for at in found.places] == expected[:MAX_PLACES]
        for name in {path for _, path, _ in everywhere}:
            found = [place.package for place in self.index.find_files_by_path(name)]
            assert found == [row for row, path, _ in everywhere if path == name]


IndexMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
TestIndexAgainstTheModel = IndexMachine.TestCase


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(what=st.one_of(st.text(st.characters(), max_size=70), st.from_regex(r"[bBfzmuQ9-][a-z0-9A-Z]{0,70}")))
def test_any_text_is_found_or_not_found(what, tmp_path_factory):
    with Index.open(tmp_path_factory.getbasetemp() / "any-text.db", origin=ORIGIN) as index:
        try:
            index.resolve(what)
        except EvidenceMissing as missing:
            assert missing.code == "not-found"  # noqa: PT017 - nothing else may be raised, and nothing is here
        else:
            raise AssertionError(what)


@settings(max_examples=200, deadline=None)
@given(
    first=st.lists(
        st.tuples(st.text(max_size=3), st.integers(), st.binary(max_size=3), st.none()), max_size=3
    ),
    second=st.lists(
        st.tuples(st.text(max_size=3), st.integers(), st.binary(max_size=3), st.none()), max_size=3
    ),
)
def test_different_rows_never_have_the_same_bytes(first, second):
    def digest(rows):
        from heritage_ledger.index.store import _encoded  # noqa: PLC0415 - the one look inside

        return hashlib.sha256(b"".join(_encoded(value) for row in rows for value in row)).digest()

    values = [[value for row in rows for value in row] for rows in (first, second)]
    assert (digest(first) == digest(second)) == (values[0] == values[1])
