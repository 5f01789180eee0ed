"""Errors as RFC 9457 problem documents, with the stable codes of `specs/findings.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from heritage_ledger.errors import ExitCode, HeritageError
from heritage_node.journal import REASON

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_STATUS: Final = {
    ExitCode.USAGE: 400,
    ExitCode.FAILED: 409,
    ExitCode.PROBLEMS: 422,
    ExitCode.EVIDENCE_INVALID: 422,
    ExitCode.EVIDENCE_MISSING: 404,
    ExitCode.TEMPORARY: 503,
    ExitCode.NO_HOME: 503,
    ExitCode.LOCKED: 503,
    ExitCode.KEY: 401,
    ExitCode.DISK: 507,
}
_STATUS_OF: Final = {"rate-exceeded": 429, "request-too-many": 429}
_QUOTES: Final = ("'", '"', "b'", 'b"')
_AGAIN: Final = "10"
"""Seconds after which it is worth trying again what failed for a while."""


def problem(status: int, code: str, title: str, **more: object) -> web.Response:
    """Return a problem document."""
    document = {
        "type": f"https://w3id.org/heritage-ledger/findings#{code}",
        "title": title,
        "status": status,
        "code": code,
        **{name: value for name, value in more.items() if value is not None},
    }
    return web.json_response(document, status=status, content_type="application/problem+json")


def status_of(error: HeritageError) -> int:
    """Return the HTTP status that stands for an error of ours."""
    return _STATUS_OF.get(error.code) or _STATUS.get(error.exit_code, 500)


def problem_of(error: HeritageError) -> web.Response:
    """Return the problem document of an error of ours."""
    found = problem(
        status_of(error),
        error.code,
        error.message,
        detail=error.found,
        expected=error.expected,
        advice=error.advice,
    )
    if found.status in {429, 503}:
        found.headers["Retry-After"] = _AGAIN
    return found


def reason_of(error: HeritageError) -> str:
    """What was wrong, in words for the log of this node; what was sent is not quoted."""
    parts = [error.message]
    parts += [f"expected {error.expected}"] if error.expected else []
    if error.found and not error.found.startswith(_QUOTES):
        parts.append(f"found {error.found}")
    return "; ".join(parts)


@web.middleware
async def middleware(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer with a problem document whatever a handler raises; no traceback leaves the node."""
    try:
        return await handler(request)
    except HeritageError as error:
        request[REASON] = (error.code, reason_of(error))
        return problem_of(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = (error.reason or "error").lower().replace(" ", "-")
        request[REASON] = (code, error.reason)
        found = problem(error.status, code, error.reason)
        found.headers.update({name: error.headers[name] for name in ("Allow",) if name in error.headers})
        return found
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        request[REASON] = ("internal-error", "a fault of this software")
        request.app.logger.exception("a request failed")
        return problem(500, "internal-error", "a fault of this software; its log says more")
