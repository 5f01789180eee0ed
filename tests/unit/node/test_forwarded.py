"""What clients and proxies say of a request beside it: one header is read, of those the settings name."""

import ast

import pytest

from heritage_ledger import Ledger
from heritage_testkit.inside import node_inside
from heritage_testkit.outside import PROJECT

SAID = {
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Protocol": "https",
    "X-Forwarded-Scheme": "https",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Port": "444",
    "X-Forwarded-Prefix": "/ledger",
    "X-Forwarded-Path": "/ledger",
    "X-Forwarded-Uri": "/metrics",
    "X-Forwarded-Method": "POST",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-By": "203.0.113.7",
    "Forwarded": "for=203.0.113.7;host=evil.example;proto=https",
    "X-Real-Ip": "203.0.113.7",
    "X-Client-Ip": "203.0.113.7",
    "True-Client-Ip": "203.0.113.7",
    "Cf-Connecting-Ip": "203.0.113.7",
    "X-Cluster-Client-Ip": "203.0.113.7",
    "X-Original-Host": "evil.example",
    "X-Original-Url": "/metrics",
    "X-Rewrite-Url": "/metrics",
    "X-Http-Method-Override": "POST",
    "X-Script-Name": "/ledger",
    "Via": "1.1 evil.example",
}
"""What is in use to say who asks, where and how."""
BELIEVED = "X-Forwarded-For"
ROUTES = ("/log/checkpoint", "/api/v1/node", "/api/v1/assets", "/api/v1/events", "/openapi.json", "/nothing")
OWN = {"Date", "X-Request-Id"}
"""Headers of answers that differ from one to the next."""


@pytest.fixture(params=[False, True], ids=["unnamed", "named"])
def node(request, tmp_path):
    """A node to which this test's own address is a proxy that the settings name, or not."""
    home = tmp_path / "home"
    Ledger.init(home, institution="M", origin="museum.example/ledger/1", passphrase=None).close()
    trusted = '["127.0.0.1"]' if request.param else "[]"
    with (home / "heritage.toml").open("a") as file:
        file.write(f'\n[node]\nlisten = "127.0.0.1:0"\ntrusted_proxies = {trusted}\n')
    with node_inside(home) as made:
        yield made, request.param


def seen(node, header):
    """For whom a request counts that bears the header."""
    counted = []
    connections = node.connections
    client = connections.client

    def noted(request):
        counted.append(client(request))
        return counted[-1]

    connections.client = noted
    try:
        node.get("/healthz", **({header: SAID[header]} if header else {}))
    finally:
        del connections.client
    (found,) = set(counted)
    return found


def test_one_header_says_who_asks_and_only_where_the_settings_say_so(node):
    made, is_named = node
    assert seen(made, None) == "127.0.0.1"
    moved = {header for header in SAID if seen(made, header) != "127.0.0.1"}
    assert moved == ({BELIEVED} if is_named else set())


def test_no_answer_depends_on_them(node):
    made, _ = node
    for route in ROUTES:
        usual = told(made.get(route))
        for header, value in SAID.items():
            assert told(made.get(route, **{header: value})) == usual, (route, header)
    for header, value in SAID.items():
        assert made.get("/api/v1/sync", **{header: value}).status_code == 405, header


def told(answer):
    kept = {name: value for name, value in answer.headers.items() if name not in OWN}
    return answer.status_code, kept, answer.text


def test_no_other_code_reads_such_a_header():
    """A walk over all that is shipped: a new reader of one has to be thought about."""
    named = {header.lower() for header in SAID}
    found = {}
    for root in ("src", "node", "cli"):
        for path in (PROJECT / root).rglob("*.py"):
            for one in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(one, ast.Constant)
                    and isinstance(one.value, str)
                    and one.value.lower() in named
                ):
                    found.setdefault(path.name, set()).add(one.value)
                if isinstance(one, ast.Attribute) and one.attr in {"forwarded", "remote"}:
                    found.setdefault(path.name, set()).add(one.attr)
    assert found == {"limits.py": {BELIEVED}, "admission.py": {BELIEVED}}
