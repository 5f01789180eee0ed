"""`ingest` and `adopt`: take files and bags into custody."""

import os
from pathlib import Path
from typing import Annotated

import typer

from heritage_cli import text
from heritage_cli.group import command
from heritage_cli.output import jsonable
from heritage_cli.session import Ending, Session, session_of
from heritage_ledger.deposit.receipt import Receipt
from heritage_ledger.ledger import Ledger

app = typer.Typer()
