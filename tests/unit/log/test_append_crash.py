"""A crash at every step of an append leaves the log before or after it, and the next start mends it."""

import contextlib
import itertools

import pytest

ORIGIN = "museum.example/ledger/1"
TIME = 1_700_000_000


def run(log, fuse, batches, crash):
    """Append the batches until the fuse blows; say how many were acknowledged."""
    done = 0
    appender = log.appender(fuse=fuse)
    try:
        for batch in batches:
            appender.append(batch, time=TIME)
            done += 1
    except crash:
        pass
    return done


def check_after_crash(log, entries, acknowledged):
    with log.appender() as appender:
        recovered = appender.recover()
    assert acknowledged <= recovered.size
    assert list(log.files.read_entries(0, recovered.size, recovered.size)) == entries[: recovered.size]
    assert log.codes() == []
    # the log goes on with other entries than those that were lost
    appended = log.append([b"other %d" % index for index in range(7)])
    assert appended.first_index == recovered.size
    assert log.codes() == []
    for size in range(1, appended.size):
        log.files.prove_consistency(size, appended.size)
    return recovered.size


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("start", [0, 3, 253])
def test_crash_at_every_step(new_log, make_fuse, crash, start, after):
    batches = [[b"new 0"], [b"new 1", b"new 2"], [b"new 3"], [b"new 4"] * 3]
    entries = [b"entry %d" % index for index in range(start)] + [
        entry for batch in batches for entry in batch
    ]
    sizes = set()
    for at in itertools.count(1):
        log = new_log(start, name=f"log{at}")
        fuse = make_fuse(at, after=after)
        done = run(log, fuse, batches, crash)
        if not fuse.blown:
            break
        acknowledged = start + sum(len(batch) for batch in batches[:done])
        sizes.add(check_after_crash(log, entries, acknowledged))
    boundaries = {start + sum(len(batch) for batch in batches[:done]) for done in range(5)}
    assert sizes <= boundaries  # a batch is in the log whole or not at all
    assert len(sizes) >= 4
    assert at > 20


def test_second_crash_during_recovery_does_no_harm(new_log, make_fuse, crash):
    entries = [b"entry %d" % index for index in range(3)] + [b"x"]
    for first, second in itertools.product(range(1, 9), range(1, 4)):
        log = new_log(3, name=f"log{first}-{second}")
        run(log, make_fuse(first, after=True), [[b"x"]], crash)
        with log.appender(fuse=make_fuse(second, after=False)) as appender, contextlib.suppress(crash):
            appender.recover()
        check_after_crash(log, entries, 3)


def test_widths_that_a_later_append_jumps_over_are_removed(new_log, make_fuse, crash):
    log = new_log(3)
    run(log, make_fuse(5, after=True), [[b"lost"]], crash)
    assert (log.folder / "tile/0/000.p/4").exists()
    log.append([b"a", b"b", b"c"])
    assert not (log.folder / "tile/0/000.p/4").exists()
    assert not (log.folder / "tile/entries/000.p/4").exists()
    log.files.prove_inclusion(3, 4)
    assert log.codes() == []


def test_temporary_files_are_swept(new_log):
    log = new_log(3)
    left = log.folder / ".checkpoint.0123456789ab.tmp"
    left.write_bytes(b"torn")
    with log.appender() as appender:
        appender.recover()
    assert not left.exists()
