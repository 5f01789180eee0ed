"""Signed requests: one key, one node, one time; everything else is refused."""

from datetime import UTC, datetime, timedelta

import pytest

from heritage_ledger.errors import KeyProblem
from heritage_ledger.federation import signing
from heritage_ledger.federation.signing import AUDIENCE, Gate, Request, sign_request
from heritage_ledger.identity.keys import Ed25519Signer

SENDER, RECEIVER = "museum.example/ledger/1", "archive.example/ledger/1"
KEY, OTHER = (Ed25519Signer.from_seed(bytes([at]) * 32) for at in (1, 2))
URL = "http://archive.example/api/v1/blocks"


@pytest.fixture
def gate():
    return Gate(RECEIVER, {SENDER: KEY.public}.get)


def signed(*, method="POST", url=URL, body=b"{}", key=KEY, origin=SENDER, audience=RECEIVER):
    return sign_request(Request(method, url, body), key, origin=origin, audience=audience)


def test_a_peer_is_let_in_once(gate):
    headers = signed()
    assert gate.check_request("POST", URL, headers, b"{}") == SENDER
    with pytest.raises(KeyProblem):
        gate.check_request("POST", URL, headers, b"{}")
    assert gate.check_request("POST", URL, signed(), b"{}") == SENDER


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
    with pytest.raises(KeyProblem) as caught:
        gate.check_request(*CHANGES[name]())
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
        gate.check_request("POST", URL, headers, b"{}")


def test_what_was_signed_before_a_restart_is_refused(gate):
    headers = signed()
    later = Gate(RECEIVER, {SENDER: KEY.public}.get)
    later._opened = datetime.now(UTC).timestamp() + 2
    with pytest.raises(KeyProblem):
        later.check_request("POST", URL, headers, b"{}")


def test_memory_of_nonces_is_bounded(gate, monkeypatch):
    monkeypatch.setattr(signing, "MAX_NONCES", 3)
    for _ in range(3):
        gate.check_request("POST", URL, signed(), b"{}")
    with pytest.raises(KeyProblem):
        gate.check_request("POST", URL, signed(), b"{}")
