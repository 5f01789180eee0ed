"""One run of a command: what was asked for everywhere (`--home`, `--json`, `--quiet`), and how it ends."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from heritage_cli import text
from heritage_cli.library import Library
from heritage_cli.meter import Meter, fitting_display
from heritage_cli.output import Output
from heritage_cli.passphrase import PassphraseSource
from heritage_ledger.errors import ExitCode
from heritage_ledger.progress import SILENT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import typer

    from heritage_ledger.errors import Finding
    from heritage_ledger.ledger import Ledger
    from heritage_ledger.progress import Progress


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ends: its exit code, and the fields of its verdict line."""

    exit_code: ExitCode = ExitCode.OK
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class Session:
    """What the options common to all commands said, and the way to library and output."""

    library: Library = field(default_factory=Library)
    passphrase: PassphraseSource = field(default_factory=PassphraseSource)
    as_json: bool = False
    quiet: bool = False
    home: Path | None = None
    kept: str | None = None
    """What is already done and stays, told when the run is cut off after it."""
    meter: Meter | None = None
    warned: list[Finding] = field(default_factory=list)
    """What was told before a signature, and need not be told again with the results."""

    @cached_property
    def output(self) -> Output:
        """The output; asked for once the options are known."""
        return Output(as_json=self.as_json, quiet=self.quiet)

    @property
    def root(self) -> Path:
        """The home that is meant."""
        return self.home if self.home is not None else self.library.default_home()

    @contextlib.contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the home for the length of a block."""
        with self.library.open(self.root, passphrase=self.passphrase.read, warn=self.warn) as ledger:
            yield ledger

    @contextlib.contextmanager
    def progress(self) -> Iterator[Progress]:
        """Show progress for the length of a block, unless quiet was asked for."""
        if self.quiet:
            yield SILENT
            return
        with Meter(fitting_display()) as self.meter:
            yield self.meter

    def warn(self, finding: Finding) -> None:
        """Tell at once what should be known before a signature."""
        self.clear()
        self.warned.append(finding)
        if self.output.as_json:
            self.output.line("finding", finding)
        self.output.complain(text.finding_lines(finding, self.output))

    def clear(self) -> None:
        """Take the progress off the terminal, so that results can be printed."""
        if self.meter is not None:
            self.meter.close()


def session_of(context: typer.Context) -> Session:
    """Return the session of the run that `context` belongs to."""
    session = context.obj
    assert isinstance(session, Session)
    return session


def is_debugging() -> bool:
    """Say whether HERITAGE_DEBUG asks for tracebacks."""
    return os.environ.get("HERITAGE_DEBUG", "") not in {"", "0"}
