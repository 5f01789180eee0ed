"""Writes specs/vectors/federation.json: policies and fork proofs, signed by cryptography alone."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import make_log
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "federation.json"
ORIGIN = "museum.example/ledger/1"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def b64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def vkey(name: str, secret: Ed25519PrivateKey, kind: int) -> str:
    """A C2SP verifier key."""
    public = bytes([kind]) + secret.public_key().public_bytes_raw()
    key_id = sha256(name.encode() + b"\n" + public).hexdigest()[:8]
    return f"{name}+{key_id}+{b64(public)}"


def log_keys(name: str) -> dict[str, Any]:
    """The keys of the log that are held; in the cases about one kind, a post-quantum key too."""
    more = [make_log.vkey(ORIGIN, 6, make_log.public(make_log.PQ))] if name.endswith("one-kind") else []
    return {"log_key": vkey(ORIGIN, SECRET, 1), **({"more_keys": more} if more else {})}


def leaf(entry: bytes) -> bytes:
    """RFC 6962 leaf hash."""
    return sha256(b"\0" + entry).digest()


def node(left: bytes, right: bytes) -> bytes:
    """RFC 6962 node hash."""
    return sha256(b"\1" + left + right).digest()


def checkpoint(size: int, root: bytes, *, origin: str = ORIGIN, secret: Ed25519PrivateKey = SECRET) -> str:
    """A checkpoint signed by one key."""
    text = f"{origin}\n{size}\n{b64(root)}\n"
    key = bytes.fromhex(vkey(origin, secret, 1).split("+")[1])
    return f"{text}\n— {origin} {b64(key + secret.sign(text.encode()))}\n"


def fork(first: str, second: str, prefix: bytes, hashes: list[bytes], **more: Any) -> str:
    """A fork proof in its only form."""
    document = {
        "type": "heritage-ledger-fork",
        "version": 1,
        "first": first,
        "second": second,
        "prefix_root": b64(prefix),
        "hashes": [b64(value) for value in hashes],
        **more,
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def fork_cases() -> list[tuple[str, str, str, dict[str, Any]]]:
    """Two entries on one branch, three on the other, whose second entry differs."""
    a, b, c, other = (leaf(entry) for entry in (b"a", b"b", b"c", b"B"))
    two, prefix = node(a, b), node(a, other)
    three, honest = node(prefix, c), node(two, c)
    first, second = checkpoint(2, two), checkpoint(3, three)
    good = {"origin": ORIGIN, "sizes": [2, 3]}
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    bad = {name: {"error": name} for name in ("fork-unproved", "fork-malformed", "merkle-consistency")}
    return [
        ("fork", "two histories", fork(first, second, prefix, [c]), good),
        (
            "fork-one-size",
            "two roots at one size",
            fork(first, checkpoint(2, prefix), prefix, []),
            {"origin": ORIGIN, "sizes": [2, 2]},
        ),
        (
            "fork-honest",
            "the log only grew",
            fork(first, checkpoint(3, honest), two, [c]),
            bad["fork-unproved"],
        ),
        (
            "fork-false-prefix",
            "a prefix that leads nowhere",
            fork(first, checkpoint(3, honest), other, [c]),
            bad["merkle-consistency"],
        ),
        ("fork-order", "the larger tree first", fork(second, first, prefix, [c]), bad["fork-unproved"]),
        ("fork-same", "one checkpoint twice", fork(first, first, two, []), bad["fork-unproved"]),
        (
            "fork-stranger",
            "one of them signed by another key",
            fork(first, checkpoint(3, three, secret=stranger), prefix, [c]),
            {"error": "note-no-known-key"},
        ),
        (
            "fork-two-logs",
            "checkpoints of two logs",
            fork(first, checkpoint(3, three, origin="archive.example/ledger/1"), prefix, [c]),
            {"error": "note-no-known-key"},
        ),
        (
            "fork-one-kind",
            "the log has a post-quantum key too, which did not sign",
            fork(first, second, prefix, [c]),
            {"error": "checkpoint-unsigned"},
        ),
        ("fork-space", "another spelling", fork(first, second, prefix, [c]) + " ", bad["fork-malformed"]),
        ("fork-more", "an unknown key", fork(first, second, prefix, [c], more=1), bad["fork-malformed"]),
        (
            "fork-version",
            "another version",
            fork(first, second, prefix, [c], version=2),
            bad["fork-malformed"],
        ),
        ("fork-hash", "a hash of 31 bytes", fork(first, second, prefix, [c[:31]]), bad["fork-malformed"]),
    ]


def policy_cases() -> list[tuple[str, str, str, list[str], dict[str, Any]]]:
    """Three witnesses in two groups, and what may go wrong."""
    keys = [
        vkey(f"w{at}.example/w", Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32), 4) for at in range(3)
    ]
    lines = "".join(f"witness w{at} {key}\n" for at, key in enumerate(keys))
    text = f"# two operators\n{lines}group x any w0 w1\n\tgroup both  all x w2\nquorum both\n"
    wrong = {"error": "policy-malformed"}
    return [
        ("policy-met", "one of each", text, ["w1", "w2"], {"met": True}),
        ("policy-not-met", "two of one operator", text, ["w0", "w1"], {"met": False}),
        ("policy-group-name", "a group signs nothing", text, ["x", "w2"], {"met": False}),
        (
            "policy-institution",
            "an institution by both of its kinds of key",
            f"{lines}group museum all w0 w1\nquorum museum\n",
            ["w0", "w1"],
            {"met": True},
        ),
        (
            "policy-institution-one-kind",
            "an institution by one of its kinds of key",
            f"{lines}group museum all w0 w1\nquorum museum\n",
            ["w0"],
            {"met": False},
        ),
        ("policy-none", "nobody is asked", "quorum none\n", [], {"met": True}),
        ("policy-empty", "no quorum", "", [], wrong),
        ("policy-two-quorums", "one too many", "quorum none\nquorum none\n", [], wrong),
        ("policy-undefined", "defined below", f"quorum w0\n{lines}", [], wrong),
        (
            "policy-twice",
            "one key under two names",
            f"witness a {keys[0]}\nwitness b {keys[0]}\nquorum a\n",
            [],
            wrong,
        ),
        (
            "policy-member-twice",
            "in two groups",
            f"{lines}group x any w0\ngroup y any w0\nquorum x\n",
            [],
            wrong,
        ),
        ("policy-threshold", "more than there are", f"{lines}group x 4 w0 w1 w2\nquorum x\n", [], wrong),
        ("policy-return", "a carriage return", "quorum none\r\n", [], wrong),
        (
            "policy-log-key",
            "a log's kind of key",
            f"witness a {vkey(ORIGIN, SECRET, 1)}\nquorum a\n",
            [],
            wrong,
        ),
    ]


def ask(old: int, proof: list[bytes], note: str) -> str:
    """A request to a witness (C2SP tlog-witness)."""
    return "".join([f"old {old}\n", *(f"{b64(value)}\n" for value in proof), "\n", note])


def witness_cases() -> list[tuple[str, str, list[str], str, dict[str, Any]]]:
    """What a witness has cosigned before, what it is asked then, and the status that it answers."""
    a, b, c, other = (leaf(entry) for entry in (b"a", b"b", b"c", b"B"))
    two, wrong = node(a, b), node(a, other)
    three, forked = node(two, c), node(wrong, c)
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    first = ask(0, [], checkpoint(2, two))
    grown = checkpoint(3, three)
    yes = {"status": 200}

    def no(status: int, code: str, **more: Any) -> dict[str, Any]:
        return {"status": status, "error": code, **more}

    return [
        ("witness-first", "a log that was never seen", [], first, yes),
        ("witness-grown", "it grew by one entry", [first], ask(2, [c], grown), yes),
        ("witness-again", "the same tree once more", [first], ask(2, [], checkpoint(2, two)), yes),
        ("witness-empty", "an empty log", [], ask(0, [], checkpoint(0, sha256(b"").digest())), yes),
        ("witness-first-proof", "a proof from nothing", [], ask(0, [c], grown), no(422, "witness-proof")),
        (
            "witness-conflict",
            "from a size that is not held",
            [first],
            ask(0, [], grown),
            no(409, "witness-conflict", size=2),
        ),
        (
            "witness-conflict-unseen",
            "a log that was never seen",
            [],
            ask(2, [c], grown),
            no(409, "witness-conflict", size=0),
        ),
        (
            "witness-smaller",
            "an old size beyond the tree",
            [first],
            ask(3, [], checkpoint(2, two)),
            no(400, "witness-old-size"),
        ),
        (
            "witness-fork",
            "another history",
            [first],
            ask(2, [c], checkpoint(3, forked)),
            no(422, "witness-proof"),
        ),
        (
            "witness-fork-one-size",
            "two roots at one size",
            [first],
            ask(2, [], checkpoint(2, wrong)),
            no(422, "witness-root"),
        ),
        (
            "witness-false-proof",
            "a wrong hash",
            [first],
            ask(2, [a], grown),
            no(422, "witness-proof"),
        ),
        ("witness-no-proof", "growth without a proof", [first], ask(2, [], grown), no(422, "witness-proof")),
        ("witness-long-proof", "a hash too many", [first], ask(2, [c, c], grown), no(422, "witness-proof")),
        (
            "witness-unknown",
            "a log that nobody named",
            [],
            ask(0, [], checkpoint(2, two, origin="other.example/ledger/1")),
            no(404, "witness-origin"),
        ),
        (
            "witness-stranger",
            "signed by another key",
            [],
            ask(0, [], checkpoint(2, two, secret=stranger)),
            no(403, "witness-signature"),
        ),
        (
            "witness-one-kind",
            "the log has a post-quantum key too, which did not sign",
            [],
            ask(0, [], checkpoint(2, two)),
            no(403, "witness-signature"),
        ),
        ("witness-no-old", "no first line", [], first.partition("\n")[2], no(400, "witness-request")),
        ("witness-no-gap", "no empty line", [], first.replace("\n\n", "\n", 1), no(400, "witness-request")),
        (
            "witness-sign",
            "with a sign",
            [],
            first.replace("old 0", "old +0"),
            no(400, "witness-request"),
        ),
        (
            "witness-zero",
            "with zeroes",
            [],
            first.replace("old 0", "old 00"),
            no(400, "witness-request"),
        ),
        (
            "witness-short-hash",
            "a hash of 31 bytes",
            [first],
            ask(2, [c[:31]], grown),
            no(400, "witness-request"),
        ),
        (
            "witness-many-hashes",
            "64 hashes and never more than 63",
            [first],
            ask(2, [c] * 64, grown),
            no(400, "witness-request"),
        ),
        ("witness-return", "carriage returns", [], first.replace("\n", "\r\n"), no(400, "witness-request")),
    ]


def main() -> None:
    """Write the file."""
    cases: list[dict[str, Any]] = [
        {"id": name, "why": why, "given": {"policy": text, "cosigned": cosigned}, "expect": expect}
        for name, why, text, cosigned, expect in policy_cases()
    ]
    cases += [
        {
            "id": name,
            "why": why,
            "given": {"fork": text, **log_keys(name)},
            "expect": expect,
        }
        for name, why, text, expect in fork_cases()
    ]
    cases += [
        {
            "id": name,
            "why": why,
            "given": {"before": before, "request": request, **log_keys(name)},
            "expect": expect,
        }
        for name, why, before, request, expect in witness_cases()
    ]
    document = {
        "spec": "federation/v1",
        "about": "`policy` with the names in `cosigned` is met or not; `fork` is judged with `log_key`"
        " and `more_keys`. `request` goes to a witness that knows these and has cosigned what is in `before`;"
        " `status` is that of C2SP tlog-witness, `size` what a 409 says. An `error` is the refusal's code.",
        "cases": cases,
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
