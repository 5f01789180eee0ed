"""Writes specs/vectors/event.json: bodies by hand, bytes by rfc8785, signatures by cryptography alone."""

from __future__ import annotations

import copy
import json
from hashlib import sha256, sha512
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "specs" / "vectors" / "event.json"
CONTEXT = "https://w3id.org/heritage-ledger/event/v1"
ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
SEED = bytes(range(32))
CREATED = "2026-03-02T11:40:52Z"
ORIGIN = "museum.example/ledger/1"
HOME = f"https://{ORIGIN}#institution"
PROGRAM = "pkg:pypi/heritage-ledger@0.1.0"
BAG = "ipfs://bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
DATA = "ipfs://bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


def base58(data: bytes) -> str:
    """Base58btc, digit by digit."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def digest256(data: bytes) -> str:
    """A SHA-256 multihash."""
    return "z" + base58(b"\x12\x20" + sha256(data).digest())


def digest512(data: bytes) -> str:
    """A SHA-512 multihash."""
    return "z" + base58(b"\x13\x40" + sha512(data).digest())


def method(seed: bytes) -> str:
    """The verification method of a seed."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    multikey = "z" + base58(b"\xed\x01" + public)
    return f"did:key:{multikey}#{multikey}"


def sign(body: dict[str, Any], *, seed: bytes = SEED, **changes: Any) -> dict[str, Any]:
    """The body with a proof whose options may differ from ours; the signature holds all the same."""
    options = {
        "type": "DataIntegrityProof",
        "cryptosuite": "eddsa-jcs-2022",
        "proofPurpose": "assertionMethod",
        **({"@context": body["@context"]} if "@context" in body else {}),
        "created": CREATED,
        "verificationMethod": method(seed),
        **changes,
    }
    message = sha256(rfc8785.dumps(options)).digest() + sha256(rfc8785.dumps(body)).digest()
    value = "z" + base58(Ed25519PrivateKey.from_private_bytes(seed).sign(message))
    return {**body, "proof": {**options, "proofValue": value}}


def head(number: int, types: list[str], *, actor: bool = True) -> dict[str, Any]:
    """What every event says."""
    context = (ROOT / "specs" / "contexts" / "event-v1.jsonld").read_bytes()
    person = f"https://{ORIGIN}#agent/Zo%C3%AB%20Example"
    people = [{"id": person, "type": "Person", "name": "Zoë Example", "actedFor": HOME}] if actor else []
    return {
        "@context": [CONTEXT],
        "id": f"urn:uuid:00000000-0000-4000-8000-{number:012d}",
        "type": ["PreservationEvent", *types, "Activity"],
        "log": ORIGIN,
        "relatedResource": [{"id": CONTEXT, "digestMultibase": digest256(context)}],
        "agents": [
            {"id": HOME, "type": "Organization", "name": "Museum of Examples"},
            *people,
            {
                "id": PROGRAM,
                "type": "SoftwareAgent",
                "name": "heritage-ledger",
                "version": "0.1.0",
                "actedFor": HOME,
            },
        ],
        "authorizer": HOME,
        **({"implementer": person} if actor else {}),
        "executingProgram": PROGRAM,
        "startedAt": "2026-03-02T09:14:05Z",
        "endedAt": "2026-03-02T11:40:51.250Z",
    }


def package() -> dict[str, Any]:
    """A package with everything that can be said of it."""
    return {
        "id": BAG,
        "type": ["Package", "Representation"],
        "asset": {
            "id": "https://museum.example/object/1887.12",
            "type": "IntellectualEntity",
            "title": "Amphora, Αμφορέας",
        },
        "version": "2",
        "previous": "ipfs://bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y",
        "originalName": "scan 2026",
        "bagVersion": "1.0",
        "cidProfile": "unixfs-v1-2025",
        "manifests": [
            {"id": f"{BAG}/manifest-sha512.txt", "type": "File", "digestMultibase": digest512(b"manifest")},
            {"id": f"{BAG}/tagmanifest-sha512.txt", "type": "File", "digestMultibase": digest512(b"tags")},
        ],
        "metadata": {
            "id": f"{BAG}/metadata/d%C3%A9crit.json",
            "type": "File",
            "digestMultibase": digest512(b"{}"),
        },
        "payload": {"id": DATA, "type": "Payload", "size": "1843200113", "fileCount": "42"},
    }


def bodies() -> dict[str, dict[str, Any]]:
    """One body of each kind."""
    small = package()
    for key in ("previous", "originalName", "metadata"):
        del small[key]
    del small["asset"]["title"]
    return {
        "genesis": {
            **head(0, ["Genesis"], actor=False),
            "eventKey": method(SEED),
            "logKeys": [f"{ORIGIN}+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"],
            "nextKeyDigests": [digest256(b"next event key"), digest256(b"next log key")],
            "nodeKey": method(bytes(range(1, 33))),
            "witnessKeys": [
                f"{ORIGIN}/witness+c4fae0a0+BM6lBnhiNPcBzPGB0mhjPmIXEV2kzr4PgH2+xHLrxAJ/",
            ],
        },
        "ingestion": {
            **head(1, ["Ingestion", "InformationPackageCreation", "MessageDigestCalculation"]),
            "generated": package(),
            "outcome": "success",
            "notes": ["Delivered on a disk.\nRead twice."],
        },
        "adoption": {
            **head(2, ["Ingestion", "Validation", "MessageDigestCalculation"]),
            "used": small,
            "outcome": "warning",
            "outcomeNote": "valid, with one warning",
            "findings": ["bag-percent-literal"],
        },
        "fixity-check": {
            **head(3, ["FixityCheck"], actor=False),
            "used": [{"id": BAG, "type": ["Package", "Representation"]}],
            "packageCount": "1",
            "fileCount": "42",
            "byteCount": "1843200113",
            "failureCount": "1",
            "failures": [
                {"id": f"{BAG}/data/%25%20scan.e57", "type": "File", "findings": ["payload-digest"]}
            ],
            "generated": {
                "id": "urn:uuid:00000000-0000-4000-8000-000000000099",
                "type": "File",
                "digestMultibase": digest512(b"report"),
                "size": "20480",
            },
            "outcome": "failure",
        },
        "pledge": {
            **head(4, ["Pledge"], actor=False),
            "sourceLog": "archive.example/ledger/1",
            "until": "2036-03-02T00:00:00Z",
            "assets": ["https://archive.example/fonds/7"],
            "maxBytes": "1099511627776",
        },
        "replication": {
            **head(5, ["Replication"], actor=False),
            "used": [{"id": BAG, "type": ["Package", "Representation"]}],
            "sourceLog": "archive.example/ledger/1",
            "helperLogs": ["archive.example/ledger/1"],
            "fileCount": "42",
            "byteCount": "1843200113",
            "outcome": "success",
        },
        "recovery": {
            **head(6, ["Recovery"], actor=False),
            "used": [{"id": BAG, "type": ["Package", "Representation"]}],
            "sourceLog": ORIGIN,
            "helperLogs": ["archive.example/ledger/1"],
            "fileCount": "1",
            "byteCount": "1048576",
            "failureCount": "1",
            "failures": [{"id": f"{BAG}/data/a.tif", "type": "File", "findings": ["repair-no-source"]}],
            "outcome": "warning",
        },
        "dissemination": {
            **head(7, ["Dissemination"], actor=False),
            "used": [{"id": BAG, "type": ["Package", "Representation"]}],
            "sourceLog": "archive.example/ledger/1",
            "recipientLog": "archive.example/ledger/1",
            "byteCount": "1048576",
            "outcome": "success",
        },
    }


COUNTS = ("size", "fileCount", "byteCount", "packageCount", "failureCount", "maxBytes")


def with_counts(value: Any, count: str) -> Any:
    """The same with every count in it replaced."""
    if isinstance(value, list):
        return [with_counts(one, count) for one in value]
    if isinstance(value, dict):
        return {key: count if key in COUNTS else with_counts(one, count) for key, one in value.items()}
    return value


def refused_bodies() -> list[tuple[str, str, Callable[[dict[str, Any]], Any], str]]:
    """Changes to the ingestion body that are signed anew: only the form is wrong."""
    return [
        ("unknown-key", "a key without a meaning", lambda b: b.update(colour="red"), "event-schema"),
        (
            "unknown-key-nested",
            "deeper down",
            lambda b: b["generated"]["asset"].update(colour="red"),
            "event-schema",
        ),
        ("no-log", "could be replayed anywhere", lambda b: b.pop("log"), "event-schema"),
        (
            "log-upper-case",
            "origins have one spelling",
            lambda b: b.update(log="Museum.example/ledger/1"),
            "event-schema",
        ),
        (
            "id-relative",
            "a name that means nothing elsewhere",
            lambda b: b.update(id="event-1"),
            "event-schema",
        ),
        ("id-missing", "a blank node", lambda b: b.pop("id"), "event-schema"),
        (
            "agent-blank",
            "an agent without a name of its own",
            lambda b: b["agents"][0].pop("id"),
            "event-schema",
        ),
        (
            "agent-compact-iri",
            "a prefix instead of a scheme",
            lambda b: b["agents"][0].update(id="foaf:me"),
            "event-schema",
        ),
        (
            "type-unknown",
            "another family of statements",
            lambda b: b["type"].append("HistoryStatement"),
            "event-schema",
        ),
        (
            "type-mixed",
            "two kinds of event in one",
            lambda b: b["type"].insert(1, "FixityCheck"),
            "event-schema",
        ),
        ("type-order", "the same types in another order", lambda b: b["type"].reverse(), "event-schema"),
        (
            "outcome-failure",
            "a failed ingestion makes no package",
            lambda b: b.update(outcome="failure"),
            "event-schema",
        ),
        (
            "count-number",
            "a count that is not text",
            lambda b: b["generated"]["payload"].update(size=5),
            "event-schema",
        ),
        (
            "count-leading-zero",
            "a second spelling",
            lambda b: b["generated"]["payload"].update(size="05"),
            "event-schema",
        ),
        (
            "count-20-digits",
            "far beyond 63 bits",
            lambda b: b["generated"]["payload"].update(size="1" + "0" * 19),
            "event-schema",
        ),
        (
            "version-10-digits",
            "no asset has so many versions",
            lambda b: b["generated"].update(version="1000000000"),
            "event-schema",
        ),
        (
            "time-second-60",
            "no clock of ours shows it",
            lambda b: b.update(endedAt="9999-12-31T23:59:60Z"),
            "timestamp-invalid",
        ),
        (
            "time-year-0",
            "before the calendar",
            lambda b: b.update(startedAt="0000-01-01T00:00:00Z"),
            "timestamp-invalid",
        ),
        (
            "cid-version-0",
            "another spelling of a CID",
            lambda b: b["generated"]["payload"].update(
                id="ipfs://QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKn8QZ"
            ),
            "event-schema",
        ),
        (
            "title-line-feed",
            "a title of two lines",
            lambda b: b["generated"]["asset"].update(title="a\nb"),
            "event-schema",
        ),
        (
            "context-string",
            "the context spelt another way",
            lambda b: b.update({"@context": CONTEXT}),
            "event-schema",
        ),
        (
            "context-inline",
            "a term redefined",
            lambda b: b.update({"@context": [CONTEXT, {"title": "https://evil.example/x"}]}),
            "event-schema",
        ),
        (
            "context-scheme",
            "a prefix called urn",
            lambda b: b.update({"@context": [CONTEXT, {"urn": "https://evil.example/"}]}),
            "event-schema",
        ),
        ("context-absent", "no context", lambda b: b.pop("@context"), "proof-shape"),
        (
            "context-digest",
            "the digest of another file",
            lambda b: b["relatedResource"][0].update(digestMultibase=digest256(b"other")),
            "event-context-digest",
        ),
        (
            "times-reversed",
            "it ended before it began",
            lambda b: b.update(endedAt="2026-03-02T09:14:04Z"),
            "event-times",
        ),
        (
            "time-no-day",
            "no such day",
            lambda b: b.update(startedAt="2026-02-30T09:14:05Z"),
            "timestamp-invalid",
        ),
        (
            "time-zone",
            "a zone other than UTC",
            lambda b: b.update(startedAt="2026-03-02T09:14:05+01:00"),
            "event-schema",
        ),
        (
            "role-stranger",
            "a role without an agent",
            lambda b: b.update(implementer="https://museum.example/staff/9"),
            "event-agents",
        ),
        (
            "agent-twice",
            "one agent, two descriptions",
            lambda b: b["agents"].append({**b["agents"][0], "name": "Other"}),
            "event-agents",
        ),
        (
            "manifest-elsewhere",
            "a manifest of another package",
            lambda b: b["generated"]["manifests"][0].update(id=f"{DATA}/manifest-sha512.txt"),
            "event-file-name",
        ),
        (
            "path-respelt",
            "a letter percent-encoded",
            lambda b: b["generated"]["manifests"][0].update(id=f"{BAG}/%6Danifest-sha512.txt"),
            "event-file-name",
        ),
        (
            "path-not-utf8",
            "bytes that are no text",
            lambda b: b["generated"]["metadata"].update(id=f"{BAG}/metadata/%FF.json"),
            "event-file-name",
        ),
        (
            "digest-other-function",
            "a SHA-512 digest of another length",
            lambda b: b["generated"]["metadata"].update(digestMultibase="z8V" + "z" * 88),
            "digest-invalid",
        ),
        ("null", "null says nothing", lambda b: b.update(notes=None), "json-null"),
        ("fraction", "a measured number", lambda b: b.update(notes=1.5), "json-float"),
        ("empty-array", "no notes", lambda b: b.update(notes=[]), "json-empty-array"),
    ]


def refused_proofs() -> list[tuple[str, str, dict[str, Any], str]]:
    """Proof options that differ from ours; the signature over them holds."""
    return [
        (
            "proof-context-shorter",
            "the document's context goes on after the proof's",
            {"@context": []},
            "json-empty-array",
        ),
        ("proof-context-other", "a context of its own", {"@context": [CONTEXT, CONTEXT]}, "proof-context"),
        ("proof-suite", "another cryptosuite", {"cryptosuite": "eddsa-rdfc-2022"}, "proof-shape"),
        ("proof-purpose", "another purpose", {"proofPurpose": "authentication"}, "proof-shape"),
        ("proof-expires", "a member more", {"expires": "2027-03-02T11:40:52Z"}, "proof-shape"),
        ("proof-chain", "a proof over a proof", {"previousProof": "urn:uuid:1"}, "proof-shape"),
        ("proof-created", "no such day", {"created": "2026-02-30T00:00:00Z"}, "timestamp-invalid"),
        (
            "proof-method-web",
            "a key that its host may swap",
            {"verificationMethod": "did:web:museum.example#key"},
            "event-schema",
        ),
        (
            "proof-method-other",
            "the key of somebody else",
            {"verificationMethod": method(bytes(32))},
            "signature-invalid",
        ),
        (
            "proof-method-small-order",
            "a key that nobody owns",
            {"verificationMethod": weak_method()},
            "public-key-invalid",
        ),
    ]


def weak_method() -> str:
    """The verification method of the identity point."""
    multikey = "z" + base58(b"\xed\x01\x01" + bytes(31))
    return f"did:key:{multikey}#{multikey}"


def altered(signed: dict[str, Any]) -> list[tuple[str, str, bytes, str]]:
    """Changes after signing."""
    data = rfc8785.dumps(signed)
    title = copy.deepcopy(signed)
    title["generated"]["asset"]["title"] = "Amphora"
    unsigned = {key: value for key, value in signed.items() if key != "proof"}
    twice = {**signed, "proof": [signed["proof"], signed["proof"]]}
    appended = {**signed, "@context": [CONTEXT, {"title": "https://evil.example/x"}]}
    added = {**signed, "nothing": "unsigned"}
    value = {**signed["proof"], "proofValue": "z" + base58(bytes(63) + b"\1")}
    return [
        ("altered-title", "another title", rfc8785.dumps(title), "signature-invalid"),
        ("unsigned", "no proof", rfc8785.dumps(unsigned), "event-schema"),
        ("proof-set", "two proofs", rfc8785.dumps(twice), "proof-count"),
        (
            "context-appended",
            "attack A: a context after the signed one",
            rfc8785.dumps(appended),
            "proof-context",
        ),
        ("key-added", "attack D: a key that nobody signed", rfc8785.dumps(added), "event-schema"),
        (
            "signature-zero",
            "R and S of zeros",
            rfc8785.dumps({**signed, "proof": value}),
            "signature-invalid",
        ),
        (
            "duplicate-key",
            "two logs",
            data.replace(b'"log":', b'"log":"other.example/x/1","log":', 1),
            "json-duplicate-key",
        ),
        ("space", "a space", data.replace(b",", b", ", 1), "json-not-canonical"),
        ("byte-order-mark", "a mark in front", b"\xef\xbb\xbf" + data, "json-byte-order-mark"),
        ("final-newline", "as editors add it", data + b"\n", "json-not-canonical"),
        ("lone-surrogate", "half a character", data.replace(b"Delivered", b"\\ud800", 1), "json-string"),
        ("unsafe-integer", "2^53+1", data.replace(b'"1843200113"', b"9007199254740993", 1), "json-integer"),
        ("not-a-number", "NaN", data.replace(b'"1843200113"', b"NaN", 1), "json-float"),
        ("cut-off", "the last byte is missing", data[:-1], "json-malformed"),
    ]


def cases() -> list[dict[str, Any]]:
    """Every case."""
    made: list[dict[str, Any]] = []
    for name, body in bodies().items():
        expect = {"data": rfc8785.dumps(sign(body)).decode()}
        given = {"op": "sign", "seed": SEED.hex(), "created": CREATED, "body": body}
        made.append({"id": name, "why": "an event of this kind", "given": given, "expect": expect})

    def refused(name: str, why: str, data: bytes, code: str) -> None:
        given = {"op": "open", "text": data.decode()}
        made.append({"id": name, "why": why, "given": given, "expect": {"error": code}})

    for name, body in bodies().items():
        largest = with_counts(body, str(2**63 - 1))
        if largest == body:
            continue
        expect = {"data": rfc8785.dumps(sign(largest)).decode()}
        given = {"op": "sign", "seed": SEED.hex(), "created": CREATED, "body": largest}
        made.append({"id": f"{name}-counts-63-bits", "why": "2^63-1", "given": given, "expect": expect})
        for number, title in ((2**63, "2^63"), (10**19 - 1, "19 nines, which version 0.1 took")):
            data = rfc8785.dumps(sign(with_counts(body, str(number))))
            refused(f"{name}-counts-{number}", title, data, "event-schema")

    for name, why, change, code in refused_bodies():
        body = copy.deepcopy(bodies()["ingestion"])
        change(body)
        refused(name, why, rfc8785.dumps(sign(body)), code)
    for name, why, options, code in refused_proofs():
        refused(name, why, rfc8785.dumps(sign(bodies()["ingestion"], **options)), code)
    for name, why, data, code in altered(sign(bodies()["ingestion"])):
        refused(name, why, data, code)
    return made


def main() -> None:
    """Write the file."""
    document = {
        "spec": "event/v1",
        "about": "op sign: the body, signed with the seed, becomes expect.data, which opens again; op open:"
        " the UTF-8 bytes of the text are refused. The seed is for tests: do not use it for anything else.",
        "cases": cases(),
    }
    OUT.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
