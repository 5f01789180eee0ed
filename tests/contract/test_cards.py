"""Introduction files, and what is said when a peer is added."""

import json
from dataclasses import replace

import pytest

from heritage_ledger import Ledger
from heritage_ledger.content.exchange import Waits
from heritage_ledger.errors import ExitCode, HeritageError, UsageError
from heritage_ledger.federation.cards import MAX_CARD, open_card
from heritage_ledger.federation.client import Client
from heritage_ledger.federation.greeting import greet
from heritage_testkit.command import run_command
from heritage_testkit.hostile import SHAPES, hostile
from heritage_testkit.running import make_home, running

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"
URL = "https://ledger.museum.example"


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("homes")
    return make_home(folder, "museum"), make_home(folder, "archive"), make_home(folder, "library")


@pytest.fixture(scope="module")
def card(homes):
    with Ledger.open(homes[0]) as ledger:
        node = replace(ledger.settings.node, url=URL)
        ledger.federation.settings = replace(ledger.settings, node=node)
        return ledger.federation.card()


def test_a_card_says_what_the_log_says(homes, card):
    with running(homes[0]) as node, Ledger.open(homes[1]) as ledger:
        assert replace(ledger.federation.discover(node.url), url=URL) == open_card(card)
        assert open_card(card).witness


def other_card(homes):
    with Ledger.open(homes[2]) as ledger:
        node = replace(ledger.settings.node, url=URL)
        ledger.federation.settings = replace(ledger.settings, node=node)
        return json.loads(ledger.federation.card())


CHANGES = {
    "no JSON": lambda _: b"\xff",
    "nothing": lambda _: b"",
    "a list": lambda _: b"[]",
    "deep": lambda _: b"[" * 200_000,
    "too large": lambda card: json.dumps(card).encode() + b" " * MAX_CARD,
    "another type": lambda card: card | {"type": "heritage-ledger-proof"},
    "a later version": lambda card: card | {"version": 2},
    "one name more": lambda card: card | {"more": 1},
    "no URL at all": lambda card: {name: card[name] for name in card if name != "url"},
    "a URL with a password": lambda card: card | {"url": "https://a:b@museum.example"},
    "a URL of another kind": lambda card: card | {"url": "reverse://library.example"},
    "a number for a URL": lambda card: card | {"url": 1},
    "no base64": lambda card: card | {"entry": "%%"},
    "no checkpoint": lambda card: card | {"checkpoint": 1},
    "a changed entry": lambda card: card | {"entry": card["entry"][:-8] + "AAAAAAA="},
    "a changed size": lambda card: card | {"checkpoint": card["checkpoint"].replace("\n1\n", "\n2\n", 1)},
    "a hash too many": lambda card: card | {"hashes": ["A" * 43 + "="]},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_card_that_was_changed_is_refused(card, name):
    changed = CHANGES[name](json.loads(card))
    with pytest.raises(HeritageError):
        open_card(changed if isinstance(changed, bytes) else json.dumps(changed).encode())


@pytest.mark.parametrize("part", ["checkpoint", "entry"])
def test_parts_of_two_cards_are_none(homes, card, part):
    with pytest.raises(HeritageError):
        open_card(json.dumps(json.loads(card) | {part: other_card(homes)[part]}).encode())


def test_a_node_that_says_not_how_it_is_reached_has_no_card(homes):
    with Ledger.open(homes[0]) as ledger, pytest.raises(UsageError) as caught:
        ledger.federation.card()
    assert caught.value.code == "card-no-url"


def test_the_commands(homes, card, tmp_path):
    museum, archive, _ = homes
    settings = museum / "heritage.toml"
    text = settings.read_text()
    settings.write_text(text.replace("[node]\n", "[node]\ncall_in = true\n"))
    file = tmp_path / "museum.card.json"
    assert run_command("--home", museum, "peer", "card", "-o", file).code == 0
    assert run_command("--home", museum, "peer", "card", "-o", file).code == ExitCode.FAILED  # it is there
    assert run_command("--home", museum, "peer", "card", "-o", file, "--force").code == 0
    key = run_command("--home", museum, "--json", "log", "key").lines[0]["vkey"]
    settings.write_text(text)
    wrong = run_command("--home", archive, "peer", "add", tmp_path / "absent.json", "--yes", "--key", key)
    assert wrong.code == ExitCode.USAGE, wrong
    for url in ("reverse://museum.example%2Fledger%2F1", "ftp://museum.example"):
        assert (
            run_command("--home", archive, "peer", "add", url, "--yes", "--key", key).code == ExitCode.USAGE
        )
    other = run_command("--home", archive, "--json", "log", "key").lines[0]["vkey"]
    assert run_command("--home", archive, "peer", "add", file, "--yes", "--key", other).code == 4
    done = run_command("--home", archive, "--json", "peer", "add", file, "--yes", "--key", key)
    assert done.code == 0
    assert [line["code"] for line in done.lines if line["type"] == "finding"] == [
        "policy-no-quorum",
        "peer-calls-in",
    ]
    assert "calls in" in run_command("--home", archive, "peer", "list").out
    assert run_command("--home", archive, "peer", "remove", MUSEUM).code == 0
    file.write_bytes(card)
    done = run_command("--home", archive, "peer", "add", file, "--yes", "--key", key, "--no-witness")
    assert done.code == 0
    with Ledger.open(archive) as ledger:
        assert not ledger.federation.peers.get(MUSEUM).witness
        assert ledger.federation.peers.policy().witnesses == ()
        ledger.federation.peers.remove(MUSEUM)


def codes(ledger, peer):
    return [finding.code for finding in ledger.federation.greet(peer)]


def test_what_is_said_when_a_peer_is_added(homes):
    museum, archive, _ = homes
    with running(archive) as node, Ledger.open(museum) as ledger:
        peer = ledger.federation.discover(node.url)
        assert codes(ledger, peer) == ["peer-unacquainted"]
        with running(museum) as own, Ledger.open(archive) as other:
            other.federation.trust(other.federation.discover(own.url))
        assert codes(ledger, peer) == []
        node.service.ledger.settings = replace(
            node.service.ledger.settings,
            node=replace(node.service.ledger.settings.node, url="https://ledger.archive.example"),
        )
        assert codes(ledger, peer) == ["peer-url-other"]
        assert codes(ledger, replace(peer, url="http://127.0.0.1:1")) == ["peer-unreachable"]


def test_whatever_a_node_answers_adding_it_ends_with_a_warning(homes):
    waits = Waits(connect=0.5, headers=0.5, silent=0.3, slowest=64 << 20, whole=1.0)
    with Ledger.open(homes[0]) as ledger, Client(allow_private=True, waits=waits) as client:
        speaker = replace(ledger.federation.speaker, client=client)
        for name, shape in SHAPES.items():
            if not shape.is_content:
                continue
            with hostile(shape) as url:
                peer = replace(open_card_of(homes[1]), url=url)
                found = list(greet(speaker, peer))
            assert [one.severity.value for one in found] == ["warning"], (name, found)


def open_card_of(home):
    with Ledger.open(home) as ledger:
        ledger.federation.settings = replace(ledger.settings, node=replace(ledger.settings.node, url=URL))
        return open_card(ledger.federation.card())
