"""Members that call in, and whoever says that it is one: what nobody asked for is refused unread."""

import json
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
import requests

from heritage_ledger import Ledger
from heritage_ledger.errors import HeritageError
from heritage_ledger.federation import reverse as module
from heritage_ledger.federation.reverse import reverse_url
from heritage_ledger.federation.signing import Request, sign_request
from heritage_ledger.federation.turns import (
    PART,
    PATH,
    format_head,
    format_question,
    parse_question,
    turn_query,
)
from heritage_ledger.home.keyring import open_node_keys
from heritage_testkit.inside import node_inside

MUSEUM, ARCHIVE = "museum.example/ledger/1", "archive.example/ledger/1"

WAIT = 60.0


class Member:
    """The archive, of which the museum knows no address, as far as a test wants to be honest."""

    def __init__(self, node, key):
        self.node, self.key = node, key
        self.url = reverse_url(ARCHIVE)

    def post(self, query="", body=b"{}", *, key=None, origin=ARCHIVE, sent=None, timeout=WAIT):
        request = Request("POST", f"{self.node.url}{PATH}{query}", body)
        signed = sign_request(request, key or self.key, origin=origin, audience=MUSEUM)
        return requests.post(
            f"{self.node.url}{PATH}{query}",
            data=body if sent is None else sent,
            headers=signed,
            timeout=timeout,
        )

    def question(self):
        answer = self.post()
        assert answer.status_code == 200, answer.text
        return parse_question(answer.content)

    @contextmanager
    def asked(self, path="/log/checkpoint", limit=1 << 20):
        """The museum asks meanwhile; yields where its answer, or its error, will be."""
        found = []

        def ask():
            try:
                answer = self.node.service.federation.client.ask("GET", f"{self.url}{path}", limit=limit)
                found.append((answer.status, answer.body))
            except HeritageError as error:
                found.append(error.code)

        self.node.service.desk.leave(ARCHIVE, self.node.service.desk.take(ARCHIVE))  # it has called once
        thread = threading.Thread(target=ask)
        thread.start()
        yield found
        thread.join(WAIT)
        assert not thread.is_alive()


@pytest.fixture
def member(homes):
    with Ledger.open(homes.archive) as ledger:
        key = open_node_keys(ledger.home, None).node
    with node_inside(homes.museum) as node:
        peers = node.service.federation.peers
        known = peers.get(ARCHIVE)
        peers.add(replace(known, url=reverse_url(ARCHIVE), witness=False))
        try:
            yield Member(node, key)
        finally:
            peers.add(known)


def test_a_question_is_taken_along_and_answered(member):
    with member.asked() as found:
        question = member.question()
        assert (question.method, question.path, question.limit) == ("GET", "/log/checkpoint", 1 << 20)
        head = format_head(200, {"content-type": "text/plain"})
        first = member.post(turn_query(question.name, 0, is_last=False, head=head), b"one ")
        last = member.post(turn_query(question.name, 1, is_last=True, head=None), b"two")
        assert (first.status_code, last.status_code) == (202, 202)
    assert found == [(200, b"one two")]


HEAD = format_head(200, {})
UNASKED = {
    "a question that nobody asked": lambda name: turn_query("x" * 24, 0, is_last=True, head=HEAD),
    "a piece out of order": lambda name: turn_query(name, 1, is_last=True, head=None),
}


@pytest.mark.parametrize("how", UNASKED)
def test_what_nobody_asked_for_is_refused_before_its_first_byte(member, how):
    with member.asked() as found:
        question = member.question()
        query = UNASKED[how](question.name)
        body = bytes(PART)
        request = Request("POST", f"{member.node.url}{PATH}{query}", body)
        signed = sign_request(request, member.key, origin=ARCHIVE, audience=MUSEUM)
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        head = f"POST {PATH}{query} HTTP/1.1\r\nHost: {member.node.host}:{member.node.port}\r\n"
        with socket.create_connection((member.node.host, member.node.port), timeout=WAIT) as sock:
            sock.sendall(f"{head}Content-Length: {len(body)}\r\n{lines}\r\n".encode())  # and no body
            said = sock.recv(4_000)
        assert said.startswith(b"HTTP/1.1 409"), said
        member.post(turn_query(question.name, 0, is_last=True, head=HEAD), b"right")
    assert found == [(200, b"right")]


def test_a_piece_that_comes_twice_is_refused(member):
    with member.asked() as found:
        question = member.question()
        query = turn_query(question.name, 0, is_last=False, head=HEAD)
        assert member.post(query, b"a").status_code == 202
        assert member.post(query, b"a").json()["code"] == "turn-unasked"
        member.post(turn_query(question.name, 1, is_last=True, head=None), b"b")
    assert found == [(200, b"ab")]


WRONG = {
    "no head": (lambda name: turn_query(name, 0, is_last=True, head=None), b"x", 422, "turn-malformed"),
    "a head that is none": (
        lambda name: turn_query(name, 0, is_last=True, head="e30="),
        b"x",
        422,
        "turn-malformed",
    ),
    "too much": (
        lambda name: turn_query(name, 0, is_last=True, head=HEAD),
        bytes(2_000),
        422,
        "peer-too-large",
    ),
    "no number": (lambda name: f"?answer={name}&part=x&last=1", b"x", 422, "turn-malformed"),
}


@pytest.mark.parametrize("how", WRONG)
def test_an_answer_that_is_none_ends_the_question(member, how):
    query, body, status, code = WRONG[how]
    with member.asked(limit=1_000) as found:
        answer = member.post(query(member.question().name), body)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        if how == "no number":  # whose answer it is was not said
            member.node.service.federation.client.stop()
    assert found == ["peer-unreachable" if how == "no number" else code]


def test_an_answer_whose_body_is_not_the_one_that_was_signed_is_none(member):
    with member.asked() as found:
        query = turn_query(member.question().name, 0, is_last=True, head=HEAD)
        assert member.post(query, b"signed", sent=b"changed").status_code == 401
    assert found == ["request-unsigned"]


def test_nobody_answers_for_another(member):
    """A peer that has an address is not asked this way, and cannot answer for the member."""
    stranger = type(member.key).from_seed(bytes(32))
    with member.asked() as found:
        question = member.question()
        query = turn_query(question.name, 0, is_last=True, head=HEAD)
        assert member.post(query, b"x", key=stranger).status_code == 401
        assert member.post(query, b"x", key=stranger, origin="nobody.example/ledger/1").status_code == 401
        member.post(query, b"right")
    assert found == [(200, b"right")]


def test_a_peer_with_an_address_is_told_that_it_is_called(homes, signer):
    with node_inside(homes.museum) as node:
        url = f"{node.url}{PATH}"
        answer = requests.post(url, data=b"{}", headers=signer(url, b"{}"), timeout=WAIT)
        assert (answer.status_code, answer.json()["code"]) == (409, "turns-unwanted")


def test_a_member_that_does_not_call_is_away(member):
    with pytest.raises(HeritageError) as caught:
        member.node.service.federation.client.get(f"{member.url}/log/checkpoint")
    assert caught.value.code == "peer-away"


def test_a_call_without_a_question_ends_and_the_next_one_is_asked(member, monkeypatch):
    monkeypatch.setattr("heritage_node.turns.HOLD_SECONDS", 0.2)
    assert member.post().status_code == 204
    with member.asked() as found:
        name = member.question().name
        member.post(turn_query(name, 0, is_last=True, head=format_head(404, {})), b"")
    assert found == [(404, b"")]


def test_a_question_is_not_lost_with_a_call_that_broke_off(member):
    with pytest.raises(requests.exceptions.ReadTimeout):
        member.post(timeout=0.5)
    time.sleep(0.5)
    with member.asked() as found:
        name = member.question().name
        member.post(turn_query(name, 0, is_last=True, head=HEAD), b"x")
    assert found == [(200, b"x")]


def test_a_member_that_is_silent_keeps_nobody_for_ever(member):
    desk = member.node.service.desk
    desk._waits = replace(desk._waits, headers=0.5, silent=0.5, slowest=1 << 40)
    with member.asked() as found:
        name = member.question().name
    assert found == ["peer-silent"]
    assert member.post(turn_query(name, 0, is_last=True, head=HEAD), b"x").json()["code"] == "turn-unasked"
    with member.asked() as found:
        name = member.question().name
        member.post(turn_query(name, 0, is_last=False, head=HEAD), b"x")
    assert found == ["peer-silent"]


def test_there_is_room_for_so_many_questions(member, monkeypatch):
    monkeypatch.setattr(module, "MAX_QUESTIONS", 1)
    with member.asked() as first:
        time.sleep(0.3)
        with member.asked() as second:
            time.sleep(0.3)
            assert second == ["peer-busy"]
        member.post(turn_query(member.question().name, 0, is_last=True, head=HEAD), b"x")
    assert first == [(200, b"x")]


def test_a_call_ends_when_the_node_stops(member):
    with member.asked() as found:
        member.node.service.federation.client.stop()
    assert found == ["peer-unreachable"]


QUESTION = {
    "id": "n",
    "method": "GET",
    "path": "/log/checkpoint",
    "headers": {},
    "body": "",
    "limit": 1,
}
BAD_QUESTIONS = {
    "no JSON": b"\xff",
    "a list": b"[]",
    "nothing": b"{}",
    "deep": b"[" * 100_000,
    **{f"without {name}": {k: v for k, v in QUESTION.items() if k != name} for name in QUESTION},
    "a method": QUESTION | {"method": "DELETE"},
    "a path": QUESTION | {"path": "log"},
    "a line": QUESTION | {"path": "/log\r\nX: y"},
    "a header": QUESTION | {"headers": {"Authorization": "Bearer x"}},
    "a header that is none": QUESTION | {"headers": {"signature": 1}},
    "a limit": QUESTION | {"limit": -1},
    "a limit that is none": QUESTION | {"limit": True},
    "a body": QUESTION | {"body": "%"},
    "a long name": QUESTION | {"id": "x" * 65},
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_what_is_no_question_is_refused(name):
    data = BAD_QUESTIONS[name]
    with pytest.raises(HeritageError) as caught:
        parse_question(data if isinstance(data, bytes) else json.dumps(data).encode())
    assert caught.value.code == "turn-malformed"
    question = parse_question(json.dumps(QUESTION).encode())
    assert parse_question(format_question(question)).path == "/log/checkpoint"
