"""How every run ends: one place that turns whatever happened into an exit code and last words.

Errors of ours carry their exit code in their class. Anything else that escapes is a fault of this software
and ends as `internal-error`: one line, never a traceback, unless HERITAGE_DEBUG asks for it.
"""

from __future__ import annotations

import errno
import sys
import traceback
from typing import TYPE_CHECKING, Any

import typer

from heritage_cli import text
from heritage_cli.escape import printable
from heritage_cli.output import mute
from heritage_cli.session import Ending, Session, is_debugging
from heritage_ledger.errors import DiskProblem, ExitCode, HeritageError, OperationFailed, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

NOTHING_LEFT = "nothing half-made is left behind; run the same command again"


def finish(session: Session, work: Callable[[], Ending | None]) -> int:
    """Run `work`, say how it ended, and return the exit code.

    Exceptions of typer itself (usage, a plain exit) pass through.
    """
    try:
        try:
            ending = work() or Ending()
        except HeritageError as error:
            ending = failed(session, error)
        except KeyboardInterrupt:
            ending = _interrupted(session)
        return _end(session, ending)
    except (typer.Exit, typer.Abort, typer.TyperException):
        raise
    except BrokenPipeError:
        return _reader_gone(session)
    except OSError as error:
        return _unexpected(session, error)
    except Exception as error:  # noqa: BLE001 - the last line of defence; the cause is shown on request
        return _unexpected(session, error)


def failed(session: Session, error: HeritageError) -> Ending:
    """Tell an error with its findings, and return its ending."""
    output = session.output
    for finding in error.findings:
        if output.as_json:
            output.line("finding", finding)
        else:
            output.complain(text.finding_lines(finding, output))
    output.complain(text.error_lines(error))
    if is_debugging():
        traceback.print_exception(error)
    return Ending(error.exit_code, error_fields(error))


def usage(session: Session, message: str, advice: str) -> int:
    """End a call that could not be understood."""
    return finish(session, lambda: failed(session, UsageError("usage-error", message, advice=advice)))


def error_fields(error: HeritageError) -> dict[str, Any]:
    """Return what the verdict line says of an error; its findings have lines of their own."""
    return {
        "code": error.code,
        "message": error.message,
        "path": error.path,
        "expected": error.expected,
        "found": error.found,
        "advice": error.advice,
        "rule": error.rule,
        "findings": len(error.findings),
    }


def _end(session: Session, ending: Ending) -> int:
    if session.as_json:
        code = ending.exit_code
        outcome = code.name.lower().replace("_", "-")
        session.output.line("verdict", {"outcome": outcome, "exit_code": int(code)} | ending.fields)
    sys.stdout.flush()
    return int(ending.exit_code)


def _interrupted(session: Session) -> Ending:
    left = session.kept or NOTHING_LEFT
    session.output.complain([f"heritage: interrupted; {printable(left)}"])
    return Ending(
        ExitCode.INTERRUPTED, {"code": "interrupted", "message": "interrupted", "advice": left, "findings": 0}
    )


def _reader_gone(session: Session) -> int:
    """End quietly when the reader of a pipe has gone, as `head` does; say only what would be missed."""
    mute(sys.stdout)
    if session.kept:
        session.output.complain(
            [f"heritage: nobody reads the output any more, but {printable(session.kept)}"]
        )
    return int(ExitCode.FAILED)


def _unexpected(session: Session, cause: Exception) -> int:
    """End what nobody foresaw, and what the output could not take."""
    ending = None
    try:
        ending = failed(session, _foreign(session, cause))
        return _end(session, ending)
    except OSError:
        mute(sys.stdout)
        return int(ending.exit_code if ending else ExitCode.FAILED)


def _foreign(session: Session, cause: Exception) -> HeritageError:
    if isinstance(cause, OSError) and cause.errno in {errno.ENOSPC, errno.EDQUOT}:
        error: HeritageError = DiskProblem(
            "output-full",
            "there is no room for the output",
            advice=f"make room; {session.kept or NOTHING_LEFT}",
        )
    else:
        error = OperationFailed(
            "internal-error",
            f"{type(cause).__name__}: {cause}",
            advice="a fault of this software: run again with HERITAGE_DEBUG=1 and report what it shows",
        )
    error.__cause__ = cause
    return error
