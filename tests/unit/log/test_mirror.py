"""Mirrors: bounded, resumable pulls that believe nothing; forks found from either side, with proof."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing
from heritage_ledger.home.state import StateStore
from heritage_ledger.log.fork import ForkProof, check_fork, format_fork, parse_fork
from heritage_ledger.log.mirror import FetchedLog, ForkFound, Mirror
from heritage_ledger.log.note import parse_note, sign_note
from heritage_ledger.log.verify import check_log

ORIGIN = "museum.example/ledger/1"


class Web:
    """A log as a web server gives it, which may break off after so many files, or change some."""

    def __init__(self, log, *, calls=None, change=None):
        self.log = log
        self.calls = calls
        self.change = change or {}
        self.asked = []

    def __call__(self, path, limit):
        self.asked.append(path)
        if self.calls is not None and len(self.asked) > self.calls:
            raise ConnectionError
        if path in self.change:
            return self.change[path]
        place = self.log.folder / path
        return place.read_bytes() if place.is_file() else None


@pytest.fixture
def mirror(tmp_path, ed25519):
    with StateStore.create(tmp_path / "mirror.db") as state:
        yield Mirror(tmp_path / "mirrors" / ORIGIN, state, ORIGIN, [ed25519.verifier])


def pull(mirror, log, **how):
    web = Web(log, **how)
    return mirror.pull(FetchedLog(log.folder, web), log.files.read_checkpoint()), web


def whole(mirror, ed25519):
    return list(check_log(mirror.files, ORIGIN, [ed25519.verifier])) == []


@pytest.mark.parametrize("sizes", [[1], [5, 6], [255, 256, 257], [600, 1100], [1, 70_000]])
def test_mirror_is_the_log(mirror, new_log, ed25519, sizes):
    log = new_log()
    size = 0
    for wanted in sizes:
        log.append([b"entry %d" % at for at in range(size, wanted)])
        done, _ = pull(mirror, log)
        assert (done.old_size, done.size) == (size, wanted)
        assert whole(mirror, ed25519)
        assert mirror.head().size == wanted
        size = wanted
    names = {path.relative_to(log.folder) for path in log.folder.rglob("*") if path.is_file()}
    kept = {
        path.relative_to(mirror.files.folder) for path in mirror.files.folder.rglob("*") if path.is_file()
    }
    assert kept <= names  # a log keeps more partial files than its mirrors


def test_nothing_new_fetches_nothing(mirror, new_log):
    log = new_log(300)
    pull(mirror, log)
    done, web = pull(mirror, log)
    assert (done.size, done.fetched, web.asked) == (300, 0, [])


def test_cut_pull_goes_on_where_it_was(mirror, new_log, ed25519):
    log = new_log(20_000)
    calls, rounds = 60, 0
    while True:
        try:
            pull(mirror, log, calls=calls)
            break
        except ConnectionError:
            rounds += 1
            assert mirror.head() is None
            assert rounds < 20
    assert rounds >= 2
    assert whole(mirror, ed25519)


def test_crash_before_the_checkpoint_is_published_is_settled(mirror, new_log):
    log = new_log(10)
    pull(mirror, log)
    (mirror.files.folder / "checkpoint").unlink()
    pull(mirror, log)
    assert mirror.files.read_checkpoint() == log.files.read_checkpoint()


PATHS = ["tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"]


@pytest.mark.parametrize("path", PATHS)
def test_changed_file_is_refused_and_nothing_of_it_kept(mirror, new_log, path):
    log = new_log(300)
    data = bytearray((log.folder / path).read_bytes())
    data[len(data) // 2] ^= 1
    with pytest.raises(EvidenceInvalid) as caught:
        pull(mirror, log, change={path: bytes(data)})
    assert caught.value.code in {"mirror-source", "log-bundle-damaged"}
    assert mirror.head() is None
    kept = mirror.files.folder / path
    assert not kept.exists() or kept.read_bytes() == (log.folder / path).read_bytes()
    pull(mirror, log)


@pytest.mark.parametrize("path", PATHS)
def test_withheld_file_is_named(mirror, new_log, path):
    log = new_log(300)
    with pytest.raises(EvidenceMissing) as caught:
        pull(mirror, log, change={path: None})
    assert caught.value.path == path


def test_same_tree_with_more_signatures_takes_the_place_of_the_fewer(mirror, new_log, mldsa44, ed25519):
    log = new_log(10)
    pull(mirror, log)
    fewer = log.files.read_checkpoint()
    more = sign_note(parse_note(fewer).text, [ed25519, mldsa44], time=1)
    for data in (more, fewer):
        mirror.pull(FetchedLog(log.folder, Web(log)), data)
        assert mirror.files.read_checkpoint() == mirror.head().checkpoint == more


def test_stale_checkpoint_changes_nothing(mirror, new_log):
    log = new_log(10)
    stale = log.files.read_checkpoint()
    log.append([b"x"])
    pull(mirror, log)
    done = mirror.pull(FetchedLog(log.folder, Web(log)), stale)
    assert (done.size, mirror.head().size) == (11, 11)


def forked(new_log, common, first, second):
    branches = []
    for name, more in (("a", first), ("b", second)):
        branch = new_log(name=name)
        branch.append([b"entry %d" % at for at in range(common)])
        branch.append([b"%s %d" % (name.encode(), at) for at in range(more)])
        branches.append(branch)
    return branches


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 2), (7, 1, 9), (250, 10, 300), (256, 1, 1), (3, 260, 1)])
def test_fork_is_found_and_proved_from_either_branch(mirror, new_log, ed25519, sizes):
    common, first, second = sizes
    one, other = forked(new_log, common, first, second)
    pull(mirror, one)
    head = mirror.head()
    with pytest.raises(ForkFound) as caught:
        pull(mirror, other)
    assert mirror.head() == head
    data = format_fork(caught.value.proof)
    fork = check_fork(parse_fork(data), [ed25519.verifier], ORIGIN)
    assert {fork.first.size, fork.second.size} == {common + first, common + second}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(common=st.integers(1, 40), first=st.integers(1, 40), second=st.integers(1, 40))
def test_every_fork_is_provable(tmp_path_factory, ed25519, common, first, second):
    folder = tmp_path_factory.mktemp("fork")
    logs = []
    for name, more in (("a", first), ("b", second)):
        (folder / name).mkdir()
        state = StateStore.create(folder / f"{name}.db")
        from heritage_ledger.log.append import Appender  # noqa: PLC0415

        with Appender(folder / name, state, ORIGIN, [ed25519]) as appender:
            appender.create(time=1)
            appender.append([b"%d" % at for at in range(common)], time=1)
            appender.append([b"%s%d" % (name.encode(), at) for at in range(more)], time=1)
        state.close()
        logs.append(folder / name)
    with StateStore.create(folder / "m.db") as state:
        mirror = Mirror(folder / "m", state, ORIGIN, [ed25519.verifier])

        def fetch(log):
            return FetchedLog(log, lambda path, _: p.read_bytes() if (p := log / path).is_file() else None)

        mirror.pull(fetch(logs[0]), (logs[0] / "checkpoint").read_bytes())
        with pytest.raises(ForkFound) as caught:
            mirror.pull(fetch(logs[1]), (logs[1] / "checkpoint").read_bytes())
    check_fork(caught.value.proof, [ed25519.verifier], ORIGIN)
    shutil.rmtree(folder)


def test_honest_log_cannot_be_accused(new_log, ed25519):
    log = new_log(4)
    first, first_root = log.files.read_checkpoint(), log.state.head(ORIGIN).root
    log.append([b"x", b"y"])
    second = log.files.read_checkpoint()
    hashes = log.files.prove_consistency(4, 6)
    true = ForkProof(first, second, first_root, hashes)
    cases = {
        "the truth": true,
        "a false prefix": ForkProof(first, second, b"p" * 32, hashes),
        "the other order": ForkProof(second, first, first_root, hashes),
        "one checkpoint": ForkProof(first, first, first_root, ()),
        "a changed checkpoint": ForkProof(first, second.replace(b"\n6\n", b"\n7\n"), first_root, hashes),
    }
    for name, proof in cases.items():
        with pytest.raises(EvidenceInvalid) as caught:
            check_fork(proof, [ed25519.verifier], ORIGIN)
        assert caught.value.code in {
            "fork-unproved",
            "merkle-consistency",
            "note-signature",
        }, name


def test_fork_files_have_one_form(new_log):
    log = new_log(4)
    checkpoint = log.files.read_checkpoint()
    data = format_fork(ForkProof(checkpoint, checkpoint, b"p" * 32, (b"h" * 32,)))
    assert format_fork(parse_fork(data)) == data
    wrong = [
        b"",
        b"{}",
        b"[" * 5_000,
        data + b" ",
        data.replace(b'"version": 1', b'"version": 2'),
        data.replace(b'"version": 1', b'"version": 1, "more": 2'),
        data.replace(b"cHBwc", b"cHBw"),
        data.replace(b'"first": "', b'"first": "\\ud800'),
        data.replace(b"\\n4\\n", b"\\n04\\n"),
    ]
    for changed in wrong:
        with pytest.raises(EvidenceInvalid):
            parse_fork(changed)
