"""Commands and groups of `heritage`: the options that all share, and the one way in which they end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from heritage_cli import endings
from heritage_cli.options import common_options, passphrase_options
from heritage_cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class Command(TyperCommand):
    """A command with the options that every command has."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.params = [*self.params, *common_options()]


class SigningCommand(TyperCommand):
    """A command that signs: it can be told where the passphrase is."""

    def __init__(self, name: str | None, **attributes: Any) -> None:
        super().__init__(name, **attributes)
        self.params = [*self.params, *passphrase_options(), *common_options()]


class Group(TyperGroup):
    """A group of commands; it takes the common options before the command's name too."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.params = [*self.params, *common_options()]


class Root(Group):
    """The command `heritage`: whatever happens below ends in `endings`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; the value is the exit code."""
        return endings.finish(ctx.obj, lambda: super(Root, self).invoke(ctx))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002 - typer's signature
        windows_expand_args: bool = True,  # noqa: FBT001, FBT002 - typer's signature
        **extra: Any,
    ) -> Any:
        """Run with `args`; usage errors end with exit code 1 and a verdict line like all others."""
        given = list(sys.argv[1:] if args is None else args)
        session = extra.pop("obj", None) or Session()
        try:
            code = super().main(
                given, prog_name, complete_var, False, windows_expand_args, obj=session, **extra
            )
        except typer.TyperException as error:
            session.as_json = session.as_json or "--json" in given
            context = getattr(error, "ctx", None)
            path = context.command_path if context is not None else "heritage"
            message = error.format_message().replace("\n", " ")
            code = endings.usage(session, message, f"see `{path} --help`")
        except typer.Abort:
            code = endings.finish(session, _interrupt)
        if standalone_mode:
            sys.exit(code)
        return code


def _interrupt() -> None:
    raise KeyboardInterrupt


def command(
    app: typer.Typer, name: str, *examples: str, signs: bool = False
) -> Callable[[_Function], _Function]:
    """Register a function as the command `name` of `app`, with examples in its help."""
    lines = "\n".join(f"  $ {example}" for example in examples)
    return app.command(
        name, cls=SigningCommand if signs else Command, epilog=f"\b\nExamples:\n{lines}" if examples else None
    )
