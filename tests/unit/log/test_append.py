"""Appending: what is in the log when it returns, and what it refuses."""

import stat

import pytest

from heritage_ledger.errors import DiskProblem, EvidenceInvalid, EvidenceMissing, TemporaryFailure, UsageError
from heritage_ledger.home.state import Head
from heritage_ledger.log.append import KEPT_PARTIALS, Appender
from heritage_ledger.log.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from heritage_ledger.log.disk import LogDisk, Unpublished
from heritage_ledger.log.merkle import EMPTY_ROOT
from vectors import make_log

ORIGIN = "museum.example/ledger/1"
TIME = 1_700_000_000


def names(log, place):
    return sorted((path.name for path in (log.folder / place).iterdir()), key=lambda name: (len(name), name))


def test_new_log_publishes_the_empty_checkpoint(new_log):
    log = new_log()
    checkpoint, _ = log.files.open_checkpoint(log.verifiers, ORIGIN)
    assert (checkpoint.size, checkpoint.root) == (0, EMPTY_ROOT)
    assert log.codes() == []


def test_append_says_where_the_entries_are(new_log):
    log = new_log(3)
    appended = log.append([b"a", b"b"])
    entries = [b"entry 0", b"entry 1", b"entry 2", b"a", b"b"]
    assert (appended.first_index, appended.size) == (3, 5)
    assert appended.root == make_log.tree_root(entries)
    assert list(log.files.read_entries(0, 5, 5)) == entries
    assert log.files.read_checkpoint() == appended.checkpoint == log.state.head(ORIGIN).checkpoint
    assert log.codes() == []


def test_checkpoint_bears_a_signature_by_each_key(new_log, ed25519, mldsa44):
    log = new_log(2, signers=(ed25519, mldsa44))
    _, note = log.files.open_checkpoint(log.verifiers, ORIGIN)
    assert [line.key_id for line in note.verified] == [ed25519.key_id, mldsa44.key_id]


@pytest.mark.parametrize("steps", [[255, 1, 1], [256], [257, 300], [1, 254, 2, 511]])
def test_growth_across_tiles(new_log, steps):
    log = new_log()
    entries = []
    with log.appender() as appender:
        for step in steps:
            new = [b"%d" % (len(entries) + index) for index in range(step)]
            entries += new
            assert appender.append(new, time=TIME).root == make_log.tree_root(entries)
    assert list(log.files.read_entries(0, len(entries), len(entries))) == entries
    assert log.codes() == []


def test_files_are_sealed_and_only_the_checkpoint_is_replaced(new_log):
    log = new_log(260)
    for path in (log.folder / "tile").rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o444
    before = {path: path.stat().st_ino for path in log.folder.rglob("*") if path.is_file()}
    log.append([b"more"])
    changed = {path.name for path, inode in before.items() if path.stat().st_ino != inode}
    assert changed == {"checkpoint"}


def test_older_partial_files_go_but_the_last_ones_stay(new_log):
    log = new_log()
    with log.appender() as appender:
        for index in range(2 * KEPT_PARTIALS + 5):
            appender.append([b"%d" % index], time=TIME)
            kept = len(names(log, "tile/0/000.p"))
            assert min(index + 1, KEPT_PARTIALS + 1) <= kept <= 2 * KEPT_PARTIALS + 1
    newest = 2 * KEPT_PARTIALS + 5
    expected = [str(width) for width in range(KEPT_PARTIALS, newest + 1)]
    assert names(log, "tile/0/000.p") == names(log, "tile/entries/000.p") == expected
    assert list(log.files.read_entries(0, 2, 2)) == [b"0", b"1"]
    assert log.files.root(2) == make_log.tree_root([b"0", b"1"])


def test_finished_tile_leaves_no_partial_files(new_log):
    log = new_log(250)
    log.append([b"%d" % index for index in range(6)])
    assert names(log, "tile/0") == ["000"]
    assert names(log, "tile/entries") == ["000"]


def test_index_rows_come_between_head_and_checkpoint(new_log):
    log = new_log(1)
    seen = []

    def index_rows(appended):
        published, _ = log.files.open_checkpoint(log.verifiers, ORIGIN)
        seen.append((published.size, log.state.head(ORIGIN).size, appended.size))

    with log.appender() as appender:
        appender.append([b"x"], time=TIME, before_publish=index_rows)
    assert seen == [(1, 2, 2)]


def test_failing_index_leaves_the_entries_and_a_checkpoint_to_publish(new_log):
    log = new_log(1)
    with log.appender() as appender, pytest.raises(ZeroDivisionError):
        appender.append([b"x"], time=TIME, before_publish=lambda _: 1 / 0)
    assert [code for code, _ in log.codes()] == ["log-checkpoint-behind"]
    with log.appender() as appender:
        assert appender.recover().published
    assert log.codes() == []
    assert log.files.read_entry(1, 2) == b"x"


def test_two_appenders_take_turns(new_log):
    log = new_log()
    with log.appender() as one, log.appender() as two:
        one.append([b"a"], time=TIME)
        two.append([b"b"], time=TIME)
        assert one.append([b"c"], time=TIME).first_index == 2
    assert list(log.files.read_entries(0, 3, 3)) == [b"a", b"b", b"c"]
    assert log.codes() == []


@pytest.mark.parametrize(
    ("entries", "code"), [([], "log-append-empty"), ([b"ok", bytes(65_536)], "log-entry-size")]
)
def test_what_cannot_be_appended(new_log, entries, code):
    log = new_log(2)
    with log.appender() as appender:
        with pytest.raises(UsageError) as caught:
            appender.append(entries, time=TIME)
        assert caught.value.code == code
        assert log.state.head(ORIGIN).size == 2
        assert appender.append([bytes(65_535)], time=TIME).first_index == 2
    assert log.codes() == []


def test_no_signer_no_log(new_log):
    log = new_log()
    with pytest.raises(UsageError) as caught:
        Appender(log.folder, log.state, ORIGIN, [])
    assert caught.value.code == "log-signers"


def test_log_is_begun_once(new_log):
    log = new_log(1)
    with log.appender() as appender, pytest.raises(UsageError) as caught:
        appender.create(time=TIME)
    assert caught.value.code == "log-exists"


def test_log_without_a_head_is_refused(new_log, tmp_path):
    log = new_log(1)
    other = Appender(log.folder, log.state, "museum.example/ledger/2", log.signers)
    with other, pytest.raises(EvidenceMissing) as caught:
        other.recover()
    assert caught.value.code == "log-head-missing"


class LyingDisk(LogDisk):
    def read(self, path, size):
        data = super().read(path, size)
        return data[:-1] + bytes([data[-1] ^ 1])


def test_nothing_is_signed_when_a_file_reads_back_otherwise(new_log):
    log = new_log(3)
    before = log.state.head(ORIGIN)
    with log.appender(disk=LyingDisk(log.folder)) as appender, pytest.raises(EvidenceInvalid) as caught:
        appender.append([b"x"], time=TIME)
    assert caught.value.code == "log-readback"
    assert log.state.head(ORIGIN) == before
    log.append([b"y"])
    assert log.files.read_entry(3, 4) == b"y"
    assert log.codes() == []


@pytest.mark.parametrize("threads", [0, 4])
@pytest.mark.parametrize("room", [0, 1])
def test_full_disk_leaves_the_log_as_it_was(new_log, full_disk, room, threads):
    log = new_log(255)
    with log.appender(disk=full_disk(log.folder, room, threads)) as appender:
        for _ in range(2):
            with pytest.raises(DiskProblem):
                appender.append([b"x", b"y"], time=TIME)
    assert log.codes() == []
    log.append([b"z"])
    assert log.files.read_entry(255, 256) == b"z"
    assert log.codes() == []


def test_flipped_bit_in_memory_is_not_signed(new_log):
    log = new_log(3)
    with log.appender() as appender:
        appender.recover()
        edge = appender._edge
        edge._tiles = (bytes([edge._tiles[0][0] ^ 1]) + edge._tiles[0][1:],)
        with pytest.raises(EvidenceInvalid) as caught:
            appender.append([b"x"], time=TIME)
        assert caught.value.code == "log-memory"
        edge = appender._edge
    assert log.state.head(ORIGIN).size == 3


def test_flipped_bit_in_the_bundle_in_memory_is_not_signed(new_log):
    log = new_log(3)
    with log.appender() as appender:
        appender.recover()
        edge = appender._edge
        edge._bundle = bytes([edge._bundle[0], edge._bundle[1], edge._bundle[2] ^ 1]) + edge._bundle[3:]
        with pytest.raises(EvidenceInvalid) as caught:
            appender.append([b"x"], time=TIME)
        assert caught.value.code == "log-readback"
        assert appender.append([b"y"], time=TIME).first_index == 3
    assert log.codes() == []


@pytest.mark.parametrize(
    ("path", "code"),
    [("tile/0/000.p/3", "log-root"), ("tile/entries/000.p/3", "log-bundle-damaged")],
)
def test_nothing_is_appended_to_a_damaged_edge(new_log, path, code):
    log = new_log(3)
    place = log.folder / path
    data = bytearray(place.read_bytes())
    data[5] ^= 1
    place.chmod(0o644)
    place.write_bytes(data)
    with log.appender() as appender, pytest.raises(EvidenceInvalid) as caught:
        appender.append([b"x"], time=TIME)
    assert caught.value.code in {code, "log-bundle-damaged"}
    assert log.state.head(ORIGIN).size == 3


def publish(log, size, root):
    data = sign_checkpoint(Checkpoint(ORIGIN, size, root), log.signers, time=TIME)
    disk = LogDisk(log.folder, threads=0)
    with disk.prepare(data) as unpublished:
        disk.publish("checkpoint", unpublished)


def test_state_older_than_the_log_stops_all_appends(new_log):
    log = new_log(3)
    publish(log, 4, make_log.tree_root([b"1", b"2", b"3", b"4"]))
    with log.appender() as appender, pytest.raises(EvidenceInvalid) as caught:
        appender.append([b"x"], time=TIME)
    assert caught.value.code == "log-state-behind"
    assert "log-state-behind" in [code for code, _ in log.codes()]


def test_another_root_of_the_same_size_is_a_fork(new_log):
    log = new_log(3)
    publish(log, 3, make_log.tree_root([b"1", b"2", b"3"]))
    with log.appender() as appender, pytest.raises(EvidenceInvalid) as caught:
        appender.append([b"x"], time=TIME)
    assert caught.value.code == "log-fork"
    assert "log-fork" in [code for code, _ in log.codes()]


def test_damaged_checkpoint_is_published_again(new_log):
    log = new_log(3)
    (log.folder / "checkpoint").write_bytes(b"")
    with log.appender() as appender:
        assert appender.recover().published
    open_checkpoint(log.files.read_checkpoint(), log.verifiers, ORIGIN)
    assert log.codes() == []


@pytest.mark.parametrize("size", [3, 4])
def test_head_whose_checkpoint_says_something_else_is_refused(new_log, size):
    log = new_log(3)
    root = make_log.tree_root([b"%d" % index for index in range(size)])
    data = sign_checkpoint(Checkpoint(ORIGIN, size, root), log.signers, time=TIME)
    log.state.swap_head(ORIGIN, 3, Head(5, bytes(32), data))
    with log.appender() as appender, pytest.raises(EvidenceInvalid) as caught:
        appender.recover()
    assert caught.value.code == "log-head-damaged"


class NamedOnlyDisk(LogDisk):
    """A file system without files without names."""

    def prepare(self, data):
        return Unpublished(data)


def test_publishing_where_files_need_names(new_log):
    log = new_log(1)
    with log.appender(disk=NamedOnlyDisk(log.folder)) as appender:
        appender.append([b"x"], time=TIME)
    assert log.codes() == []
    assert stat.S_IMODE((log.folder / "checkpoint").stat().st_mode) == 0o644
    assert names(log, ".") == ["tile", "checkpoint"]


def test_lost_race_leaves_no_signature_behind(new_log):
    log = new_log(1)

    class Overtaken:
        def __init__(self, state):
            self.state = state

        def head(self, origin):
            return self.state.head(origin)

        def swap_head(self, origin, old_size, new):
            raise TemporaryFailure("state-conflict", "another process moved this head first")

    published = log.files.read_checkpoint()
    appender = Appender(log.folder, Overtaken(log.state), ORIGIN, log.signers)
    with appender, pytest.raises(TemporaryFailure):
        appender.append([b"x"], time=TIME)
    assert log.files.read_checkpoint() == published
    assert names(log, ".") == ["tile", "checkpoint"]
