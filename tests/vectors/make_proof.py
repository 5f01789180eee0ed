"""Writes specs/vectors/proof.json: trees, notes and events by the other makers, JSON by `json` alone.

Only Ed25519 signs the checkpoints here: ML-DSA signatures are hedged, and the file would differ at each run.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from make_event import ORIGIN, bodies, method, sign
from make_log import ED, b64, checkpoint_text, line, log_line, path, public, tree_root, vkey

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "proof.json"
CONTEXT = "@context@"
KEY = vkey(ORIGIN, 1, public(ED))
STRANGER = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"stranger test key, do not use").digest())
OTHER = "other.example/ledger/1"


def event(kind: str, **changes: Any) -> dict[str, Any]:
    """The body of one kind, with changes."""
    return {**bodies()[kind], **changes}


def entry(body: dict[str, Any], **seed: bytes) -> str:
    """The stored text of a signed event."""
    return rfc8785.dumps(sign(body, **seed)).decode()


def proof(
    entries: list[str],
    shown: list[int],
    *,
    origin: str = ORIGIN,
    signed: str | None = None,
    size: int | None = None,
) -> str:
    """A proof file over a log of `entries` that holds those at `shown`; `@context@` is the context."""
    data = [text.encode() for text in entries]
    text = checkpoint_text(size or len(data), tree_root(data), origin)
    document = {
        "type": "heritage-ledger-proof",
        "version": 1,
        "checkpoint": text + "\n" + (signed or log_line(text)),
        "context": CONTEXT,
        "entries": [
            {"index": at, "entry": entries[at], "hashes": [b64(value) for value in path(at, data)]}
            for at in shown
        ],
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def files() -> dict[str, str]:
    """Whole proof files, right and wrong."""
    genesis = event("genesis", logKeys=[KEY])
    first, adopted, ingested = entry(genesis), entry(event("adoption")), entry(event("ingestion"))
    log = [first, adopted, ingested]
    stray = checkpoint_text(3, tree_root([text.encode() for text in log]), ORIGIN)
    elsewhere = entry(event("ingestion", log=OTHER))
    other_genesis = entry(event("genesis", logKeys=[KEY], log=OTHER))
    foreign = entry(event("ingestion"), seed=bytes(32))
    misnamed = entry({**genesis, "eventKey": method(bytes(32))})
    hashed = json.loads(proof(log, [0, 2]))
    hashed["entries"][1]["hashes"] = hashed["entries"][0]["hashes"]
    return {
        "whole": proof(log, [0, 2]),
        "genesis": proof(log, [0]),
        "alone": proof([first], [0]),
        "larger": proof([*log, first, first, first, first], [0, 1, 2]),
        "no-genesis": proof(log, [2]),
        "replayed": proof([first, elsewhere], [0, 1]),
        "other-genesis": proof([other_genesis, ingested], [0, 1]),
        "no-genesis-event": proof([adopted, ingested], [0, 1]),
        "event-key": proof([first, foreign], [0, 1]),
        "genesis-key": proof([misnamed, ingested], [0, 1]),
        "size": proof(log, [0, 2], size=4),
        "hashes": json.dumps(hashed, indent=1, sort_keys=True, ensure_ascii=False) + "\n",
        "stranger": proof(
            log, [0, 2], signed=line(ORIGIN, 1, public(STRANGER), STRANGER.sign(stray.encode()))
        ),
        "unsigned": proof(log, [0, 2], signed=line(ORIGIN, 1, public(ED), bytes(64))),
        "origin": proof(log, [0, 2], origin=OTHER),
    }


def case(
    name: str, why: str, expect: dict[str, Any], *, file: str = "whole", key: str = KEY, **edit: str
) -> dict[str, Any]:
    """One case; `edit` names a text in the file and what replaces its only occurrence."""
    return {"id": name, "why": why, "given": {"file": file, "log_key": key, **edit}, "expect": expect}


def passes(subject: str) -> dict[str, Any]:
    """All three stages pass for an event."""
    return {"event": f"urn:uuid:00000000-0000-4000-8000-{int(subject):012d}", "stages": ["pass"] * 3}


def fails(checkpoint: str, inclusion: str, event: str) -> dict[str, Any]:
    """The code of each stage, or pass; `error` is the first code."""
    stages = [checkpoint, inclusion, event]
    return {"error": next(code for code in stages if code != "pass"), "stages": stages}


def right() -> list[dict[str, Any]]:
    """Files that prove their event."""
    return [
        case("whole", "genesis and the event", passes("1")),
        case("genesis", "entry 0 proves itself", passes("0"), file="genesis"),
        case("alone", "a log of one entry has no hashes", passes("0"), file="alone"),
        case("larger", "an entry between, a larger log", passes("1"), file="larger"),
        case("key-spaces", "a key pasted with a line end", passes("1"), key=KEY + "\n"),
    ]


def wrong_evidence() -> list[dict[str, Any]]:
    """Files whose form is right and whose evidence is not."""
    other_key = vkey(ORIGIN, 1, public(STRANGER))
    return [
        case(
            "title",
            "one letter of the event",
            fails("pass", "merkle-inclusion", "signature-invalid"),
            old="Αμφορέας",
            new="Αμφορεας",
        ),
        case("size", "another size than was signed", fails("pass", "merkle-inclusion", "pass"), file="size"),
        case(
            "hashes", "the hashes of another entry", fails("pass", "merkle-inclusion", "pass"), file="hashes"
        ),
        case(
            "index",
            "the event at another index",
            fails("pass", "merkle-inclusion", "pass"),
            old='"index": 2',
            new='"index": 1',
        ),
        case(
            "index-beyond",
            "an index beyond the tree",
            fails("pass", "merkle-inclusion", "pass"),
            old='"index": 2',
            new='"index": 3',
        ),
        case(
            "stranger",
            "signed by a stranger under the log's name",
            fails("note-no-known-key", "note-no-known-key", "pass"),
            file="stranger",
        ),
        case(
            "unsigned",
            "a signature of zeros",
            fails("note-signature", "note-signature", "pass"),
            file="unsigned",
        ),
        case(
            "origin",
            "a checkpoint of another log",
            fails("checkpoint-origin", "checkpoint-origin", "pass"),
            file="origin",
        ),
        case(
            "other-key",
            "checked against a key that did not sign",
            fails("note-no-known-key", "note-no-known-key", "proof-log-key"),
            key=other_key,
        ),
        case(
            "no-genesis",
            "nothing says whose keys count",
            fails("pass", "pass", "proof-genesis-missing"),
            file="no-genesis",
        ),
        case(
            "no-genesis-event",
            "entry 0 is no genesis",
            fails("pass", "pass", "genesis-missing"),
            file="no-genesis-event",
        ),
        case(
            "other-genesis",
            "the genesis of another log",
            fails("pass", "pass", "event-other-log"),
            file="other-genesis",
        ),
        case(
            "replayed", "an event of another log", fails("pass", "pass", "event-other-log"), file="replayed"
        ),
        case(
            "event-key",
            "signed by a key that is not in force",
            fails("pass", "pass", "event-key-not-in-force"),
            file="event-key",
        ),
        case(
            "genesis-key",
            "entry 0 names another key than signed it",
            fails("pass", "pass", "genesis-key"),
            file="genesis-key",
        ),
        case("context", "another context", fails("pass", "pass", "context-damaged"), old=CONTEXT, new="{}"),
    ]


def wrong_form() -> list[dict[str, Any]]:
    """Files that are refused before anything is checked."""
    malformed, version = {"error": "proof-malformed"}, {"error": "proof-version"}
    first = files()["whole"].partition('"hashes": [\n    "')[2][:44]
    return [
        case("version", "a version of the future", version, old='"version": 1', new='"version": 2'),
        case(
            "version-true", "a truth value is no number", version, old='"version": 1', new='"version": true'
        ),
        case("type", "another kind of file", version, old="heritage-ledger-proof", new="heritage-proof"),
        case("array", "no object at all", version, old=files()["whole"], new="[]\n"),
        case("key", "an unknown key", malformed, old='"version": 1', new='"version": 1,\n "zeal": 1'),
        case("key-twice", "a key twice", malformed, old='"version": 1', new='"version": 1,\n "version": 1'),
        case("spelling", "other white space", malformed, old='"version": 1', new='"version":  1'),
        case("escape", "an escaped letter", malformed, old="Αμφ", new="\\u0391μφ"),
        case("final", "no newline at the end", malformed, old="1\n}\n", new="1\n}"),
        case("cut", "cut off", malformed, old='"version": 1\n}\n', new=""),
        case("no-entries", "no entry", malformed, old=files()["whole"], new=empty()),
        case("order", "entries in another order", malformed, old='"index": 0', new='"index": 5'),
        case("index-text", "an index as text", malformed, old='"index": 2', new='"index": "2"'),
        case("index-negative", "an index below 0", malformed, old='"index": 2', new='"index": -1'),
        case("hash-short", "a hash of three bytes", malformed, old=first, new="AAAA"),
        case("surrogate", "half a character", malformed, old="Αμφ", new="\\ud800μφ"),
    ]


def empty() -> str:
    """The whole file without its entries."""
    document = json.loads(files()["whole"])
    document["entries"] = []
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the file."""
    document = {
        "spec": "proof/v1",
        "about": "Proof files and what checking them says. `@context@` in a file stands for the text of"
        " specs/contexts/event-v1.jsonld; `old`, replaced by `new`, occurs once. `stages` are those of"
        " checkpoint, inclusion and event: pass, or the code of the failure. Test keys: do not use.",
        "files": files(),
        "cases": [*right(), *wrong_evidence(), *wrong_form()],
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
