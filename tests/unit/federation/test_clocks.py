"""Clocks that are far apart are told of, noted and shown; nothing is decided by them."""

import pytest

from heritage_ledger.errors import Severity
from heritage_ledger.federation.clocks import note_clock, read_clock
from heritage_ledger.federation.peers import Peer
from heritage_ledger.home.layout import Home

PEER = Peer("archive.example/ledger/1", "Archive", "https://a.example", (), (), "", "")


@pytest.mark.parametrize(
    ("ahead", "told"),
    [
        (0.0, None),
        (119.0, None),
        (-119.0, None),
        (86_400.2, "86400 seconds ahead of"),
        (-300, "300 seconds behind"),
    ],
)
def test_far_is_told_and_noted(tmp_path, ahead, told):
    place = Home(tmp_path).mirror_of(PEER.origin)
    finding = note_clock(place, PEER, ahead)
    assert read_clock(place) == round(ahead)
    if told is None:
        assert finding is None
    else:
        assert finding.code == "peer-clock"
        assert finding.severity is Severity.WARNING
        assert told in finding.found


def test_nobody_looked_and_a_note_that_is_none(tmp_path):
    place = Home(tmp_path).mirror_of(PEER.origin)
    assert note_clock(place, PEER, None) is None
    assert read_clock(place) is None
    note_clock(place, PEER, 7.0)
    for data in (b"", b"x", b"\xff" * 30, b"1e9"):
        place.clock.chmod(0o644)
        place.clock.write_bytes(data)
        assert read_clock(place) is None
