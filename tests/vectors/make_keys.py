"""Writes specs/vectors/keys.json with curve arithmetic and base58 of its own: short, slow, not for use."""

from __future__ import annotations

import json
from hashlib import sha256, sha512
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "keys.json"

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
Point = tuple[int, int]
IDENTITY: Point = (0, 1)


def add(a: Point, b: Point) -> Point:
    """The sum of two points of edwards25519."""
    t = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + b[0] * a[1]) * pow(1 + t, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - t, -1, P) % P


def times(k: int, a: Point) -> Point:
    """k times a."""
    result = IDENTITY
    while k:
        if k & 1:
            result = add(result, a)
        a, k = add(a, a), k >> 1
    return result


def x_of(y: int) -> int:
    """An x for a y; the even one."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert (x * x - square) % P == 0
    return x if x % 2 == 0 else P - x


def is_point(y: int) -> bool:
    """Whether some x belongs to y, by taking the root."""
    try:
        x_of(y)
    except AssertionError:
        return False
    return True


NO_POINTS = [y for y in range(2, 202) if not is_point(y)][:3]
"""Numbers that are no y of the curve."""

BASE: Point = (x_of(4 * pow(5, -1, P) % P), 4 * pow(5, -1, P) % P)


def encode(a: Point) -> bytes:
    """RFC 8032 §5.1.2."""
    return (a[1] | (a[0] & 1) << 255).to_bytes(32, "little")


def scalar(seed: bytes) -> int:
    """The secret scalar of a seed, RFC 8032 §5.1.5."""
    h = bytearray(sha512(seed).digest()[:32])
    h[0] &= 248
    h[31] = h[31] & 127 | 64
    return int.from_bytes(h, "little")


def challenge(r: bytes, public: bytes, message: bytes) -> int:
    """The hash that binds a signature."""
    return int.from_bytes(sha512(r + public + message).digest(), "little") % L


def base58(data: bytes) -> str:
    """Base58btc, digit by digit."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def sign(seed: bytes, message: bytes) -> bytes:
    """An Ed25519 signature by the arithmetic above."""
    prefix, a = sha512(seed).digest()[32:], scalar(seed)
    public = encode(times(a, BASE))
    r = int.from_bytes(sha512(prefix + message).digest(), "little") % L
    point = encode(times(r, BASE))
    return point + ((r + challenge(point, public, message) * a) % L).to_bytes(32, "little")


def small_order() -> list[tuple[str, bytes]]:
    """Encodings of the points of small order, canonical and not."""
    eighth = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
    ys = {"order-1": 1, "order-2": P - 1, "order-4": 0, "order-8-a": eighth, "order-8-b": P - eighth}
    made = []
    for name, y in ys.items():
        assert times(8, (x_of(y), y)) == IDENTITY
        made += [(f"{name}-sign-{bit}", (y | bit << 255).to_bytes(32, "little")) for bit in (0, 1)]
        if y < 19:
            made.append((f"{name}-not-canonical", (y + P).to_bytes(32, "little")))
    return made


SEED = bytes(range(32))
MESSAGE = b"what was said"


def ed25519_cases() -> list[dict[str, object]]:
    """Signatures that hold, and signatures that other libraries let pass."""
    public, good = encode(times(scalar(SEED), BASE)), sign(SEED, MESSAGE)
    made: list[dict[str, object]] = []

    def case(name: str, why: str, key: bytes, signature: bytes, error: str | None) -> None:
        given = {
            "op": "check-ed25519",
            "public": key.hex(),
            "message": MESSAGE.hex(),
            "signature": signature.hex(),
        }
        made.append({"id": name, "why": why, "given": given, "expect": {"error": error} if error else {}})

    case("ed25519-good", "a plain signature", public, good, None)
    case(
        "ed25519-other-message",
        "one bit of S",
        public,
        good[:32] + bytes([good[32] ^ 1]) + good[33:],
        "signature-invalid",
    )
    case("ed25519-other-r", "one bit of R", public, bytes([good[0] ^ 1]) + good[1:], "signature-invalid")
    malleable = good[:32] + (int.from_bytes(good[32:], "little") + L).to_bytes(32, "little")
    case("ed25519-s-plus-l", "the same signature spelt another way", public, malleable, "signature-invalid")
    case("ed25519-short", "63 bytes", public, good[:63], "signature-invalid")
    case("ed25519-long", "65 bytes", public, good + b"\0", "signature-invalid")
    case("ed25519-key-short", "31 bytes of key", public[:31], good, "public-key-invalid")
    # R is the identity, and S fits: without our rule the equation holds.
    r = encode(IDENTITY)
    s = challenge(r, public, MESSAGE) * scalar(SEED) % L
    case(
        "ed25519-r-small-order",
        "R without order; the equation holds",
        public,
        r + s.to_bytes(32, "little"),
        "signature-invalid",
    )
    case(
        "ed25519-r-not-canonical",
        "the identity spelt y + p",
        public,
        (P + 1).to_bytes(32, "little") + s.to_bytes(32, "little"),
        "signature-invalid",
    )
    for name, key in small_order():
        # For the identity as key, S·B = R holds whatever was said, without any secret.
        forged = encode(times(7, BASE)) + (7).to_bytes(32, "little")
        case(f"ed25519-key-{name}", "nobody owns this key", key, forged, "public-key-invalid")
    case("ed25519-key-p", "y = p", P.to_bytes(32, "little"), good, "public-key-invalid")
    for y in NO_POINTS:
        case(
            f"ed25519-key-no-point-{y}",
            "no point has this y",
            y.to_bytes(32, "little"),
            good,
            "public-key-invalid",
        )
    case("ed25519-key-ones", "the largest number", b"\xff" * 32, good, "public-key-invalid")
    return made


def name_cases() -> list[dict[str, object]]:
    """Multikeys, did:keys and verification methods."""
    made: list[dict[str, object]] = []

    def case(name: str, why: str, op: str, text: str, expect: dict[str, str]) -> None:
        made.append({"id": name, "why": why, "given": {"op": op, "text": text}, "expect": expect})

    public = encode(times(scalar(SEED), BASE))
    multikey = "z" + base58(b"\xed\x01" + public)
    method = f"did:key:{multikey}#{multikey}"
    case("multikey", "an Ed25519 key", "parse-multikey", multikey, {"public": public.hex()})
    case("did-key", "the same as a DID", "parse-did-key", f"did:key:{multikey}", {"public": public.hex()})
    case(
        "verification-method",
        "the same as proofs name it",
        "parse-verification-method",
        method,
        {"public": public.hex()},
    )
    other = "z" + base58(b"\xed\x01" + encode(times(5, BASE)))
    wrong = [
        ("multikey-x25519", "a key for encryption", "z" + base58(b"\xec\x01" + public), "multikey-invalid"),
        (
            "multikey-secret",
            "the prefix of secret keys",
            "z" + base58(b"\x80\x26" + SEED),
            "multikey-invalid",
        ),
        ("multikey-short", "31 bytes", "z" + base58(b"\xed\x01" + public[:31]), "multikey-invalid"),
        ("multikey-long", "33 bytes", "z" + base58(b"\xed\x01" + public + b"\0"), "multikey-invalid"),
        ("multikey-base64url", "another base", "u7QEDoQe_", "multikey-invalid"),
        ("multikey-empty", "no text", "", "multikey-invalid"),
        ("multikey-bare", "no prefix", multikey[1:], "multikey-invalid"),
        ("multikey-letter", "a letter that base58 leaves out", multikey[:-1] + "0", "base58-invalid"),
        ("multikey-not-ascii", "a letter beyond ASCII", multikey[:-1] + "é", "base58-invalid"),
        ("multikey-leading-one", "a zero byte in front", "z1" + multikey[1:], "multikey-invalid"),
        ("multikey-endless", "more than 128 letters", "z" + "2" * 129, "base58-invalid"),
        (
            "multikey-small-order",
            "a key that nobody owns",
            "z" + base58(b"\xed\x01" + encode(IDENTITY)),
            "public-key-invalid",
        ),
    ]
    wrong += [
        (
            f"multikey-no-point-{y}",
            "no point of the curve has this y",
            "z" + base58(b"\xed\x01" + y.to_bytes(32, "little")),
            "public-key-invalid",
        )
        for y in NO_POINTS
    ]
    for name, why, text, code in wrong:
        case(name, why, "parse-multikey", text, {"error": code})
    wrong_methods = [
        ("method-no-fragment", "a DID alone", f"did:key:{multikey}", "did-key-invalid"),
        (
            "method-other-fragment",
            "a fragment of another key",
            f"did:key:{multikey}#{other}",
            "did-key-invalid",
        ),
        ("method-web", "a DID without history", "did:web:museum.example#key-1", "did-key-invalid"),
        ("method-twice", "two fragments", f"{method}#{multikey}", "did-key-invalid"),
        ("method-query", "something between", f"did:key:{multikey}?x#{multikey}", "did-key-invalid"),
        (
            "method-upper",
            "another spelling of the method",
            f"DID:key:{multikey}#{multikey}",
            "did-key-invalid",
        ),
        ("method-space", "a space in front", f" {method}", "did-key-invalid"),
    ]
    for name, why, text, code in wrong_methods:
        case(name, why, "parse-verification-method", text, {"error": code})
    return made


def sealed(fields: dict[str, object], passphrase: bytes | None, **changes: object) -> str:
    """A key file; changes are made after sealing, before the checksum."""
    if passphrase is not None:
        key = Argon2id(
            salt=bytes.fromhex(str(fields["salt"])),
            length=32,
            iterations=int(str(fields["iterations"])),
            lanes=int(str(fields["lanes"])),
            memory_cost=int(str(fields["memory"])),
        ).derive(passphrase)
        header = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        box = AESGCM(key).encrypt(bytes.fromhex(str(fields["nonce"])), SEED, header)
        fields = {**fields, "secret": box.hex()}
    else:
        fields = {**fields, "secret": SEED.hex()}
    fields = {**fields, **changes}
    digest = sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    return json.dumps({**fields, "checksum": digest}, indent=2) + "\n"


def file_cases() -> list[dict[str, object]]:
    """Key files, sealed cheaply so that reading them is quick."""
    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
    head: dict[str, object] = {
        "format": "heritage-ledger/key/v1",
        "role": "event",
        "kind": "ed25519",
        "public": public.hex(),
    }
    lock = {**head, "seal": "argon2id+aes-256-gcm", "memory": 64, "iterations": 1, "lanes": 1,
            "salt": bytes(range(16)).hex(), "nonce": bytes(range(12)).hex()}  # fmt: skip
    word = b"correct horse"
    good = sealed(lock, word)
    bare = sealed({**head, "seal": "none"}, None)
    secret = {"role": "event", "kind": "ed25519", "public": public.hex(), "secret": SEED.hex()}
    other = encode(times(5, BASE)).hex()
    entries: list[tuple[str, str, str, bytes | None, dict[str, str]]] = [
        ("file-sealed", "opened by its passphrase", good, word, secret),
        ("file-open", "unsealed on purpose", bare, None, secret),
        ("file-open-passphrase", "a passphrase that is not needed", bare, word, secret),
        (
            "file-wrong-passphrase",
            "another passphrase",
            good,
            b"correct horsE",
            {"error": "key-passphrase-wrong"},
        ),
        ("file-no-passphrase", "none given", good, None, {"error": "key-passphrase-missing"}),
        (
            "file-flipped",
            "one letter changed",
            good.replace('"role": "event"', '"role": "evenu"'),
            word,
            {"error": "key-file-damaged"},
        ),
        (
            "file-role-rewritten",
            "the role changed and the checksum made anew",
            sealed(lock, word, role="log"),
            word,
            {"error": "key-passphrase-wrong"},
        ),
        (
            "file-public-rewritten",
            "the public key changed, checksum made anew",
            sealed(lock, word, public=other),
            word,
            {"error": "key-passphrase-wrong"},
        ),
        (
            "file-open-public-rewritten",
            "another public key in an unsealed file",
            sealed({**head, "seal": "none"}, None, public=other),
            None,
            {"error": "key-public-mismatch"},
        ),
        (
            "file-memory-bomb",
            "a terabyte asked for",
            sealed(lock, word, memory=2**30),
            word,
            {"error": "key-file-damaged"},
        ),
        (
            "file-memory-limit",
            "one KiB above the limit",
            sealed(lock, word, memory=262_145),
            word,
            {"error": "key-file-damaged"},
        ),
        (
            "file-iterations-limit",
            "one pass above the limit",
            sealed(lock, word, iterations=17),
            word,
            {"error": "key-file-damaged"},
        ),
        (
            "file-lanes-limit",
            "one lane above the limit",
            sealed(lock, word, lanes=17),
            word,
            {"error": "key-file-damaged"},
        ),
        ("file-no-lanes", "no lane at all", sealed(lock, word, lanes=0), word, {"error": "key-file-damaged"}),
        (
            "file-short-nonce",
            "11 bytes",
            sealed(lock, word, nonce=bytes(11).hex()),
            word,
            {"error": "key-file-damaged"},
        ),
        (
            "file-kind",
            "a kind of key that is not known",
            sealed(lock, word, kind="rsa"),
            word,
            {"error": "key-file-damaged"},
        ),
        ("file-cut-off", "the end is missing", good[:-3], word, {"error": "key-file-damaged"}),
        (
            "file-respelt",
            "the same on one line",
            json.dumps(json.loads(good)),
            word,
            {"error": "key-file-damaged"},
        ),
        ("file-empty", "nothing", "", word, {"error": "key-file-damaged"}),
    ]
    return [
        {
            "id": name,
            "why": why,
            "given": {
                "op": "open-key",
                "file": text,
                "passphrase": None if phrase is None else phrase.decode(),
            },
            "expect": expect,
        }
        for name, why, text, phrase, expect in entries
    ]


def main() -> None:
    """Write the file."""
    document = {
        "spec": "keys/v1",
        "about": "Test keys, made of the seed 00 01 02 … 1f: do not use them for anything else. An empty"
        " expectation means that the check passes.",
        "cases": [*ed25519_cases(), *name_cases(), *file_cases()],
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
