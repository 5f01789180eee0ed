"""Writes specs/vectors/home.json: folders of assets, settings, and notes about released bags.

Folder names are made here by the rule of specs/home.md, character by character.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "home.json"
LEDGER = '[ledger]\ninstitution = "Museum"\norigin = "museum.example/ledger/1"\n'
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-"
COPIES = (
    '[content]\nengine = "kubo"\ncluster = "/ip4/10.0.0.2/tcp/9094"\ncluster_token = "env:CLUSTER"\n'
    'copies_min = 2\ncopies_max = 3\nallocations = ["north", "south"]\n'
    '[copies.north]\nkubo_api = "/ip4/10.0.0.3/tcp/5001"\ntoken = "file:/etc/heritage/north"\n'
    '[copies.south]\ngateway = "https://south.museum.example"\n'
)


def folder(asset: str) -> str:
    """The folder of an asset: what is kept, then `-`, then 16 digits of the digest."""
    text = ""
    for letter in asset:
        if letter in LETTERS:
            text += letter
        elif not text.endswith("\0"):
            text += "\0"
    text = text.replace("\0", "-")
    text = text.strip(".-")[:48].rstrip(".-")
    digest = hashlib.sha256(asset.encode()).hexdigest()[:16]
    return f"{text}-{digest}" if text else digest


def case(name: str, why: str, given: dict[str, Any], expect: dict[str, Any]) -> dict[str, Any]:
    """One case."""
    return {"id": name, "why": why, "given": given, "expect": expect}


def settings(name: str, why: str, text: str, **expect: Any) -> dict[str, Any]:
    """A settings file and what it says, or the code of its refusal."""
    return case(f"settings-{name}", why, {"settings": text}, expect)


def folders() -> list[dict[str, Any]]:
    """Names of assets and their folders."""
    assets = {
        "https": "https://museum.example/object/1887.12",
        "urn": "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
        "long": "https://museum.example/" + "a" * 80,
        "dots": "urn:example:..",
        "beyond-ascii": "urn:example:%C3%A4",
    }
    return [
        case(f"folder-{name}", "readable, and never shared", {"asset": asset}, {"folder": folder(asset)})
        for name, asset in assets.items()
    ]


def right() -> list[dict[str, Any]]:
    """Settings that say what they must."""
    kubo = '[content]\nengine = "kubo"\nkubo_api = "http://127.0.0.1:5001"\nkubo_token = "env:KUBO"\n'
    return [
        settings("least", "the two keys of every home", LEDGER, engine="embedded", keeps=True),
        settings("kubo", "another engine", LEDGER + kubo, engine="kubo", keeps=True),
        settings(
            "class",
            "a storage class that keeps no bags",
            LEDGER + kubo + "[storage.default]\nkeep_bag = false\n",
            engine="kubo",
            keeps=False,
        ),
        settings(
            "database",
            "a server, its password elsewhere",
            LEDGER + 'database = "postgresql+psycopg://museum@db.example/ledger"\n',
            engine="embedded",
            keeps=True,
        ),
        settings(
            "replication",
            "a target, peers to prefer, and how one is read back",
            LEDGER + COPIES,
            engine="kubo",
            keeps=True,
        ),
        case(
            "released",
            "a note about a released bag",
            {"note": '{"package_cid": "bafyone", "tag_files": 5, "version": 1}\n'},
            {"package_cid": "bafyone", "tag_files": 5},
        ),
    ]


def wrong() -> list[dict[str, Any]]:
    """Settings and notes that are refused."""
    invalid = {
        "no-toml": ("no TOML", "[ledger"),
        "empty": ("nothing", ""),
        "no-origin": ("a key is missing", '[ledger]\ninstitution = "Museum"\n'),
        "unknown-key": ("a key without a meaning", LEDGER + 'colour = "red"\n'),
        "unknown-table": ("a table without a meaning", LEDGER + "[colours]\n"),
        "number": ("a number for a text", '[ledger]\ninstitution = 1\norigin = "museum.example/ledger/1"\n'),
        "engine": ("no such engine", LEDGER + '[content]\nengine = "s3"\n'),
        "token": ("a secret in the settings", LEDGER + '[content]\nkubo_token = "hunter2"\n'),
        "password": ("a secret in a URL", LEDGER + 'database = "postgresql+psycopg://m:secret@db/l"\n'),
        "driver": ("another database", LEDGER + 'database = "mysql://m@db/l"\n'),
        "both": ("two targets", LEDGER + '[content]\ncluster = "http://a"\npinning = "http://b"\n'),
        "copies": (
            "fewest above most",
            LEDGER + '[content]\ncluster = "http://a"\ncopies_min = 3\ncopies_max = 2\n',
        ),
        "allocations": ("one name for a list", LEDGER + '[content]\nallocations = "peer-0"\n'),
        "reader-both": (
            "two ways to read one copy",
            LEDGER + '[copies.a]\nkubo_api = "/ip4/127.0.0.1/tcp/5001"\ngateway = "http://a"\n',
        ),
        "reader-none": ("no way to read a copy", LEDGER + '[copies.a]\ntoken = "env:A"\n'),
        "reader-token": (
            "a secret beside a reader",
            LEDGER + '[copies.a]\ngateway = "http://a"\ntoken = "x"\n',
        ),
        "class-name": ("a class with a blank", LEDGER + '[storage."a b"]\nkeep_bag = true\n'),
        "class-value": ("a class that says nothing", LEDGER + "[storage.cold]\n"),
    }
    cases = [
        settings(name, why, text, error="database-url" if "database" in text else "settings-invalid")
        for name, (why, text) in invalid.items()
    ]
    origin = '[ledger]\ninstitution = "Museum"\norigin = "Museum.example/ledger/1"\n'
    cases.append(settings("origin", "capitals in the origin", origin, error="origin-invalid"))
    name = '[ledger]\ninstitution = " "\norigin = "museum.example/ledger/1"\n'
    cases.append(settings("institution", "a name of blanks", name, error="institution-invalid"))
    notes = {
        "note-spelling": '{"package_cid":"bafyone","tag_files":5,"version":1}\n',
        "note-version": '{"package_cid": "bafyone", "tag_files": 5, "version": 2}\n',
        "note-truth": '{"package_cid": "bafyone", "tag_files": true, "version": 1}\n',
        "note-cut": '{"package_cid": "bafyone"',
    }
    cases += [
        case(name, "no note as it was written", {"note": text}, {"error": "release-note"})
        for name, text in notes.items()
    ]
    return cases


if __name__ == "__main__":
    document = {
        "spec": "home/v1",
        "about": "Folder names of assets, settings files, notes about released bags. `keeps` says whether"
        " bags of the class `default` stay on the disk.",
        "cases": [*folders(), *right(), *wrong()],
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")
