"""Laws of canonical bytes, names and events over generated values."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heritage_ledger.errors import EvidenceInvalid, KeyProblem
from heritage_ledger.events.agents import Agent, AgentKind, agent_id, institution_id, software_agent
from heritage_ledger.events.bodies import EventFrame, ingestion_body
from heritage_ledger.events.canonical import MAX_INTEGER, format_canonical, parse_canonical, parse_exact
from heritage_ledger.events.event import open_event, sign_event
from heritage_ledger.events.packages import BagFile, PackageDescription, file_iri, parse_file_iri
from heritage_ledger.events.proof import open_document, sign_document
from heritage_ledger.events.timestamps import format_timestamp, parse_timestamp
from heritage_ledger.identity.didkey import decode_base58btc, encode_base58btc
from heritage_ledger.identity.digests import check_sha512, parse_sha512
from heritage_ledger.identity.keys import Ed25519Signer
from heritage_ledger.identity.sealed import open_key

SIGNER = Ed25519Signer.from_seed(bytes(range(32)))
CREATED = "2026-03-02T11:40:52Z"
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
keys = st.text(st.characters(max_codepoint=127, exclude_characters="\0"), max_size=8)
values = st.recursive(
    texts | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER),
    lambda inner: st.lists(inner, min_size=1, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=20,
)
documents = st.dictionaries(keys, values, max_size=6)
lines = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=60)
paths = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40)


def _code(function, *arguments):
    """The code that a call is refused with, or None."""
    try:
        function(*arguments)
    except (EvidenceInvalid, KeyProblem) as error:
        return error.code
    return None


@given(documents)
def test_canonical_bytes_are_those_of_rfc8785_and_come_back(document):
    data = format_canonical(document)
    assert data == rfc8785.dumps(document)
    assert parse_canonical(data) == document
    assert parse_exact(data) == document


@given(st.binary(max_size=200))
def test_parse_of_any_bytes_gives_one_of_our_errors_or_the_same_bytes(data):
    code = _code(parse_canonical, data)
    if code is None:
        assert format_canonical(parse_canonical(data)) == data
    else:
        assert code.startswith("json-")


@given(documents, st.data())
def test_any_other_spelling_is_refused(document, data):
    canonical = format_canonical(document)
    other = json.dumps(
        document,
        ensure_ascii=data.draw(st.booleans()),
        indent=data.draw(st.sampled_from([None, 0, 2])),
        sort_keys=data.draw(st.booleans()),
    ).encode()
    if other != canonical:
        assert _code(parse_canonical, other) == "json-not-canonical"


@given(st.binary(max_size=90))
def test_base58_round_trip(data):
    text = encode_base58btc(data)
    assert decode_base58btc(text) == data
    assert encode_base58btc(decode_base58btc(text)) == text


@given(
    st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", min_size=88, max_size=88),
    st.sampled_from(["z8V", "z8W", "z8U"]),
)
def test_the_quick_digest_check_agrees_with_the_parser(tail, start):
    text = start + tail
    assert (_code(check_sha512, text) is None) is (_code(parse_sha512, text) is None)


@given(paths)
def test_file_names_round_trip(path):
    iri = file_iri(CID, path)
    assert iri.isascii()
    assert parse_file_iri(iri, CID) == path


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001 (bounds are naive)
def test_timestamps_round_trip_to_the_millisecond(moment):
    cut = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    text = format_timestamp(moment)
    assert parse_timestamp(text) == cut
    assert format_timestamp(parse_timestamp(text)) == text


@settings(max_examples=50)
@given(documents)
def test_any_document_is_signed_and_opened(document):
    document = {key: value for key, value in document.items() if key not in {"proof", "@context"}}
    document["@context"] = ["https://example.org/context"]
    signed = sign_document(document, SIGNER, created=CREATED)
    assert open_document(signed).document == document


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=lines,
    title=st.none() | lines,
    notes=st.lists(lines, max_size=3),
    version=st.integers(1, 999_999_999),
    size=st.integers(0, 2**63),
    manifests=st.lists(paths.filter(lambda path: len(path) < 200), min_size=1, max_size=4),
    digest=st.binary(min_size=64, max_size=64),
)
def test_any_ingestion_comes_back(*, name, title, notes, version, size, manifests, digest):
    origin = "museum.example/ledger/1"
    frame = EventFrame(
        event_id="urn:uuid:00000000-0000-4000-8000-000000000001",
        origin=origin,
        institution=Agent(institution_id(origin), AgentKind.ORGANIZATION, name),
        software=software_agent("0.1.0"),
        started=CREATED,
        ended=CREATED,
        actor=Agent(agent_id(origin, name), AgentKind.PERSON, name),
        notes=tuple(notes),
    )
    package = PackageDescription(
        cid=CID,
        asset_id="ark:12345/x",
        version=version,
        bag_version="1.0",
        cid_profile="unixfs-v1-2025",
        manifests=tuple(BagFile(path, digest) for path in manifests),
        payload_cid=CID,
        payload_size=size,
        payload_files=size,
        title=title,
    )
    data = sign_event(ingestion_body(frame, package), SIGNER, created=CREATED)
    event = open_event(data)
    assert event.package == package
    assert event.actor == replace(frame.actor, acted_for=frame.institution.id)
    assert event.notes == tuple(notes)
    assert format_canonical(dict(event.document)) == data


@given(st.binary(max_size=300))
def test_open_event_of_any_bytes_gives_one_of_our_errors(data):
    assert _code(open_event, data) is not None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["format", "seal", "role", "kind", "public", "secret", "checksum"]),
                inner,
                max_size=7,
            )
        ),
        max_leaves=10,
    )
)
def test_open_key_of_any_json_gives_one_of_our_errors(value):
    assert _code(open_key, json.dumps(value).encode(), b"word") == "key-file-damaged"
