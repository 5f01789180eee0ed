"""Makes specs/vectors/log.json: `python tests/vectors/make_log.py`.

Trees are built by the recursive definitions of RFC 6962 §2.1, notes and proofs by string formatting; nothing
of `heritage_ledger` is used. ML-DSA signatures are hedged: the one in the file is kept while it verifies.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

TARGET = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "log.json"
ORIGIN = "museum.example/ledger/1"
WITNESS = "archive.example/witness"
TIME = 1_700_000_000
ED = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"log test key, do not use").digest())
ED_WITNESS = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"witness test key, do not use").digest())
PQ = MLDSA44PrivateKey.from_seed_bytes(hashlib.sha256(b"log test key, do not use").digest())


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def split(size: int) -> int:
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def tree_root(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962 §2.1."""
    if not entries:
        return sha(b"")
    if len(entries) == 1:
        return sha(b"\0" + entries[0])
    k = split(len(entries))
    return sha(b"\1" + tree_root(entries[:k]) + tree_root(entries[k:]))


def path(index: int, entries: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 §2.1.1."""
    if len(entries) <= 1:
        return []
    k = split(len(entries))
    if index < k:
        return [*path(index, entries[:k]), tree_root(entries[k:])]
    return [*path(index - k, entries[k:]), tree_root(entries[:k])]


def consistency(old: int, entries: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 §2.1.2."""
    if old == len(entries):
        return [] if whole else [tree_root(entries)]
    k = split(len(entries))
    if old <= k:
        return [*consistency(old, entries[:k], whole=whole), tree_root(entries[k:])]
    return [*consistency(old - k, entries[k:], whole=False), tree_root(entries[:k])]


def subtree_consistency(start: int, end: int, entries: list[bytes], *, whole: bool = True) -> list[bytes]:
    """SUBTREE_SUBPROOF of draft-ietf-plants-merkle-tree-certs."""
    size = len(entries)
    if (start, end) == (0, size):
        return [] if whole else [tree_root(entries)]
    k = split(size)
    if end <= k:
        return [*subtree_consistency(start, end, entries[:k], whole=whole), tree_root(entries[k:])]
    if start >= k:
        rest = subtree_consistency(start - k, end - k, entries[k:], whole=whole)
        return [*rest, tree_root(entries[:k])]
    return [*subtree_consistency(0, end - k, entries[k:], whole=False), tree_root(entries[:k])]


def key_id(name: str, kind: int, public: bytes) -> bytes:
    return sha(name.encode() + b"\n" + bytes([kind]) + public)[:4]


def vkey(name: str, kind: int, public: bytes) -> str:
    return f"{name}+{key_id(name, kind, public).hex()}+{b64(bytes([kind]) + public)}"


def line(name: str, kind: int, public: bytes, payload: bytes) -> str:
    return f"— {name} {b64(key_id(name, kind, public) + payload)}\n"


def public(key: Ed25519PrivateKey | MLDSA44PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def log_line(text: str) -> str:
    return line(ORIGIN, 1, public(ED), ED.sign(text.encode()))


def witness_line(text: str, *, time: int = TIME) -> str:
    message = f"cosignature/v1\ntime {time}\n{text}".encode()
    return line(WITNESS, 4, public(ED_WITNESS), time.to_bytes(8, "big") + ED_WITNESS.sign(message))


def pq_message(size: int, root: bytes, time: int) -> bytes:
    name = ORIGIN.encode()
    prefixed = bytes([len(name)]) + name
    numbers = (0).to_bytes(8, "big") + size.to_bytes(8, "big")
    return b"subtree/v1\n\0" + prefixed + time.to_bytes(8, "big") + prefixed + numbers + root


def pq_line(size: int, root: bytes, old: str | None) -> str:
    """Return the signature line; `old` is kept when it still verifies."""
    if old is not None:
        PQ.public_key().verify(base64.b64decode(old.split(" ")[2])[12:], pq_message(size, root, TIME))
        return old
    payload = TIME.to_bytes(8, "big") + PQ.sign(pq_message(size, root, TIME))
    return line(ORIGIN, 6, public(PQ), payload)


def checkpoint_text(size: int, root: bytes, origin: str = ORIGIN) -> str:
    return f"{origin}\n{size}\n{b64(root)}\n"


def proof_text(index: int, hashes: list[bytes], checkpoint: str, extra: str = "") -> str:
    return (
        f"c2sp.org/tlog-proof@v1\n{extra}index {index}\n"
        + "".join(f"{b64(value)}\n" for value in hashes)
        + "\n"
        + checkpoint
    )


ENTRIES = [b"", b"\0", b"entry two", b"3", b"four", b"5" * 300, b"six"]


class Cases(list):
    def add(self, case_id: str, why: str, op: str, given: dict, expect: object) -> None:
        self.append({"id": case_id, "why": why, "given": {"op": op, **given}, "expect": expect})

    def wrong(self, case_id: str, why: str, op: str, given: dict, code: str) -> None:
        self.add(case_id, why, op, given, {"error": code})


def merkle_cases(cases: Cases) -> None:
    for size in (0, 1, 2, 3, 7):
        entries = ENTRIES[:size]
        given = {"entries": [entry.hex() for entry in entries]}
        cases.add(f"root-{size}", f"root over {size} entries", "root", given, tree_root(entries).hex())
    for index, size in ((0, 1), (0, 7), (5, 7), (6, 7), (3, 4)):
        given = inclusion(index, size)
        cases.add(f"inclusion-{index}-{size}", "the entry is there", "check_inclusion", given, None)
    good = inclusion(5, 7)
    wrong = [
        ("leaf", "another entry", {**good, "leaf": sha(b"\0other").hex()}),
        ("index", "another index", {**good, "index": 4}),
        ("size", "another size", {**good, "size": 6}),
        ("outside", "an index beyond the tree", {**good, "index": 7}),
        ("short", "a hash is left out", {**good, "proof": good["proof"][:-1]}),
        ("long", "a hash too many", {**good, "proof": [*good["proof"], good["proof"][0]]}),
        ("order", "hashes in another order", {**good, "proof": good["proof"][::-1]}),
        ("root", "another root", {**good, "root": tree_root(ENTRIES[:6]).hex()}),
    ]
    for name, why, given in wrong:
        cases.wrong(f"inclusion-wrong-{name}", why, "check_inclusion", given, "merkle-inclusion")
    short = {**good, "root": good["root"][2:]}
    cases.wrong("inclusion-hash-size", "a root of 31 bytes", "check_inclusion", short, "merkle-hash-size")
    consistency_cases(cases)


def inclusion(index: int, size: int) -> dict:
    return {
        "leaf": sha(b"\0" + ENTRIES[index]).hex(),
        "index": index,
        "size": size,
        "proof": [value.hex() for value in path(index, ENTRIES[:size])],
        "root": tree_root(ENTRIES[:size]).hex(),
    }


def between(old: int, new: int) -> dict:
    return {
        "old_size": old,
        "new_size": new,
        "proof": [value.hex() for value in consistency(old, ENTRIES[:new])],
        "old_root": tree_root(ENTRIES[:old]).hex(),
        "new_root": tree_root(ENTRIES[:new]).hex(),
    }


def consistency_cases(cases: Cases) -> None:
    for old, new in ((1, 1), (1, 7), (3, 7), (4, 7), (6, 7)):
        cases.add(f"consistency-{old}-{new}", "it only grew", "check_consistency", between(old, new), None)
    good, power = between(3, 7), between(4, 7)
    other = sha(b"other").hex()
    wrong = [
        ("old-root", "another old root", {**good, "old_root": other}),
        ("new-root", "another new root", {**good, "new_root": other}),
        (
            "seed",
            "old size a power of two: a wrong old root shows as a wrong new one",
            {**power, "old_root": other},
        ),
        ("shrunk", "the new tree is smaller", {**good, "old_size": 7, "new_size": 3}),
        ("same-size", "one size, two roots", {**between(3, 3), "new_root": other}),
        ("zero", "nothing follows from an empty tree", {**between(1, 7), "old_size": 0, "proof": []}),
        ("short", "a hash is left out", {**good, "proof": good["proof"][:-1]}),
        ("long", "a hash too many", {**good, "proof": [*good["proof"], other]}),
    ]
    for name, why, given in wrong:
        cases.wrong(f"consistency-wrong-{name}", why, "check_consistency", given, "merkle-consistency")


def note_cases(cases: Cases) -> None:
    key = vkey(ORIGIN, 1, public(ED))
    text = "A text.\n\nWith an empty line.\n"
    good = text + "\n" + log_line(text)
    other = line("other.example", 1, public(ED), ED.sign(b"nothing"))

    def note(data: str | bytes, *keys: str) -> dict:
        raw = data if isinstance(data, bytes) else data.encode()
        return {"note": raw.hex(), "vkeys": list(keys or [key])}

    signed = {"text": text.encode().hex(), "verified": [ORIGIN], "unknown": []}
    cases.add("note", "signed by the known key", "open_note", note(good), signed)
    cases.add(
        "note-unknown-ignored",
        "a signature by an unknown key changes nothing, right or wrong",
        "open_note",
        note(good + other),
        {**signed, "unknown": ["other.example"]},
    )
    flipped = good.replace("A text", "B text")
    wrong = [
        ("text", "the text was changed", note(flipped), "note-signature"),
        (
            "second",
            "a second, bad signature by the known key",
            note(good + line(ORIGIN, 1, public(ED), bytes(64))),
            "note-signature",
        ),
        ("unsigned", "only unknown keys signed", note(text + "\n" + other), "note-no-known-key"),
        ("no-signature", "no signature line", note(text), "note-malformed"),
        ("no-gap", "no empty line before the signatures", note("A\n" + log_line("A\n")), "note-malformed"),
        ("no-newline", "the last newline is missing", note(good[:-1]), "note-malformed"),
        ("hyphen", "a hyphen for the em dash", note(good.replace("—", "-")), "note-malformed"),
        ("tab", "a control character", note(good.replace("A t", "A\tt")), "note-malformed"),
        ("cr", "lines end with CR LF", note(good.replace("\n", "\r\n")), "note-malformed"),
        ("utf8", "not UTF-8", note(b"\xff" + good.encode()), "note-malformed"),
        ("base64", "signature is not base64", note(good[:-3] + "*=\n"), "note-malformed"),
        ("padding", "unused bits set in the base64", note(_unused_bits(good)), "note-malformed"),
        (
            "name",
            "a plus sign in a key name",
            note(good + other.replace("other.", "ot+er.")),
            "note-key-name",
        ),
        ("empty", "nothing at all", note(""), "note-malformed"),
        ("too-many", "65 signatures", note(text + "\n" + log_line(text) * 65), "note-too-large"),
    ]
    for name, why, given, code in wrong:
        cases.wrong(f"note-wrong-{name}", why, "open_note", given, code)
    vkey_cases(cases, key)


def _unused_bits(note: str) -> str:
    head, last = note.rstrip("\n").rsplit(" ", 1)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = last.rstrip("=")
    pad = last[len(body) :]
    assert pad, "the case needs padding"
    return f"{head} {body[:-1]}{alphabet[alphabet.index(body[-1]) + 1]}{pad}\n"


def vkey_cases(cases: Cases, key: str) -> None:
    for name, text in (("ed25519", key), ("cosignature", vkey(WITNESS, 4, public(ED_WITNESS)))):
        expect = {"name": text.split("+", maxsplit=1)[0], "key_id": text.split("+")[1]}
        cases.add(f"vkey-{name}", "a verifier key", "open_vkey", {"vkey": text}, expect)
    small = bytes([1]) + bytes(31)
    wrong = [
        ("id", "the id of another key", key.replace(key.split("+")[1], "00000000"), "note-vkey"),
        (
            "hex",
            "the id in capitals",
            f"{ORIGIN}+{key.split('+')[1].upper()}+{key.split('+', 2)[2]}",
            "note-vkey",
        ),
        ("name", "the name of another log", key.replace("museum", "Museum"), "note-vkey"),
        ("parts", "no key", key.rsplit("+", 1)[0], "note-vkey"),
        ("space", "a space in the name", "a b" + vkey("a b", 1, public(ED))[3:], "note-key-name"),
        ("kind", "ECDSA keys are not checked here", vkey(ORIGIN, 2, public(ED)), "note-key-kind"),
        ("size", "a public key of 31 bytes", vkey(ORIGIN, 1, public(ED)[:31]), "public-key-invalid"),
        ("order", "a public key of small order", vkey(ORIGIN, 1, small), "public-key-invalid"),
    ]
    for name, why, text, code in wrong:
        cases.wrong(f"vkey-wrong-{name}", why, "open_vkey", {"vkey": text}, code)


def checkpoint_cases(cases: Cases, old_pq: str | None) -> str:
    root = tree_root(ENTRIES)
    text = checkpoint_text(7, root)
    keys = [vkey(ORIGIN, 1, public(ED)), vkey(ORIGIN, 6, public(PQ))]
    pq = pq_line(7, root, old_pq)
    good = text + "\n" + log_line(text) + pq

    def given(note: str, vkeys: list[str] = keys, origin: str = ORIGIN) -> dict:
        return {"checkpoint": note, "vkeys": vkeys, "origin": origin}

    expect = {"size": 7, "root": root.hex(), "verified": 2}
    cases.add("checkpoint", "signed by both keys of the log", "open_checkpoint", given(good), expect)
    empty = checkpoint_text(0, sha(b""))
    cases.add(
        "checkpoint-empty",
        "the log before its first entry",
        "open_checkpoint",
        given(f"{empty}\n{log_line(empty)}", keys[:1]),
        {"size": 0, "root": sha(b"").hex(), "verified": 1},
    )
    cosigned = given(f"{text}\n{witness_line(text)}", [vkey(WITNESS, 4, public(ED_WITNESS))])
    cases.add("cosignature", "a witness's 0x04", "open_checkpoint", cosigned, {**expect, "verified": 1})
    cases.add(
        "checkpoint-one-key",
        "for somebody who holds one of the log's two keys",
        "open_checkpoint",
        given(good, keys[1:]),
        {**expect, "verified": 1},
    )
    extended = text + "an extension line\n"
    cases.add(
        "checkpoint-extension",
        "extension lines are read, never written",
        "open_checkpoint",
        given(f"{extended}\n{log_line(extended)}", keys[:1]),
        {**expect, "verified": 1},
    )

    def resigned(changed: str) -> dict:
        return given(f"{changed}\n{log_line(changed)}", keys[:1])

    grown = checkpoint_text(8, root)
    late = (2**63).to_bytes(8, "big")
    late_line = line(WITNESS, 4, public(ED_WITNESS), late + bytes(64))
    wrong = [
        (
            "zeroes",
            "a leading zero in the size",
            resigned(text.replace("\n7\n", "\n07\n")),
            "checkpoint-size",
        ),
        ("sign", "a sign before the size", resigned(text.replace("\n7\n", "\n+7\n")), "checkpoint-size"),
        ("large", "a size of 2**63", resigned(text.replace("\n7\n", f"\n{2**63}\n")), "checkpoint-size"),
        ("digits", "digits beyond ASCII", resigned(text.replace("\n7\n", "\n\u0667\n")), "checkpoint-size"),
        ("short", "two lines", resigned(f"{ORIGIN}\n7\n"), "checkpoint-malformed"),
        ("gap", "an empty extension line", resigned(text + "\nx\n"), "checkpoint-malformed"),
        ("root", "a root of 31 bytes", resigned(checkpoint_text(7, root[:31])), "checkpoint-root"),
        ("empty-root", "size 0 with a root", resigned(checkpoint_text(0, root)), "checkpoint-root"),
        ("origin", "of another log", given(good, origin="museum.example/ledger/2"), "checkpoint-origin"),
        (
            "no-pq",
            "the line of the post-quantum key was cut out",
            given(f"{text}\n{log_line(text)}"),
            "checkpoint-unsigned",
        ),
        (
            "pq-alone",
            "the line of the Ed25519 key was cut out",
            given(f"{text}\n{pq}"),
            "checkpoint-unsigned",
        ),
        (
            "witness-alone",
            "the log's own lines were cut out, a witness's stands",
            given(f"{text}\n{witness_line(text)}", [*keys, vkey(WITNESS, 4, public(ED_WITNESS))]),
            "checkpoint-unsigned",
        ),
        (
            "pq",
            "the 0x06 signature is of another size",
            given(f"{grown}\n{log_line(grown)}{pq}"),
            "note-signature",
        ),
        (
            "time",
            "a cosignature from after 2**63 - 1 seconds",
            given(f"{text}\n{late_line}", [vkey(WITNESS, 4, public(ED_WITNESS))]),
            "note-signature",
        ),
    ]
    for name, why, value, code in wrong:
        cases.wrong(f"checkpoint-wrong-{name}", why, "open_checkpoint", value, code)
    return pq


def tile_cases(cases: Cases) -> None:
    right = {
        "tile/0/000": [0, 0, 256],
        "tile/0/x001/x234/067": [0, 1234067, 256],
        "tile/7/000.p/1": [7, 0, 1],
        "tile/63/999.p/255": [63, 999, 255],
        "tile/entries/000.p/15": [None, 0, 15],
        "tile/entries/x001/000": [None, 1000, 256],
    }
    for text, place in right.items():
        name = text.replace("/", "-")
        cases.add(f"path-{name}", "a tile or bundle", "parse_path", {"path": text}, place)
    wrong = [
        "tile/64/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p",
        "tile/-1/000",
        "tile/0/000/",
        "tile/data/000",
        "tile/0/../000",
        "tile/0/\u0660\u0660\u0660",
        "",
    ]
    for number, text in enumerate(wrong):
        cases.wrong(
            f"path-wrong-{number}", f"not a path: {text!r}", "parse_path", {"path": text}, "log-tile-path"
        )
    encoded = b"".join(len(entry).to_bytes(2, "big") + entry for entry in ENTRIES)
    entries = [entry.hex() for entry in ENTRIES]
    cases.add("bundle", "seven entries", "decode_bundle", {"data": encoded.hex(), "width": 7}, entries)
    for name, why, data, width in (
        ("short", "the last entry is cut short", encoded[:-1], 7),
        ("long", "a byte too many", encoded + b"\0", 7),
        ("fewer", "an entry too few", encoded, 8),
        ("more", "an entry too many", encoded, 6),
        ("length", "half a length", b"\0", 1),
        ("none", "nothing", b"", 1),
    ):
        given = {"data": data.hex(), "width": width}
        cases.wrong(f"bundle-wrong-{name}", why, "decode_bundle", given, "log-bundle-damaged")


def proof_cases(cases: Cases) -> None:
    root = tree_root(ENTRIES)
    text = checkpoint_text(7, root)
    checkpoint = f"{text}\n{log_line(text)}"
    hashes = path(5, ENTRIES)
    good = proof_text(5, hashes, checkpoint)

    def given(proof: str, entry: bytes = ENTRIES[5], origin: str = ORIGIN) -> dict:
        return {
            "proof": proof,
            "entry": entry.hex(),
            "origin": origin,
            "vkeys": [vkey(ORIGIN, 1, public(ED))],
        }

    one = checkpoint_text(1, tree_root(ENTRIES[:1]))
    cases.add("proof", "entry 5 of 7", "check_proof", given(good), None)
    cases.add(
        "proof-extra",
        "with extra data",
        "check_proof",
        given(proof_text(5, hashes, checkpoint, "extra aGVsbG8=\n")),
        None,
    )
    cases.add(
        "proof-one",
        "the only entry: no hashes",
        "check_proof",
        given(proof_text(0, [], f"{one}\n{log_line(one)}"), ENTRIES[0]),
        None,
    )
    many = [root] * 64
    wrong = [
        ("header", "another version", given(good.replace("@v1", "@v2")), "proof-malformed"),
        ("index", "no index", given(good.replace("index 5\n", "")), "proof-malformed"),
        ("zeroes", "a leading zero", given(good.replace("index 5", "index 05")), "proof-malformed"),
        (
            "order",
            "extra data after the index",
            given(good.replace("index 5\n", "index 5\nextra aGVsbG8=\n")),
            "proof-malformed",
        ),
        (
            "extra-empty",
            "empty extra data",
            given(proof_text(5, hashes, checkpoint, "extra \n")),
            "proof-malformed",
        ),
        (
            "extra-base64",
            "extra data is not base64",
            given(proof_text(5, hashes, checkpoint, "extra aGVsbG8\n")),
            "proof-malformed",
        ),
        ("hash", "a hash of 31 bytes", given(proof_text(5, [root[:31]], checkpoint)), "proof-malformed"),
        ("many", "64 hashes", given(proof_text(5, many, checkpoint)), "proof-too-large"),
        (
            "no-checkpoint",
            "no checkpoint",
            given(good.split("\n\n", maxsplit=1)[0] + "\n\n"),
            "note-malformed",
        ),
        ("entry", "another entry", given(good, b"other"), "merkle-inclusion"),
        ("place", "another index", given(good.replace("index 5", "index 4")), "merkle-inclusion"),
        ("outside", "an index beyond the log", given(good.replace("index 5", "index 7")), "merkle-inclusion"),
        ("origin", "another log", given(good, origin="museum.example/ledger/2"), "checkpoint-origin"),
        ("checkpoint", "the checkpoint was changed", given(good.replace("\n7\n", "\n8\n")), "note-signature"),
    ]
    for name, why, value, code in wrong:
        cases.wrong(f"proof-wrong-{name}", why, "check_proof", value, code)


def make(old_pq: str | None) -> dict:
    cases = Cases()
    merkle_cases(cases)
    note_cases(cases)
    pq = checkpoint_cases(cases, old_pq)
    tile_cases(cases)
    proof_cases(cases)
    return {
        "spec": "log/v1",
        "about": "Trees, proofs, notes, checkpoints, tiles and proof files. Keys are for tests: do not use.",
        "kept": {"mldsa44_line": pq},
        "cases": list(cases),
    }


def main() -> None:
    old = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    document = make(old.get("kept", {}).get("mldsa44_line"))
    TARGET.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
