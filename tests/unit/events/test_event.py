"""Events: what is signed is what is read, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha512

import pytest

from heritage_ledger.errors import EvidenceInvalid, UsageError
from heritage_ledger.events.agents import AgentKind
from heritage_ledger.events.bodies import (
    MAX_FAILURES,
    MAX_PACKAGE_NAMES,
    FileFailure,
    FixityReport,
    adoption_body,
    dissemination_body,
    fixity_check_body,
    genesis_body,
    ingestion_body,
    pledge_body,
    recovery_body,
    replication_body,
)
from heritage_ledger.events.canonical import MAX_SIZE
from heritage_ledger.events.event import check_origin, open_event, sign_event
from heritage_ledger.identity.history import KeyHistory

CREATED = "2026-03-02T11:40:52Z"
VKEY = "museum.example/ledger/1+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
REPORT = FixityReport("urn:uuid:6f1b9a52-8f0b-4d0a-9f0e-0d7b4e1c2a13", sha512(b"report").digest(), 20_480)


def _opened(body, signer):
    return open_event(sign_event(body, signer, created=CREATED))


def test_an_ingestion_says_what_was_given(frame, package, signer):
    event = _opened(ingestion_body(frame, package), signer)
    assert event.package == package
    assert event.verification_key == signer.public
    assert (event.id, event.origin, event.created) == (frame.event_id, frame.origin, CREATED)
    assert (event.started, event.ended) == (frame.started, frame.ended)
    assert (event.asset_id, event.title, event.version) == (package.asset_id, package.title, 2)
    assert (event.package_cid, event.payload_cid) == (package.cid, package.payload_cid)
    assert event.package_cids == (package.cid,)
    assert (event.outcome, event.findings, event.notes) == ("success", (), frame.notes)
    assert event.types[0] == "PreservationEvent"
    assert event.types[-1] == "Activity"


def test_agents_are_institution_person_and_software(frame, package, signer):
    event = _opened(ingestion_body(frame, package), signer)
    assert [agent.kind for agent in event.agents] == [
        AgentKind.ORGANIZATION,
        AgentKind.PERSON,
        AgentKind.SOFTWARE,
    ]
    assert event.institution == frame.institution
    assert event.actor == replace(frame.actor, acted_for=frame.institution.id)
    assert event.software == replace(frame.software, acted_for=frame.institution.id)


def test_an_institution_that_acts_itself_is_one_agent(frame, package, signer):
    event = _opened(ingestion_body(replace(frame, actor=frame.institution), package), signer)
    assert event.actor == event.institution
    assert len(event.agents) == 2


def test_an_ingestion_needs_an_actor(frame, package, signer):
    with pytest.raises(UsageError, match="implementer"):
        _opened(ingestion_body(replace(frame, actor=None), package), signer)


def test_the_least_package_survives(frame, package, signer):
    least = replace(package, title=None, previous_cid=None, original_name=None, metadata=None)
    assert _opened(ingestion_body(frame, least), signer).package == least


def test_an_adoption_tells_its_warnings_once_and_in_order(frame, package, signer):
    body = adoption_body(
        frame, package, findings=["b-two", "a-one", "b-two"], outcome_note="read the findings"
    )
    event = _opened(body, signer)
    assert event.package == package
    assert (event.outcome, event.findings) == ("warning", ("a-one", "b-two"))
    assert event.outcome_note == "read the findings"


def test_an_adoption_without_warnings_is_a_success(frame, package, signer):
    event = _opened(adoption_body(frame, package), signer)
    assert (event.outcome, event.findings, event.outcome_note) == ("success", (), None)


def test_a_genesis_begins_a_key_history(frame, signer):
    digests = [bytes([number]) * 32 for number in range(3)]
    body = genesis_body(
        replace(frame, actor=None),
        event_key=signer.public,
        log_keys=[VKEY],
        witness_keys=[VKEY],
        node_key=signer.public,
        next_key_digests=digests,
    )
    event = _opened(body, signer)
    assert event.actor is None
    assert event.package is None
    assert (event.package_cid, event.asset_id, event.version, event.package_cids) == (None, None, None, ())
    history = KeyHistory.from_genesis(event.document, verification_key=event.verification_key)
    assert history.origin == frame.origin
    assert history.key_at(0).next_key_digests == tuple(digests)
    assert history.key_at(7).log_keys == (VKEY,)


def test_federation_events_name_their_package_and_logs(frame, package, signer):
    frame = replace(frame, actor=None)
    other = "archive.example/ledger/1"
    pledge = _opened(pledge_body(frame, source=other, until="2036-01-01T00:00:00Z"), signer)
    assert pledge.package_cids == ()
    assert {"assets", "maxBytes"}.isdisjoint(pledge.document)
    words = {"package_cid": package.cid, "source": other}
    replica = _opened(replication_body(frame, **words, helpers=[other], file_count=2, byte_count=3), signer)
    lost = [FileFailure(package.cid, "data/a", ("repair-no-source",))]
    outcomes = [
        _opened(
            recovery_body(
                frame,
                **words,
                helpers=[],
                file_count=files,
                byte_count=9,
                failures=failures,
                is_whole=not failures,
            ),
            signer,
        ).outcome
        for files, failures in ((1, []), (1, lost), (0, lost))
    ]
    assert outcomes == ["success", "warning", "failure"]
    given = _opened(dissemination_body(frame, **words, recipient=other, byte_count=9), signer)
    assert replica.package_cids == given.package_cids == (package.cid,)
    assert replica.package_cid is None


@pytest.mark.parametrize("until", ["2036-02-30T00:00:00Z", "2036-01-01", ""])
def test_a_pledge_ends_at_a_time_that_exists(frame, signer, until):
    body = pledge_body(replace(frame, actor=None), source="archive.example/ledger/1", until=until)
    with pytest.raises(UsageError):
        sign_event(body, signer, created=frame.ended)


def test_a_fixity_check_counts_all_and_names_some(frame, package, signer):
    failures = [
        FileFailure(package.cid, f"data/{n} é%.bin", ("payload-digest",)) for n in range(MAX_FAILURES + 1)
    ]
    body = fixity_check_body(
        frame,
        outcome="failure",
        package_cids=[package.cid],
        file_count=500,
        byte_count=10**12,
        failures=failures,
        report=REPORT,
    )
    event = _opened(body, signer)
    assert event.document["failureCount"] == "101"
    assert len(event.document["failures"]) == MAX_FAILURES
    assert event.package_cids == (package.cid,)
    assert event.package is None


def test_long_names_of_failures_never_overfill_an_event(frame, package, signer):
    failures = [
        FileFailure(package.cid, f"data/{n}" + "é" * 500, ("payload-digest",)) for n in range(MAX_FAILURES)
    ]
    body = fixity_check_body(
        frame,
        outcome="failure",
        package_cids=[package.cid] * MAX_PACKAGE_NAMES,
        file_count=1,
        byte_count=1,
        failures=failures,
        report=REPORT,
    )
    event = _opened(body, signer)
    assert 0 < len(event.document["failures"]) < MAX_FAILURES
    assert len(event.data) < MAX_SIZE


def test_a_run_over_too_many_packages_names_none(frame, package, signer):
    body = fixity_check_body(
        frame,
        outcome="success",
        package_cids=[package.cid] * (MAX_PACKAGE_NAMES + 1),
        file_count=1,
        byte_count=1,
        failures=[],
        report=REPORT,
    )
    event = _opened(body, signer)
    assert event.package_cids == ()
    assert event.document["packageCount"] == "257"


def test_an_event_of_one_log_is_not_one_of_another(body, signer):
    event = _opened(body, signer)
    check_origin(event, "museum.example/ledger/1")
    with pytest.raises(EvidenceInvalid) as caught:
        check_origin(event, "museum.example/ledger/2")
    assert caught.value.code == "event-other-log"


def test_the_same_body_always_gives_the_same_bytes(body, signer):
    assert sign_event(body, signer, created=CREATED) == sign_event(body, signer, created=CREATED)


def test_every_bit_is_signed(body, signer):
    """One flipped bit anywhere is noticed: no byte of an event means nothing."""
    data = sign_event(body, signer, created=CREATED)
    for place in range(len(data)):
        flipped = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        with pytest.raises(EvidenceInvalid):
            open_event(flipped)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"title": "two\nlines"}, "event-schema"),
        ({"title": "half \ud800"}, "json-string"),
        ({"title": "x" * 1001}, "event-schema"),
        ({"version": 0}, "event-schema"),
        ({"manifests": ()}, "json-empty-array"),
        ({"asset_id": "object 12"}, "event-schema"),
        ({"cid": "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKn8QZ"}, "event-schema"),
    ],
)
def test_a_wrong_body_is_a_usage_error_that_says_why(frame, package, signer, change, cause):
    with pytest.raises(UsageError) as caught:
        sign_event(ingestion_body(frame, replace(package, **change)), signer, created=CREATED)
    assert caught.value.code == "event-body-invalid"
    assert [finding.code for finding in caught.value.findings] == [cause]


def test_the_largest_event_is_taken_and_one_byte_more_is_not(frame, package, signer):
    notes = tuple(f"{n:02}" + "x" * 3998 for n in range(15))
    room = MAX_SIZE - len(
        sign_event(ingestion_body(replace(frame, notes=(*notes, "y")), package), signer, created=CREATED)
    )
    assert 0 < room < 4000
    full = sign_event(
        ingestion_body(replace(frame, notes=(*notes, "y" * (room + 1))), package), signer, created=CREATED
    )
    assert len(full) == MAX_SIZE
    open_event(full)
    with pytest.raises(UsageError) as caught:
        sign_event(
            ingestion_body(replace(frame, notes=(*notes, "y" * (room + 2))), package), signer, created=CREATED
        )
    assert caught.value.findings[0].code == "json-too-large"


def test_a_schema_error_names_the_place_and_what_was_expected(body, signer):
    body["generated"]["payload"]["size"] = "many"
    with pytest.raises(UsageError) as caught:
        sign_event(body, signer, created=CREATED)
    assert caught.value.path == "/generated/payload/size"
    assert "pattern" in caught.value.expected
    assert caught.value.found == "'many'"
