"""When peers were reached and heard: noted beside the mirror, shown by commands, kept over a restart."""

import json
import subprocess

from heritage_ledger import Ledger
from heritage_ledger.federation.contacts import Contact, note_contact, read_contact
from heritage_ledger.home.layout import Home
from heritage_node.watch import Watch
from heritage_testkit.nodes import HERITAGE, until
from heritage_testkit.running import make_home, running

ORIGIN = "archive.example/ledger/1"


def test_a_note_keeps_what_is_not_known_anew(tmp_path):
    place = Home(tmp_path).mirror_of(ORIGIN)
    assert read_contact(place) == Contact()
    note_contact(place, Contact(reached=7))
    note_contact(place, Contact(heard=9))
    assert read_contact(place) == Contact(7, 9)
    before = place.contact.stat().st_mtime_ns
    note_contact(place, Contact(reached=7))
    assert place.contact.stat().st_mtime_ns == before  # what is the same is not written


def test_a_note_that_is_none_says_nothing(tmp_path):
    place = Home(tmp_path).mirror_of(ORIGIN)
    note_contact(place, Contact(1, 2))
    for data in (b"", b"x y", b"1", b"1 2 3", b"-1 2", b"1e9 2", b"9" * 30 + b" 1", b"\xff \xff"):
        place.contact.write_bytes(data)
        assert read_contact(place) == Contact()


def test_what_was_known_before_a_start_is_known_after_it(tmp_path):
    home, watch = Home(tmp_path), Watch()
    watch.note_look(ORIGIN, ())
    watch.note_heard(ORIGIN)
    watch.keep_contacts(home)
    again = Watch()
    again.read_contacts(home, [ORIGIN, "other.example/ledger/1"])
    assert again.contacts == {ORIGIN: int(watch.contacts[ORIGIN])}
    assert again.heard == {ORIGIN: int(watch.heard[ORIGIN])}


def test_a_node_notes_it_at_its_end_and_a_command_shows_it(tmp_path):
    museum, archive = (make_home(tmp_path, name) for name in ("museum", "archive"))
    with running(archive, first=0.1) as other, running(museum, first=0.1) as node:
        for home, url in ((museum, other.url), (archive, node.url)):
            with Ledger.open(home) as ledger:
                ledger.federation.peers.add(ledger.federation.discover(url))
        until(lambda: ORIGIN in node.service.watch.heard)
        until(lambda: ORIGIN in node.service.watch.contacts)
    words = [HERITAGE, "--home", museum, "peer", "status", ORIGIN]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "last reached" in said
    assert "last heard from" in said
    words.insert(1, "--json")
    lines = map(
        json.loads, subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    )
    (shown,) = [line for line in lines if line["type"] == "peer"]
    assert shown["reached"].endswith("Z")
    assert shown["heard"].endswith("Z")
