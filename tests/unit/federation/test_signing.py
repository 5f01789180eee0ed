"""Signed requests: one key, one node, one time; everything else is refused."""

import base64
import hashlib
import re
import sys
import time
import types
from datetime import datetime, timedelta

import http_message_signatures.signatures as library
import pytest

from heritage_ledger.errors import HeritageError, KeyProblem
from heritage_ledger.federation import signing
from heritage_ledger.federation.signing import AUDIENCE, NOTICE, Gate, Request, sign_request
from heritage_ledger.identity.keys import Ed25519Signer

SENDER, RECEIVER = "museum.example/ledger/1", "archive.example/ledger/1"
KEY, OTHER = (Ed25519Signer.from_seed(bytes([at]) * 32) for at in (1, 2))
URL = "http://archive.example/api/v1/blocks"


COVERED = {
    1: ["@method", "@target-uri", "content-digest", "heritage-audience"],
    2: ["@method", "@path", "@query", "content-digest", "heritage-audience", "heritage-protocol"],
}
"""The names on the wire, written out: what two releases say to each other must never change."""


FORM = 2


@pytest.fixture(params=[1, 2], autouse=True)
def protocol(request, monkeypatch):
    """Every rule holds in the form of each protocol."""
    monkeypatch.setattr(sys.modules[__name__], "FORM", request.param, raising=False)
    return request.param


@pytest.fixture
def gate():
    return Gate(RECEIVER, {SENDER: KEY.public}.get)


def signed(*, method="POST", url=URL, body=b"{}", key=KEY, origin=SENDER, audience=RECEIVER):
    request = Request(method, url, body)
    return sign_request(request, key, origin=origin, audience=audience, protocol=FORM)


def enter(gate, method, url, headers, body):
    """What a node does with a request: its headers first, then its body."""
    request = gate.check_headers(method, (url,), headers)
    request.check_body(body)
    return request.origin


def test_a_peer_is_let_in_once(gate):
    headers = signed()
    assert enter(gate, "POST", URL, headers, b"{}") == SENDER
    with pytest.raises(KeyProblem):
        enter(gate, "POST", URL, headers, b"{}")
    assert enter(gate, "POST", URL, signed(), b"{}") == SENDER


CHANGES = {
    "another method": lambda: ("PUT", URL, signed(), b"{}"),
    "another path": lambda: ("POST", f"{URL}/x", signed(), b"{}"),
    "another query": lambda: ("POST", f"{URL}?x=1", signed(), b"{}"),
    "another host": lambda: ("POST", "http://library.example/api/v1/blocks", signed(), b"{}"),
    "another body": lambda: ("POST", URL, signed(), b"{ }"),
    "another audience": lambda: ("POST", URL, signed(audience="library.example/ledger/1"), b"{}"),
    "a changed audience": lambda: (
        "POST",
        URL,
        signed(audience="library.example/ledger/1") | {AUDIENCE: RECEIVER},
        b"{}",
    ),
    "another key": lambda: ("POST", URL, signed(key=OTHER), b"{}"),
    "a stranger": lambda: ("POST", URL, signed(origin="nobody.example/ledger/1"), b"{}"),
    "no signature": lambda: ("POST", URL, {AUDIENCE: RECEIVER}, b"{}"),
    "no digest": lambda: ("POST", URL, {k: v for k, v in signed().items() if k != "Content-Digest"}, b"{}"),
    "broken headers": lambda: ("POST", URL, signed() | {"Signature-Input": "((("}, b"{}"),
    "no base64": lambda: ("POST", URL, signed() | {"Signature": "pyhms=:####:"}, b"{}"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_is_changed_is_refused(gate, name):
    if name == "another host" and FORM > 1:
        assert enter(gate, *CHANGES[name]()) == SENDER  # the audience says whom it is for
        return
    with pytest.raises(KeyProblem) as caught:
        enter(gate, *CHANGES[name]())
    assert caught.value.code == "request-unsigned"


@pytest.mark.parametrize("shift", [-3600, -400, 3600])
def test_other_times_are_refused(gate, monkeypatch, shift):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=shift)

    monkeypatch.setattr(signing, "datetime", Clock)
    headers = signed()
    monkeypatch.undo()
    with pytest.raises(KeyProblem):
        enter(gate, "POST", URL, headers, b"{}")


class Clocks:
    """Both clocks of the module under test, to be set apart from each other."""

    def __init__(self, monkeypatch):
        self.wall, self.steady = time.time(), time.monotonic()
        clocks = self

        class Wall(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.fromtimestamp(clocks.wall, tz)

        monkeypatch.setattr(signing, "datetime", Wall)
        monkeypatch.setattr(signing.time, "time", lambda: self.wall)
        monkeypatch.setattr(signing.time, "monotonic", lambda: self.steady)
        monkeypatch.setattr(library.datetime, "datetime", Wall)

    def go_on(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def clocks(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(library, "datetime", types.SimpleNamespace(**vars(library.datetime)))
        yield Clocks(patch)


def refused(gate, headers, *, code="request-unsigned", body=b"{}"):
    with pytest.raises(HeritageError) as caught:
        enter(gate, "POST", URL, headers, body)
    assert caught.value.code == code
    return caught.value


def test_what_was_signed_before_a_restart_is_refused(clocks):
    headers = signed()
    clocks.go_on(5)
    later = Gate(RECEIVER, {SENDER: KEY.public}.get)
    clocks.go_on(20)
    assert "since this node started" in refused(later, headers).expected
    assert enter(later, "POST", URL, signed(), b"{}") == SENDER


@pytest.mark.parametrize("step", [-3600, -30, 30, 3600])
def test_a_clock_that_is_set_makes_no_node_deaf(clocks, step):
    """The node starts with a wrong clock, which NTP sets right: its peers' clocks were right all the time."""
    gate = Gate(RECEIVER, {SENDER: KEY.public}.get)
    clocks.go_on(60)
    clocks.wall += step
    assert enter(gate, "POST", URL, signed(), b"{}") == SENDER


def test_a_clock_set_back_lets_no_old_request_in_again(gate, clocks):
    clocks.go_on(100)
    first = signed()
    enter(gate, "POST", URL, first, b"{}")
    clocks.go_on(500)
    enter(gate, "POST", URL, signed(), b"{}")  # the first nonce is forgotten now
    clocks.wall -= 490
    assert "newer than those that were forgotten" in refused(gate, first).expected


def forged(
    *,
    lifetime=60,
    nonce="n",
    tag="heritage-ledger",
    created=None,
    covered=None,
    ahead=0,
    audience=RECEIVER,
    **more,
):
    """A signed request made without our code: the names on the wire are written out here."""
    created = (int(time.time()) if created is None else created) + ahead
    digest = base64.b64encode(hashlib.sha256(b"{}").digest()).decode()
    fields = {
        "@method": "POST",
        "@target-uri": "http://archive.example/api/v1/blocks",
        "@path": "/api/v1/blocks",
        "@query": "?",
        "heritage-protocol": "2",
        "content-digest": f"sha-256=:{digest}:",
        "heritage-audience": audience,
        **more,
    }
    names = covered or COVERED[FORM]
    inputs = " ".join(f'"{name}"' for name in names)
    parameters = f'({inputs});created={created};keyid="{SENDER}";alg="ed25519"'
    if lifetime is not None:
        parameters += f";expires={created + lifetime}"
    if nonce is not None:
        parameters += f';nonce="{nonce}"'
    parameters += f';tag="{tag}"'
    base = "\n".join(f'"{name}": {fields[name]}' for name in names) + f'\n"@signature-params": {parameters}'
    signature = base64.b64encode(KEY.sign(base.encode())).decode()
    return {
        "Content-Digest": fields["content-digest"],
        "Heritage-Audience": audience,
        "Signature-Input": f"sig={parameters}",
        "Signature": f"sig=:{signature}:",
        **{name: fields[name] for name in ("heritage-notice", "heritage-protocol") if name in fields},
    }


def test_a_request_signed_by_the_letter_of_the_specification_is_let_in(gate):
    assert enter(gate, "POST", URL, forged(), b"{}") == SENDER
    assert enter(gate, "POST", URL, forged(lifetime=300, nonce="m"), b"{}") == SENDER


def test_what_we_send_is_what_the_specification_says():
    headers = signed()
    named = {"Heritage-Audience", "Heritage-Protocol", "Content-Digest", "Signature-Input", "Signature"}
    assert set(headers) == named
    covered = re.escape(" ".join(f'"{name}"' for name in COVERED[FORM]))
    found = re.fullmatch(
        rf"pyhms=\({covered}\);created=(\d+);"
        r'keyid="museum\.example/ledger/1";alg="ed25519";expires=(\d+);nonce="([\w-]{24})";tag="heritage-ledger"',
        headers["Signature-Input"],
    )
    assert found, headers["Signature-Input"]
    assert int(found[2]) - int(found[1]) == 60


@pytest.mark.parametrize(
    "change",
    [
        {"lifetime": 301},
        {"lifetime": None},
        {"nonce": None},
        {"nonce": ""},
        {"tag": "another"},
        {"ahead": 60},
        *({"without": name} for name in dict.fromkeys(COVERED[1] + COVERED[2])),
        {"audience": "library.example/ledger/1"},
    ],
    ids=str,
)
def test_each_rule_of_a_signature_is_kept(gate, change):
    if "without" in change:
        change = {"covered": [name for name in COVERED[FORM] if name != change["without"]]}
    if change.get("covered") != COVERED[FORM]:  # it is a name of the other protocol
        refused(gate, forged(**change))
    assert enter(gate, "POST", URL, forged(nonce="other"), b"{}") == SENDER


def test_two_signatures_are_one_too_many(gate):
    one, two = forged(nonce="1"), forged(nonce="2")
    both = one | {
        "Signature-Input": f"{one['Signature-Input']}, b{two['Signature-Input']}",
        "Signature": f"{one['Signature']}, b{two['Signature']}",
    }
    assert refused(gate, both).expected == "one signature"


def test_another_body_is_refused_after_the_headers_were_taken(gate):
    taken = gate.check_headers("POST", (URL,), signed())
    taken.check_body(b"{}")
    with pytest.raises(KeyProblem):
        taken.check_body(b"{} ")


OTHER_PEER = "library.example/ledger/1"


def test_a_peer_that_signs_too_much_keeps_no_other_one_out(monkeypatch, clocks):
    gate = Gate(RECEIVER, {SENDER: KEY.public, OTHER_PEER: OTHER.public}.get)
    monkeypatch.setattr(signing, "MAX_NONCES", 3)
    for _ in range(3):
        enter(gate, "POST", URL, signed(), b"{}")
    error = refused(gate, signed(), code="request-too-many")
    assert "replay" not in str(error)
    assert enter(gate, "POST", URL, signed(key=OTHER, origin=OTHER_PEER), b"{}") == OTHER_PEER
    clocks.go_on(60 + signing.KEPT + 1)
    assert enter(gate, "POST", URL, signed(), b"{}") == SENDER
    assert len(gate._pots[SENDER].ends) == len(gate._pots[SENDER].created) == 1


@pytest.mark.parametrize(
    ("sent", "known"),
    [
        ("http://ARCHIVE.example/x", "http://archive.example/x"),
        ("HTTP://archive.example/x", "http://archive.example/x"),
        ("http://archive.example:80/x", "http://archive.example/x"),
        ("https://archive.example:443/x?B=c", "https://archive.example/x?B=c"),
        ("http://archive.example", "http://archive.example/"),
        ("http://[2001:DB8::1]:8463/x", "http://[2001:db8::1]:8463/x"),
    ],
)
def test_one_url_has_one_spelling(sent, known):
    gate = Gate(RECEIVER, {SENDER: KEY.public}.get)
    assert enter(gate, "POST", known, signed(url=sent), b"{}") == SENDER
    assert enter(gate, "POST", sent, signed(url=known), b"{}") == SENDER


def test_a_node_has_several_names_and_no_other(gate):
    names = ("http://archive.example/x", "http://127.0.0.1:8463/x", "http://[half/x", "http://h:99999999/x")
    for url in names[:2]:
        assert gate.check_headers("POST", names, signed(url=url)).origin == SENDER
    with pytest.raises(KeyProblem):
        gate.check_headers("POST", names, signed(url="http://archive.example/y"))
    with pytest.raises(KeyProblem):
        gate.check_headers("POST", names[2:], signed())


def test_what_a_notice_is_about_is_signed(gate):
    request = Request("POST", URL, b"{}")
    request.headers[NOTICE] = "fork"
    headers = sign_request(request, KEY, origin=SENDER, audience=RECEIVER, protocol=FORM)
    assert gate.check_headers("POST", (URL,), headers).covers_notice
    fresh = Gate(RECEIVER, {SENDER: KEY.public}.get)
    for changed in ({NOTICE: "help"}, {NOTICE: ""}):
        refused(fresh, headers | changed)
    refused(fresh, {name: value for name, value in headers.items() if name != NOTICE})
    assert not fresh.check_headers("POST", (URL,), signed() | {NOTICE: "fork"}).covers_notice  # release 0.1
    covered = [*COVERED[FORM], "heritage-notice"]
    by_hand = forged(covered=covered, **{"heritage-notice": "help"})
    assert fresh.check_headers("POST", (URL,), by_hand).covers_notice


def test_what_a_peer_spoke_once_it_is_held_to(protocol):
    seen = {}
    gate = Gate(RECEIVER, {SENDER: KEY.public}.get, lambda origin: seen.get(origin, 1), seen.__setitem__)
    assert enter(gate, "POST", URL, signed(), b"{}") == SENDER
    assert seen == ({SENDER: 2} if protocol == 2 else {})
    earlier = sign_request(Request("POST", URL, b"{}"), KEY, origin=SENDER, audience=RECEIVER, protocol=1)
    if protocol == 2:
        assert "peer add" in refused(gate, earlier, code="request-protocol").advice
    else:
        assert enter(gate, "POST", URL, earlier, b"{}") == SENDER


def test_a_later_protocol_than_ours_is_taken_in_the_form_of_ours(gate, protocol):
    if protocol == 2:
        assert enter(gate, "POST", URL, forged(**{"heritage-protocol": "3"}), b"{}") == SENDER
