"""`node run`: the service that other institutions talk to."""

import asyncio
import os
import sys

import typer

from heritage_cli.group import Group, command
from heritage_cli.output import mute
from heritage_cli.session import Ending, session_of

app = typer.Typer()
node = typer.Typer(cls=Group)
app.add_typer(node, name="node", help="The service that other institutions, and any web browser, talk to.")


@command(node, "run", "heritage node run", signs=True)
def run(context: typer.Context) -> Ending:
    """Serve log, witness, blocks and API, and look at the peers, until SIGTERM.

    Where it listens and who may administer it stands under [node] in heritage.toml. What it does goes to
    stderr, a line for each thing, as JSON with --json or `log = "json"`. SIGHUP makes it look at all peers at
    once.
    """
    from heritage_cli.logs import logging_to_stderr  # noqa: PLC0415 - queues and threads, for nodes only
    from heritage_ledger.home.layout import open_home  # noqa: PLC0415 - for nodes only
    from heritage_ledger.home.settings import read_settings  # noqa: PLC0415 - the same
    from heritage_node.run import run as run_node  # noqa: PLC0415 - aiohttp takes a quarter of a second

    session = session_of(context)
    output = session.output

    def ready(host: str, port: int) -> None:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        try:
            output.result("node", {"url": url, "pid": os.getpid()}, [f"the node answers at {url}"])
            sys.stdout.flush()
        except OSError:
            mute(sys.stdout)  # nobody reads it; the node is there for others

    settings = read_settings(open_home(session.root).settings).node
    with logging_to_stderr(as_json=output.as_json or settings.log == "json", quiet=session.quiet):
        asyncio.run(run_node(session.root, session.passphrase.read, ready=ready))
    return Ending()
