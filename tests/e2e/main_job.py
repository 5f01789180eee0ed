"""The main job of a ledger, verb by verb in one process, as `heritage` runs it; prints what each gave.

python main_job.py HOME SOURCE TARGET UMASK
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from typer.main import get_command

from heritage_cli.app import app
from heritage_cli.encoding import ensure_utf8

ASSET = "https://museum.example/object/1"


def verb(home: Path, *words: str | Path) -> tuple[int, list[dict]]:
    """Run one command; return its exit code and its JSON lines."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = get_command(app)(
            ["--json", "--home", str(home), *map(str, words)], prog_name="heritage", standalone_mode=False
        )
    return code, [json.loads(line) for line in out.getvalue().splitlines()]


def main() -> None:
    """Do the job and print one JSON line for each verb."""
    ensure_utf8()
    home, source, target = map(Path, sys.argv[1:4])
    os.umask(int(sys.argv[4], 8))
    target.mkdir()
    proof = target / "one.proof"
    inits = ["init", "--institution", "Muzeum Łódź", "--origin", "museum.example/l/1", "--no-passphrase"]
    key = None
    for name, words in {
        "init": inits,
        "ingest": ["ingest", source, "--asset", ASSET, "--title", "Księga 一", "--agent", "Zoë Ł"],
        "list": ["list"],
        "verify": ["verify"],
        "deep": ["verify", "--deep"],
        "repair": ["repair", ASSET],
        "again": ["verify", "--deep"],
        "export": ["export", ASSET, target / "bag"],
        "bag": ["verify", "--bag", target / "bag"],
        "trace": ["trace", f"{ASSET}#data/é/Łódź 日本語.txt"],
        "prove": ["prove", ASSET, "-o", proof],
        "key": ["log", "key"],
        "check": ["check", proof, "--log-key", None, "--bag", target / "bag"],
        "doctor": ["doctor"],
    }.items():
        code, lines = verb(home, *(key if word is None else word for word in words))
        if name == "key":
            key = next(line["vkey"] for line in lines if line["type"] == "key")
        sys.stdout.write(json.dumps({"verb": name, "code": code, "lines": lines}) + "\n")


if __name__ == "__main__":
    main()
