"""Taking in: what is refused before a byte is copied, what is kept, moved and shared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from heritage_ledger import Ledger
from heritage_ledger.deposit.survey import survey
from heritage_ledger.errors import HeritageError, OperationFailed, ProblemsFound, Severity, UsageError
from heritage_ledger.fixity.verdict import Outcome
from heritage_ledger.home.layout import Home
from heritage_ledger.progress import Silent
from heritage_testkit.dying import Child

INGEST_FIVE_TIMES = """
import sys
from pathlib import Path
from heritage_ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    for _ in range(5):
        ledger.ingest(Path(sys.argv[2]), asset="urn:example:x")
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "sub" / "b.txt").write_text("bb")
    return folder


def _refused(ledger, source) -> dict[str, str | None]:
    with pytest.raises(ProblemsFound) as caught:
        ledger.ingest(source)
    assert caught.value.code == "source-refused"
    assert list(ledger.home.staging.iterdir()) == []
    assert list(ledger.home.packages.iterdir()) == []
    return {finding.code: finding.path for finding in caught.value.findings}


def test_links_devices_and_names_are_listed_all_at_once(ledger, source):
    (source / "link").symlink_to("a.txt")
    (source / "sub" / "outside").symlink_to("/etc")
    os.mkfifo(source / "pipe")
    Path(os.fsdecode(os.fsencode(source) + b"/caf\xe9")).write_text("latin")
    (source / "u\u0308").write_text("decomposed")
    (source / "\u00fc").write_text("composed")
    findings = _refused(ledger, source)
    assert {"source-link", "source-special", "source-name-not-utf8"} <= set(findings)
    assert any("normalis" in code for code in findings)
    assert findings["source-name-not-utf8"] == "caf\\xe9"


def test_a_file_that_cannot_be_read_is_listed(tmp_path, source):
    (source / "a.txt").chmod(0)
    for folder in (source, *source.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)

    def work(acknowledge):
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        with tempfile.TemporaryFile() as spool:
            try:
                survey(source, spool, skip_junk=False, home=Home(Path("/nowhere")), progress=Silent())
            except ProblemsFound as error:
                acknowledge(str([(finding.code, finding.path) for finding in error.findings]))

    assert Child(work).wait() == (0, ["[('source-unreadable', 'a.txt')]"])


def test_what_will_not_travel_is_told_and_taken(ledger, source):
    (source / "A.txt").write_text("case twin")
    (source / "con.txt").write_text("windows")
    (source / "dot.").write_text("trailing")
    (source / "new\nline").write_text("control")
    (source / "100%").write_text("percent")
    (source / "empty").mkdir()
    receipt = ledger.ingest(source)
    codes = {finding.code for finding in receipt.findings}
    assert {"name-case-twin", "name-windows-reserved", "name-trailing", "name-control"} <= codes
    assert "source-empty-folder" in codes
    assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS]
    assert (receipt.bag_path / "data" / "new\nline").read_text() == "control"
    assert b"data/new%0Aline" in (receipt.bag_path / "manifest-sha512.txt").read_bytes()


def test_junk_is_kept_and_told_or_left_out_by_choice(ledger, source):
    (source / ".DS_Store").write_text("junk")
    kept = ledger.ingest(source)
    assert (kept.files, [finding.code for finding in kept.findings]) == (3, ["source-junk"])
    left = ledger.ingest(source, skip_junk=True)
    assert (left.files, [finding.code for finding in left.findings]) == (2, ["source-junk"])
    assert (source / ".DS_Store").exists()


def test_a_single_file_lies_under_its_name(ledger, source):
    receipt = ledger.ingest(source / "a.txt")
    assert [path.name for path in (receipt.bag_path / "data").iterdir()] == ["a.txt"]


@pytest.mark.parametrize("where", ["inside", "outside", "missing", "empty"])
def test_sources_that_cannot_be(ledger, tmp_path, where):
    place = {
        "inside": ledger.home.root / "packages",
        "outside": tmp_path,
        "missing": tmp_path / "none",
        "empty": tmp_path / "empty",
    }[where]
    (tmp_path / "empty").mkdir()
    with pytest.raises((UsageError, ProblemsFound)):
        ledger.ingest(place)


def test_the_source_is_untouched(ledger, source):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in source.rglob("*")}
    receipt = ledger.ingest(source)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_mode) for path in source.rglob("*")} == before
    kept = receipt.bag_path / "data" / "a.txt"
    assert kept.stat().st_mtime_ns == (source / "a.txt").stat().st_mtime_ns
    assert kept.stat().st_mode & 0o777 == 0o444
    assert receipt.bag_path.stat().st_mode & 0o777 == 0o555


def test_move_takes_the_files_over(ledger, source):
    (source / "twice").write_text("two names")
    os.link(source / "twice", source.parent / "other-name")
    receipt = ledger.ingest(source, move=True)
    assert not source.exists()
    assert receipt.files == 3
    kept = receipt.bag_path / "data" / "twice"
    assert kept.stat().st_nlink == 1
    (source.parent / "other-name").write_text("changed outside")
    assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS]


def test_move_of_one_file_keeps_its_folder(ledger, source):
    (source / "sub" / "b.txt").unlink()
    (source / "sub" / "only.txt").write_text("only")
    ledger.ingest(source / "sub" / "only.txt", move=True)
    assert list((source / "sub").iterdir()) == []


class _Meddling(Silent):
    """Changes a source file once copying has begun."""

    def __init__(self, change):
        self.change = change

    def begin(self, phase, *, files=None, size=None):
        if phase == "copy":
            self.change()


@pytest.mark.parametrize("how", ["grow", "shrink", "same size", "replace", "remove", "touch"])
def test_a_file_that_changes_after_the_survey_is_refused(ledger, source, how):
    file = source / "a.txt"

    def change():
        match how:
            case "grow":
                file.write_text("aaaa")
            case "shrink":
                file.write_text("")
            case "same size":
                file.write_text("b")
            case "replace":
                (source / "new").write_text("a")
                (source / "new").replace(file)
            case "remove":
                file.unlink()
            case "touch":
                os.utime(file, ns=(1, 1))

    with pytest.raises(OperationFailed) as caught:
        ledger.ingest(source, progress=_Meddling(change))
    assert caught.value.code in {"source-changed", "source-unreadable"}
    assert caught.value.path == "a.txt"
    assert list(ledger.home.staging.iterdir()) == []
    assert list(ledger.assets()) == []


def test_a_file_that_is_written_while_it_is_read_is_refused(ledger, source):
    large = source / "large.bin"
    large.write_bytes(bytes(64 << 20))

    class Writing(Silent):
        def advance(self, *, files=0, size=0):
            if size > 1_000:
                with large.open("r+b") as file:
                    file.write(b"x")

    with pytest.raises(OperationFailed) as caught:
        ledger.ingest(source, progress=Writing())
    assert caught.value.code == "source-changed"


def test_unchanged_files_of_the_next_version_lie_on_the_disk_once(ledger, source):
    first = ledger.ingest(source, asset="urn:example:x")
    (source / "sub" / "b.txt").write_text("changed")
    second = ledger.ingest(source, asset="urn:example:x")
    assert (second.version, second.shared) == (2, 1)
    held, fresh = first.bag_path / "data", second.bag_path / "data"
    assert (held / "a.txt").samefile(fresh / "a.txt")
    assert not (held / "sub" / "b.txt").samefile(fresh / "sub" / "b.txt")


def test_a_damaged_earlier_copy_is_not_shared(ledger, source):
    first = ledger.ingest(source, asset="urn:example:x")
    held = first.bag_path / "data" / "a.txt"
    held.chmod(0o644)
    held.write_text("z")
    second = ledger.ingest(source, asset="urn:example:x")
    assert (second.bag_path / "data" / "a.txt").read_text() == "a"
    assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.FAIL, Outcome.PASS]


def test_two_ingests_at_once_get_two_versions(ledger, source):
    home = ledger.home.root
    errors = []

    def work():
        try:
            with Ledger.open(home) as own:
                for _ in range(5):
                    own.ingest(source, asset="urn:example:x")
        except HeritageError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                INGEST_FIVE_TIMES,
                str(home),
                str(source),
            ]
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait() for child in children] == [0, 0]
    assert errors == []
    shown = ledger.show("urn:example:x")
    assert [package.version for package in shown.packages] == list(range(1, 21))
    assert all(verdict.outcome is Outcome.PASS for verdict in ledger.verify(deep=True))


def test_metadata_goes_into_the_bag_byte_for_byte(ledger, source, tmp_path):
    data = b'{ "title":  "A page",\n "n": 1.50 }\n'
    (tmp_path / "m.json").write_bytes(data)
    receipt = ledger.ingest(source, metadata=tmp_path / "m.json")
    assert (receipt.bag_path / "metadata" / "descriptive.json").read_bytes() == data
    event = json.loads(ledger.show(receipt.event_id).document)
    assert event["generated"]["metadata"]["id"].endswith("/metadata/descriptive.json")
    assert [verdict.outcome for verdict in ledger.verify(deep=True)] == [Outcome.PASS] * 2


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff", b""])
def test_metadata_that_is_no_object_is_refused(ledger, source, tmp_path, text):
    (tmp_path / "m.json").write_bytes(text)
    with pytest.raises(UsageError) as caught:
        ledger.ingest(source, metadata=tmp_path / "m.json")
    assert caught.value.code == "metadata-invalid"


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"asset": "no uri"}, "asset-invalid"),
        ({"asset": "http://m.example/é"}, "asset-invalid"),
        ({"title": "two\nlines"}, "title-invalid"),
        ({"title": ""}, "title-invalid"),
        ({"agent": "<only:uri>"}, "agent-invalid"),
        ({"agent": "Name <not a uri>"}, "agent-invalid"),
    ],
)
def test_names_that_cannot_be_used(ledger, source, given, code):
    with pytest.raises(UsageError) as caught:
        ledger.ingest(source, **given)
    assert caught.value.code == code


def test_events_name_who_acted(ledger, source):
    named = ledger.ingest(source, agent="Ada Example <https://museum.example/staff/7>")
    plain = ledger.ingest(source, agent="Ada Example")
    program = ledger.ingest(source, agent="scanner <pkg:generic/scanner@2>")
    alone = ledger.ingest(source)
    agents = {event.log_index: event.agent for event in ledger.events()}
    assert agents[named.log_index] == "Ada Example <https://museum.example/staff/7>"
    assert agents[plain.log_index] == "Ada Example <https://museum.example/ledger/1#agent/Ada%20Example>"
    assert agents[program.log_index] == "scanner <pkg:generic/scanner@2>"
    assert agents[alone.log_index].startswith("heritage-ledger <pkg:pypi/heritage-ledger@")


def test_what_is_held_already_is_said_when_it_comes_again(ledger, source, tmp_path):
    first = ledger.ingest(source, asset="urn:example:one")
    assert first.findings == ()
    elsewhere = ledger.ingest(source, asset="urn:example:two", title="Another title")
    (again,) = ledger.ingest(source, asset="urn:example:one").findings
    (adopted,) = ledger.adopt(first.bag_path, asset="urn:example:three").findings
    told = [(one.code, one.severity, one.found) for one in (*elsewhere.findings, again, adopted)]
    assert told == [
        ("already-held", Severity.WARNING, "version 1 of urn:example:one, log entry 1"),
        ("already-held", Severity.WARNING, "version 1 of urn:example:one, log entry 1, and 1 more"),
        ("already-held", Severity.WARNING, "version 2 of urn:example:one, log entry 3, and 2 more"),
    ]
    (source / "a.txt").write_text("changed")
    assert ledger.ingest(source, asset="urn:example:one").findings == ()


def test_skip_held_records_nothing_where_the_payload_is_held(ledger, source, tmp_path):
    first = ledger.ingest(source, asset="urn:example:one", title="Scans")
    size = ledger.log_size()
    for words in ({"asset": "urn:example:one"}, {}, {"asset": "urn:example:one", "move": True}):
        held = ledger.ingest(source, skip_held=True, **words)
        assert (held.held, held.asset, held.version) == (True, "urn:example:one", 1)
        assert (held.event_id, held.log_index, held.bag_path) == (first.event_id, 1, first.bag_path)
        assert [finding.code for finding in held.findings] == ["already-held"]
    assert ledger.adopt(first.bag_path, skip_held=True).held  # named by its External-Identifier
    assert ledger.log_size() == size
    assert (source / "sub" / "b.txt").read_text() == "bb"
    assert list(ledger.home.staging.iterdir()) == []
    assert not ledger.ingest(source, asset="urn:example:two", skip_held=True).held
    (source / "a.txt").write_text("changed")
    assert not ledger.ingest(source, asset="urn:example:one", skip_held=True).held
    (source / "a.txt").write_text("a")
    assert not ledger.ingest(source, asset="urn:example:one", skip_held=True).held  # an older version has it
    assert [verdict.outcome for verdict in ledger.verify()] == [Outcome.PASS] * 4
