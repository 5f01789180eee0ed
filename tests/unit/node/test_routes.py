"""Every route states what it may cost, and keeps to it."""

import asyncio
import contextlib
import hashlib
import threading
import time
from collections import Counter
from urllib.parse import quote

import pytest
import requests
from aiohttp import web
from sqlalchemy import event

from heritage_ledger.errors import HeritageError
from heritage_ledger.home.deadline import Deadline
from heritage_ledger.index.store import Index
from heritage_node.costs import Cost, Paging, Pool, check_routes, cost_of, costs
from heritage_node.pools import Pools, TooMany
from heritage_testkit.inside import WAIT, watched

ARCHIVE = "archive.example/ledger/1"
POSTS = {"/witness/add-checkpoint", "/api/v1/blocks", "/api/v1/notices", "/api/v1/sync", "/api/v1/turns"}
UNSIGNED = {"/witness/add-checkpoint": b"rubbish", "/api/v1/sync": b""}


def samples(homes):
    """A path for each route that is answered with something."""
    cid = homes.receipts[0].package_cid
    name = hashlib.sha256(ARCHIVE.encode()).hexdigest()
    return {
        "/log/{path}": "/log/checkpoint",
        "/mirrors/{origin}/{path}": f"/mirrors/{ARCHIVE}/checkpoint",
        "/witness/add-checkpoint": "/witness/add-checkpoint",
        "/witness/{name}/checkpoint": f"/witness/{name}/checkpoint",
        "/ipfs/{cid}": f"/ipfs/{cid}?format=raw",
        "/ipfs/{cid}/{path}": f"/ipfs/{cid}/data/scan.bin?format=car",
        "/routing/v1/providers/{cid}": f"/routing/v1/providers/{cid}",
        "/api/v1/openapi.json": "/api/v1/openapi.json",
        "/api/v1/node": "/api/v1/node",
        "/api/v1/assets": "/api/v1/assets",
        "/api/v1/packages/{cid}": f"/api/v1/packages/{cid}",
        "/api/v1/events": "/api/v1/events",
        "/api/v1/events/{which}": "/api/v1/events/1",
        "/api/v1/proofs/{what}": "/api/v1/proofs/urn:example:3",
        "/api/v1/peers": "/api/v1/peers",
        "/api/v1/forks": "/api/v1/forks",
        "/api/v1/forks/{file}": "/api/v1/forks/none.fork.json",
        "/api/v1/blocks": "/api/v1/blocks",
        "/api/v1/notices": "/api/v1/notices",
        "/api/v1/turns": "/api/v1/turns",
        "/api/v1/sync": "/api/v1/sync",
        "/healthz": "/healthz",
        "/readyz": "/readyz",
        "/metrics": "/metrics",
    }


@pytest.fixture
def ask(homes, node, signer):
    """Ask a route as somebody does whom it is for."""
    paths = samples(homes)

    def asked(route, suffix=""):
        url = node.url + paths[route] + suffix
        if route not in POSTS:
            return requests.get(url, timeout=WAIT)
        if route in UNSIGNED:
            return requests.post(url, data=UNSIGNED[route], timeout=WAIT)
        body = (
            b"{}"
            if route.endswith("notices")
            else b'{"cids": ["%s"]}' % homes.receipts[0].package_cid.encode()
        )
        notice = "checkpoint" if route.endswith("notices") else None
        return requests.post(url, data=body, headers=signer(url, body, notice=notice), timeout=WAIT)

    return asked


def table(app):
    return {(route.method, route.resource.canonical): route for route in app.router.routes()}


def test_each_route_states_paging_cost_and_pool(node, homes):
    routes = table(node.app)
    for (method, path), route in routes.items():
        assert isinstance(cost_of(route.handler), Cost), (method, path)
    assert {path for _, path in routes} == set(samples(homes)), "a route without a sample is not walked below"
    assert {path for method, path in routes if method == "POST"} == POSTS


def test_a_route_that_states_nothing_is_refused():
    async def handler(_):
        return web.Response()

    app = web.Application()
    app.router.add_get("/stated", costs(Cost(Pool.PUBLIC, Paging.ONE))(handler))
    check_routes(app)

    async def other(_):
        return web.Response()

    app.router.add_get("/not", other)
    with pytest.raises(LookupError, match="/not"):
        check_routes(app)


STATUS = {
    "/witness/add-checkpoint": {400},
    "/witness/{name}/checkpoint": {404},
    "/api/v1/forks/{file}": {404},
    "/api/v1/notices": {202},
    "/api/v1/turns": {409},
    "/api/v1/sync": {401},
}


def test_each_route_answers_and_its_loop_touches_no_disk(node, homes, ask, monkeypatch):
    """What is read, and how often SQL is asked, goes on in the pool that the route states."""
    for route in samples(homes):  # what is read once, such as settings of the libraries, is read now
        ask(route)
    threads = {ident.ident: ident.name for ident in threading.enumerate()}
    seen = []
    engine = node.service.ledger.index._database._engine
    listener = lambda *_: seen.append(threading.current_thread().name)  # noqa: E731 - taken away below
    event.listen(engine, "before_cursor_execute", listener)
    try:
        for (method, path), route in table(node.app).items():
            if method == "HEAD":
                continue
            seen.clear()
            with watched(homes.root) as opened:
                answer = ask(path)
            assert answer.status_code in STATUS.get(path, {200}), (path, answer.text)
            assert node.thread not in opened.by_thread, (path, opened.by_thread[node.thread])
            pool = cost_of(route.handler).pool.name.lower()
            threads |= {one.ident: one.name for one in threading.enumerate()}
            names = {threads[ident] for ident in opened.by_thread} | set(seen)
            assert all(name.startswith(f"{pool}_") for name in names), (path, names)
    finally:
        event.remove(engine, "before_cursor_execute", listener)


@contextlib.contextmanager
def counted(node):
    engine = node.service.ledger.index._database._engine
    found = []

    def listener(_connection, _cursor, statement, *_):
        found.append(statement)

    event.listen(engine, "before_cursor_execute", listener)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", listener)


KEYS = {
    "/api/v1/assets": ("assets", "asset", "urn:example:nobody"),
    "/api/v1/events": ("events", "log_index", 900),
}


def test_pages_begin_after_a_key_by_one_query_and_end_by_a_limit(node, homes):
    paged = {
        path for (_, path), one in table(node.app).items() if cost_of(one.handler).paging is Paging.KEYSET
    }
    assert paged == KEYS.keys()
    for path, (name, key, unknown) in KEYS.items():
        whole = node.get(f"{path}?limit=1000").json()[name]
        assert len(whole) == (12 if name == "assets" else 16)
        pages, after = [], None
        while True:
            with counted(node) as statements:
                page = (
                    node.get(path, params=None)
                    if after is None
                    else node.get(f"{path}?limit=5&after={after}")
                )
                rows = page.json()[name][:5]
            assert len([one for one in statements if "LIMIT" in one.upper()]) >= 1
            assert (
                len(statements) <= 6
            )  # BEGIN and the look for the cursor among them, never one for each row
            if not rows:
                break
            pages += rows
            after = rows[-1][key]
        assert pages == whole
        answer = node.get(f"{path}?after={unknown}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
        assert node.get(f"{path}?limit=1001").status_code == 400
        assert node.get(f"{path}?limit=0").json()[name] == []
    assert node.get("/api/v1/events?asset=urn:example:nobody").status_code == 404
    found = node.get("/api/v1/events?asset=urn:example:1").json()["events"]
    assert [row["asset"] for row in found] == ["urn:example:1"] * 2


def test_the_latest_version_of_an_asset_is_shown(node, homes):
    shown = {row["asset"]: row for row in node.get("/api/v1/assets").json()["assets"]}
    assert shown["urn:example:0"]["latest"] == 2
    assert shown["urn:example:0"]["package_cid"] == homes.receipts[12].package_cid
    assert shown["urn:example:5"]["package_cid"] == homes.receipts[5].package_cid
    assert all(row["recorded"] and row["files"] == 1 for row in shown.values())


@pytest.fixture
def endless(monkeypatch):
    """Every page of assets takes for ever in SQL; notes how each ended, by the code of its error."""
    ended = []
    begun = threading.Semaphore(0)

    def assets(self, after=-1, *, limit=None):
        statement = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
        try:
            with self._database.reading() as connection:
                begun.release()
                connection.exec_driver_sql(statement)
        except HeritageError as error:
            ended.append(error.code)
            raise
        yield

    monkeypatch.setattr(Index, "assets", assets)
    return begun, ended


def test_a_read_that_takes_too_long_is_broken_off(node, endless, monkeypatch):
    monkeypatch.setattr("heritage_node.pools.Deadline", lambda seconds: Deadline(min(seconds, 0.3)))
    answer = node.get("/api/v1/assets")
    assert (answer.status_code, answer.json()["code"]) == (503, "read-too-long")
    assert int(answer.headers["Retry-After"]) > 0
    assert endless[1] == ["read-too-long"]
    assert node.get("/api/v1/events").status_code == 200  # the connection went back as it was


def test_the_work_for_a_client_that_is_gone_ends(node, endless, monkeypatch):
    begun, ended = endless
    monkeypatch.setattr("heritage_node.pools.Deadline", lambda seconds: Deadline(600))
    with pytest.raises(requests.Timeout):
        requests.get(f"{node.url}/api/v1/assets", timeout=0.5)
    assert begun.acquire(timeout=WAIT)
    deadline = time.monotonic() + WAIT
    while not ended:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ended == ["read-too-long"]
    assert node.service.pools.under_way[Pool.PUBLIC] == 0


def test_a_pool_that_is_full_keeps_no_other_waiting(node, homes, endless, ask, monkeypatch):
    monkeypatch.setattr("heritage_node.pools.Deadline", lambda seconds: Deadline(600))
    each = Pool.PUBLIC.value.each
    gone = threading.Event()

    def hold():
        with (
            contextlib.suppress(requests.RequestException),
            requests.get(f"{node.url}/api/v1/assets", timeout=WAIT, stream=True),
        ):
            gone.wait(WAIT)

    holders = [threading.Thread(target=hold, daemon=True) for _ in range(each)]
    for one in holders:
        one.start()
    deadline = time.monotonic() + WAIT
    while node.service.pools.under_way[Pool.PUBLIC] < each:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    refused = node.get("/api/v1/node")
    assert (refused.status_code, refused.json()["code"]) == (503, "node-busy")
    for route in samples(homes):
        if (
            cost_of(table(node.app)["POST" if route in POSTS else "GET", route].handler).pool
            is not Pool.PUBLIC
        ):
            assert ask(route).status_code in STATUS.get(route, {200}), route
    node.loop.call_soon_threadsafe(lambda: [guard.close() for guard in list(node.connections.open)])
    gone.set()
    for one in holders:
        one.join(WAIT)
    assert node.get("/api/v1/node").status_code == 200


def test_a_proof_is_for_what_the_index_finds_at_once(node, homes):
    receipt = homes.receipts[0]
    for name in (receipt.asset, receipt.event_id, str(receipt.log_index), receipt.package_cid):
        assert (
            requests.get(f"{node.url}/api/v1/proofs/{quote(name, safe='')}", timeout=WAIT).status_code == 200
        )
    for name in ("data/scan.bin", f"{receipt.asset}#data/scan.bin", "data/none", "%", "9" * 30):
        assert (
            requests.get(f"{node.url}/api/v1/proofs/{quote(name, safe='')}", timeout=WAIT).status_code == 404
        )


def test_who_finds_no_room_for_blocks_waits_for_it():
    """Kubo asks for all blocks of a folder at once, and gives up what is refused."""

    async def main():
        with Pools(1_000) as pools:
            served = []

            async def one(number):
                async with pools.room(Pool.BLOCKS, "192.0.2.1"):
                    assert pools.under_way[Pool.BLOCKS] <= Pool.BLOCKS.value.each
                    await asyncio.sleep(0.001)
                    served.append(number)

            await asyncio.gather(*map(one, range(200)))
            assert sorted(served) == list(range(200))
            async with contextlib.AsyncExitStack() as held:
                for _ in range(Pool.PUBLIC.value.each):
                    await held.enter_async_context(pools.room(Pool.PUBLIC, "192.0.2.1"))
                with pytest.raises(TooMany):  # a person rather hears it at once
                    await held.enter_async_context(pools.room(Pool.PUBLIC, "192.0.2.1"))
            assert +pools.under_way == Counter()

    asyncio.run(main())
