"""`check_log` names every damaged file, and only those."""

import os
import random

import pytest

from heritage_ledger.errors import EvidenceInvalid, EvidenceMissing, Finding, OperationFailed, Severity
from heritage_ledger.log.merkle import leaf_hash
from heritage_ledger.log.tiles import decode_bundle, encode_bundle
from vectors import make_log

ORIGIN = "museum.example/ledger/1"


def change(log, path, at=None, *, bit=0):
    place = log.folder / path
    data = bytearray(place.read_bytes())
    at = len(data) // 2 if at is None else at
    data[at] ^= 1 << bit
    place.chmod(0o644)
    place.write_bytes(data)


def flat(codes):
    return sorted(codes, key=str)


@pytest.fixture
def grown(new_log):
    """600 entries: two full tiles and a partial one, and a partial tile above them."""
    return new_log(600)


FILES = [
    ("tile/entries/000", "log-bundle-damaged"),
    ("tile/entries/001", "log-bundle-damaged"),
    ("tile/entries/002.p/88", "log-bundle-damaged"),
    ("tile/0/000", "log-tile-damaged"),
    ("tile/0/001", "log-tile-damaged"),
    ("tile/0/002.p/88", "log-tile-damaged"),
    ("tile/1/000.p/2", "log-tile-damaged"),
]


def test_whole_log_has_no_findings(grown):
    assert grown.findings() == []


@pytest.mark.parametrize(("path", "code"), FILES)
def test_flipped_bit_is_found_and_its_file_named(grown, path, code):
    size = (grown.folder / path).stat().st_size
    for at in (0, 1, size // 3, size - 1):
        change(grown, path, at)
        assert grown.codes() == [(code, path)]
        change(grown, path, at)
    assert grown.codes() == []


@pytest.mark.parametrize(("path", "code"), FILES)
def test_short_long_and_missing_files_are_named(grown, path, code):
    place = grown.folder / path
    data = place.read_bytes()
    for wrong in (data[:-1], data + b"\0", b""):
        place.chmod(0o644)
        place.write_bytes(wrong)
        assert grown.codes() == [(code, path)]
    place.unlink()
    assert grown.codes() == [(code.replace("damaged", "missing"), path)]


def test_check_goes_on_after_damage(grown):
    for path, _ in FILES[:2] + FILES[5:6]:
        change(grown, path)
    (grown.folder / "tile/entries/002.p/88").unlink()
    expected = [
        FILES[0][::-1],
        FILES[1][::-1],
        FILES[5][::-1],
        ("log-bundle-missing", "tile/entries/002.p/88"),
    ]
    found = grown.codes()
    assert flat(found) >= flat([expected[0], expected[1], expected[3]])
    assert ("log-root", "checkpoint") in found or expected[2] in found


def test_damage_in_all_three_places_of_one_hash(grown):
    change(grown, "tile/entries/001", 5)
    change(grown, "tile/0/001", 5)
    found = grown.codes()
    assert ("log-bundle-damaged", "tile/entries/001") in found
    assert ("log-tile-damaged", "tile/0/001") in found


def test_entry_replaced_together_with_its_hash_is_found(grown):
    bundle, tile = grown.folder / "tile/entries/001", grown.folder / "tile/0/001"
    entries = decode_bundle(bundle.read_bytes(), 256)
    entries[7] = b"forged!!!"
    for place, data in (
        (bundle, encode_bundle(entries)),
        (tile, b"".join(leaf_hash(entry) for entry in entries)),
    ):
        place.chmod(0o644)
        place.write_bytes(data)
    assert flat(grown.codes()) == [
        ("log-bundle-damaged", "tile/entries/001"),
        ("log-tile-damaged", "tile/0/001"),
    ]


def test_every_byte_of_the_checkpoint_counts(new_log, ed25519, mldsa44):
    log = new_log(2, signers=(ed25519, mldsa44))
    size = (log.folder / "checkpoint").stat().st_size
    for at in [*range(120), *random.Random(1).sample(range(120, size), 40), size - 1]:
        change(log, "checkpoint", at, bit=at % 8)
        found = log.findings()
        assert {finding.path for finding in found} == {"checkpoint"}, at
        assert any(finding.severity is Severity.ERROR for finding in found), at
        change(log, "checkpoint", at, bit=at % 8)
    assert log.codes() == []


def test_signature_left_out_is_found(new_log, ed25519, mldsa44):
    log = new_log(2, signers=(ed25519, mldsa44))
    lines = (log.folder / "checkpoint").read_text().splitlines(keepends=True)
    (log.folder / "checkpoint").write_text("".join(lines[:-1]))
    assert log.codes() == [("log-signature-missing", "checkpoint")]


def test_missing_checkpoint_does_not_end_the_check_where_the_head_is_known(grown):
    (grown.folder / "checkpoint").unlink()
    change(grown, "tile/0/001")
    assert grown.codes() == [
        ("log-checkpoint-missing", "checkpoint"),
        ("log-tile-damaged", "tile/0/001"),
    ]
    assert [finding.code for finding in grown.findings(read_head=None)] == ["log-checkpoint-missing"]


def test_unsigned_checkpoint_still_says_what_to_look_at(grown):
    place = grown.folder / "checkpoint"
    data = place.read_bytes()
    place.write_bytes(data[:-12] + b"AAAAAAAAAA=\n")
    change(grown, "tile/0/001")
    codes = [finding.code for finding in grown.findings(read_head=None)]
    assert codes[1:] == ["log-tile-damaged"]


def test_older_partial_file_that_lies_is_named(new_log):
    log = new_log()
    for index in range(4):
        log.append([b"%d" % index])
    change(log, "tile/0/000.p/2", 3)
    change(log, "tile/entries/000.p/3", 2)
    assert flat(log.codes()) == [
        ("log-bundle-damaged", "tile/entries/000.p/3"),
        ("log-tile-damaged", "tile/0/000.p/2"),
    ]


def test_files_beyond_the_head_are_no_findings(new_log):
    log = new_log(300)
    for path in ("tile/0/001.p/45", "tile/0/002", "tile/entries/001.p/99", "tile/1/000.p/2", "tile/0/.x.tmp"):
        (log.folder / path).write_bytes(b"left by a crash")
    assert log.codes() == []


def test_each_sound_entry_is_handed_out_once_and_in_order(grown):
    change(grown, "tile/entries/001", 20)
    seen = []

    def look(index, entry):
        seen.append((index, entry))
        return [Finding("x", "from the caller")] if index == 5 else []

    codes = [finding.code for finding in grown.findings(each_entry=look)]
    assert codes == ["x", "log-bundle-damaged"]
    indexes = [index for index, _ in seen]
    assert indexes == sorted(set(indexes))
    assert len(indexes) == 599
    assert all(entry == b"entry %d" % index for index, entry in seen)


def test_check_writes_nothing(grown):
    before = {path: path.stat() for path in grown.folder.rglob("*")}
    grown.findings()
    assert {path: path.stat() for path in grown.folder.rglob("*")} == before


def test_three_levels(new_log):
    log = new_log(256 * 256 + 300)
    assert log.codes() == []
    for path, code in (
        ("tile/1/000", "log-tile-damaged"),
        ("tile/1/001.p/1", "log-tile-damaged"),
        ("tile/2/000.p/1", "log-tile-damaged"),
        ("tile/0/200", "log-tile-damaged"),
        ("tile/entries/200", "log-bundle-damaged"),
    ):
        change(log, path, 3)
        assert log.codes() == [(code, path)]
        change(log, path, 3)


class TestReading:
    """`LogFiles` checks what it reads and names the damaged file."""

    def test_entry_in_a_damaged_bundle(self, grown):
        change(grown, "tile/entries/001", 9)
        with pytest.raises(EvidenceInvalid) as caught:
            list(grown.files.read_entries(0, 600, 600))
        assert (caught.value.code, caught.value.path) == ("log-bundle-damaged", "tile/entries/001")

    def test_entry_under_a_damaged_tile(self, grown):
        change(grown, "tile/0/001", 9)
        with pytest.raises(EvidenceInvalid) as caught:
            grown.files.read_entry(256, 600)
        assert (caught.value.code, caught.value.path) == ("log-tile-damaged", "tile/0/001")

    def test_no_false_proof_from_a_damaged_tile(self, grown):
        root = grown.state.head(ORIGIN).root
        change(grown, "tile/0/001", 9)
        with pytest.raises(EvidenceInvalid) as caught:
            grown.files.prove_inclusion(257, 600, root)
        assert caught.value.code == "merkle-inclusion"

    def test_missing_files(self, grown):
        (grown.folder / "tile/0/001").unlink()
        (grown.folder / "tile/entries/000").unlink()
        (grown.folder / "checkpoint").unlink()
        for call, code in (
            (lambda: grown.files.read_entry(300, 600), "log-tile-missing"),
            (lambda: grown.files.read_entry(0, 600), "log-bundle-missing"),
            (grown.files.read_checkpoint, "log-checkpoint-missing"),
        ):
            with pytest.raises(EvidenceMissing) as caught:
                call()
            assert caught.value.code == code

    @pytest.mark.parametrize("size", [1, 87, 256, 300, 512, 599])
    def test_smaller_sizes_are_read_from_wider_files(self, grown, size):
        entries = [b"entry %d" % index for index in range(size)]
        assert grown.files.root(size) == make_log.tree_root(entries)
        assert list(grown.files.read_entries(0, size, size)) == entries
        expected = tuple(make_log.path(size // 2, entries))
        assert grown.files.prove_inclusion(size // 2, size) == expected
        assert list(grown.files.prove_consistency(size, 600)) == make_log.consistency(
            size, [b"entry %d" % index for index in range(600)]
        )

    def test_a_fifo_or_link_in_the_place_of_a_file(self, grown):
        place = grown.folder / "tile/0/000"
        place.rename(grown.folder / "aside")
        os.mkfifo(place)
        with pytest.raises(OperationFailed) as caught:
            grown.files.read_entry(0, 600)
        assert caught.value.code == "log-unreadable"
        place.unlink()
        place.symlink_to(grown.folder / "aside")
        with pytest.raises(OperationFailed) as caught:
            grown.files.read_entry(0, 600)
        assert caught.value.code == "log-unreadable"
