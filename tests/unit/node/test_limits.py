"""Slow clients: five hundred of them are closed in time, and honest ones are served meanwhile."""

import asyncio
import contextlib
import time

import pytest
from aiohttp import web

from heritage_node import limits
from heritage_node.run import serving


async def hello(request):
    body = await limits.read_body(request, 1000)
    return web.Response(text=f"hello {len(body)}")


def run(scenario, *, most=limits.MAX_CONNECTIONS):
    async def main():
        connections = limits.Connections(most)
        app = web.Application(middlewares=[connections.middleware])
        app.router.add_route("*", "/", hello)
        async with serving(app, connections, "127.0.0.1", 0) as (host, port):
            return await scenario(connections, host, port)

    return asyncio.run(main())


async def ask(host, port, data=b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def dripping(host, port, gone):
    """Send one byte of a header now and then, until the server has enough of it."""
    reader, writer = await asyncio.open_connection(host, port)
    start = time.monotonic()
    try:
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        while not reader.at_eof():
            writer.write(b"x")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    if not await reader.read(100):
                        break
    except OSError:
        pass
    finally:
        gone.append(time.monotonic() - start)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@pytest.mark.parametrize(("slow", "most"), [(500, 512), (500, 100)])
def test_slow_connections_are_closed_and_honest_ones_served(monkeypatch, slow, most):
    monkeypatch.setattr(limits, "HEADER_SECONDS", 2.0)

    async def scenario(connections, host, port):
        gone = []
        tasks = [asyncio.create_task(dripping(host, port, gone)) for _ in range(slow)]
        await asyncio.sleep(0.5)
        answers = [await ask(host, port) for _ in range(20)]
        await asyncio.wait_for(asyncio.gather(*tasks), 15)
        assert all(answer.endswith(b"hello 0") for answer in answers)
        return gone, connections

    gone, connections = run(scenario, most=most)
    assert len(gone) == slow
    assert connections.closed_slow >= slow
    assert connections.open == set()
    print(f"{slow} slow connections, at most {most} at once: all closed, the last after {max(gone):.1f} s")


def test_second_request_may_not_drip_either(monkeypatch):
    monkeypatch.setattr(limits, "HEADER_SECONDS", 0.5)

    async def scenario(connections, host, port):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"hello 0" in await reader.read(1000)
        writer.write(b"GET / HT")
        with contextlib.suppress(OSError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return connections.closed_slow

    assert run(scenario) == 1


def test_slow_and_large_bodies_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.5)

    async def scenario(_, host, port):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        return await ask(host, port, head % 10 + b"x"), await ask(host, port, head % 2000 + b"x" * 2000)

    slow, large = run(scenario)
    assert slow.startswith(b"HTTP/1.1 408")
    assert large.startswith(b"HTTP/1.1 413")


def test_header_floods_are_refused():
    async def scenario(_, host, port):
        flood = b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\n"
        with contextlib.suppress(OSError):
            return await ask(host, port, flood)
        return b""

    answer = run(scenario)
    assert not answer or answer.startswith(b"HTTP/1.1 400")
