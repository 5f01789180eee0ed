"""Bodies of events, before they are signed: pure builders, one per kind of event (`specs/event.md`).

Everything comes in from the caller, also the event's id and its times; a body says nothing that the caller
did not. `sign_event` judges the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.events.agents import Agent, format_agent
from heritage_ledger.events.context import CONTEXT_DIGEST
from heritage_ledger.events.packages import (
    PackageDescription,
    file_iri,
    format_package,
    format_package_name,
)
from heritage_ledger.events.vocabulary import (
    ADOPTION,
    CONTEXT_URL,
    DISSEMINATION,
    FIXITY_CHECK,
    GENESIS,
    INGESTION,
    PLEDGE,
    RECOVERY,
    REPLICATION,
)
from heritage_ledger.identity.didkey import format_verification_method
from heritage_ledger.identity.digests import format_sha256, format_sha512

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_FAILURES: Final = 100
"""Failures named in one event; the report names them all."""
MAX_FAILURE_BYTES: Final = 32_768
"""Bytes of names in that list: half of what an event may weigh."""
MAX_PACKAGE_NAMES: Final = 256
"""Packages named in one fixity event: 20 KiB; a run over more names them in its report alone."""


@dataclass(frozen=True, slots=True)
class EventFrame:
    """What every event says: its id, its log, who was involved, and when.

    `event_id` is a `urn:uuid:…`; `started` and `ended` are UTC times. `institution` authorised the act,
    `actor` carried it out (a person, a program or the institution itself) and `software` executed it.
    """

    event_id: str
    origin: str
    institution: Agent
    software: Agent
    started: str
    ended: str
    actor: Agent | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FileFailure:
    """One file that failed a fixity check: its package's CID, its path in the bag, codes of findings."""

    package_cid: str
    path: str
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FixityReport:
    """The full report of a run, kept outside the log: an IRI, the SHA-512 of its bytes, their number."""

    iri: str
    sha512: bytes
    size: int


def genesis_body(
    frame: EventFrame,
    *,
    event_key: bytes,
    log_keys: Sequence[str],
    witness_keys: Sequence[str],
    node_key: bytes,
    next_key_digests: Iterable[bytes],
) -> dict[str, Any]:
    """Entry 0 of a log.

    `event_key` is the 32-byte Ed25519 key that signs it, `log_keys` are the checkpoint keys and
    `witness_keys` those that cosign others' checkpoints, as C2SP verifier keys; `node_key` is the Ed25519 key
    that signs requests to other nodes; `next_key_digests` are SHA-256 digests of the text forms of the keys
    to come.
    """
    return {
        **_head(frame, GENESIS),
        "eventKey": format_verification_method(event_key),
        "logKeys": list(log_keys),
        "nodeKey": format_verification_method(node_key),
        "witnessKeys": list(witness_keys),
        "nextKeyDigests": [format_sha256(digest) for digest in next_key_digests],
    }


def ingestion_body(frame: EventFrame, package: PackageDescription) -> dict[str, Any]:
    """A package was made from files, and its digests computed; `frame.actor` must be given."""
    return {**_head(frame, INGESTION), "generated": format_package(package), "outcome": "success"}


def adoption_body(
    frame: EventFrame,
    package: PackageDescription,
    *,
    findings: Iterable[str] = (),
    outcome_note: str | None = None,
) -> dict[str, Any]:
    """A bag made elsewhere was validated and taken in unchanged; `frame.actor` must be given.

    `findings` are codes of the warnings that validation gave; with any, the outcome is `warning`.
    """
    codes = sorted(set(findings))
    body = {
        **_head(frame, ADOPTION),
        "used": format_package(package),
        "outcome": "warning" if codes else "success",
    }
    if codes:
        body["findings"] = codes
    if outcome_note is not None:
        body["outcomeNote"] = outcome_note
    return body


def fixity_check_body(
    frame: EventFrame,
    *,
    outcome: str,
    package_cids: Sequence[str],
    file_count: int,
    byte_count: int,
    failures: Sequence[FileFailure],
    report: FixityReport,
    outcome_note: str | None = None,
) -> dict[str, Any]:
    """One run of a fixity check over packages.

    `outcome` is `success`, `warning` or `failure`. All packages and failures are counted; they are named
    as far as `MAX_PACKAGE_NAMES`, `MAX_FAILURES` and `MAX_FAILURE_BYTES` allow, and in the report.
    """
    body = {
        **_head(frame, FIXITY_CHECK),
        "packageCount": str(len(package_cids)),
        "fileCount": str(file_count),
        "byteCount": str(byte_count),
        "failureCount": str(len(failures)),
        "generated": {
            "id": report.iri,
            "type": "File",
            "digestMultibase": format_sha512(report.sha512),
            "size": str(report.size),
        },
        "outcome": outcome,
    }
    if 0 < len(package_cids) <= MAX_PACKAGE_NAMES:
        body["used"] = [format_package_name(cid) for cid in package_cids]
    if failures:
        body["failures"] = _named_failures(failures)
    if outcome_note is not None:
        body["outcomeNote"] = outcome_note
    return body


def pledge_body(
    frame: EventFrame,
    *,
    source: str,
    until: str,
    assets: Sequence[str] = (),
    max_bytes: int | None = None,
) -> dict[str, Any]:
    """A promise to hold replicas of packages from the log `source` until a time; a later one replaces it.

    Without `assets` all of them are meant; `max_bytes` bounds their payloads together.
    """
    body = {**_head(frame, PLEDGE), "sourceLog": source, "until": until}
    if assets:
        body["assets"] = list(assets)
    if max_bytes is not None:
        body["maxBytes"] = str(max_bytes)
    return body


def replication_body(
    frame: EventFrame,
    *,
    package_cid: str,
    source: str,
    helpers: Sequence[str],
    file_count: int,
    byte_count: int,
) -> dict[str, Any]:
    """A verified copy of a package from the log `source` is held; `helpers` are the logs of who gave it."""
    return {
        **_head(frame, REPLICATION),
        "used": [format_package_name(package_cid)],
        "sourceLog": source,
        "helperLogs": list(helpers),
        "fileCount": str(file_count),
        "byteCount": str(byte_count),
        "outcome": "success",
    }


def recovery_body(
    frame: EventFrame,
    *,
    package_cid: str,
    source: str,
    helpers: Sequence[str],
    file_count: int,
    byte_count: int,
    failures: Sequence[FileFailure],
    is_whole: bool,
) -> dict[str, Any]:
    """Files of a damaged package were made whole again, from `byte_count` bytes that `helpers` gave.

    `failures` are the files that nobody could give back; all are counted, and named as far as there is room.
    `is_whole` says whether the package was found whole afterwards: else it is no success, whatever is named.
    """
    outcome = "success" if is_whole and not failures else "warning" if file_count else "failure"
    body = {
        **_head(frame, RECOVERY),
        "used": [format_package_name(package_cid)],
        "sourceLog": source,
        "fileCount": str(file_count),
        "byteCount": str(byte_count),
        "failureCount": str(len(failures)),
        "outcome": outcome,
    }
    if helpers:
        body["helperLogs"] = list(helpers)
    if failures:
        body["failures"] = _named_failures(failures)
    return body


def dissemination_body(
    frame: EventFrame, *, package_cid: str, source: str, recipient: str, byte_count: int
) -> dict[str, Any]:
    """Blocks of a package of the log `source` were given to the institution `recipient` for its repair."""
    return {
        **_head(frame, DISSEMINATION),
        "used": [format_package_name(package_cid)],
        "sourceLog": source,
        "recipientLog": recipient,
        "byteCount": str(byte_count),
        "outcome": "success",
    }


def _head(frame: EventFrame, types: Sequence[str]) -> dict[str, Any]:
    head: dict[str, Any] = {
        "@context": [CONTEXT_URL],
        "id": frame.event_id,
        "type": list(types),
        "log": frame.origin,
        "relatedResource": [{"id": CONTEXT_URL, "digestMultibase": CONTEXT_DIGEST}],
        "agents": [format_agent(agent) for agent in _agents(frame)],
        "authorizer": frame.institution.id,
        "executingProgram": frame.software.id,
        "startedAt": frame.started,
        "endedAt": frame.ended,
    }
    if frame.actor is not None:
        head["implementer"] = frame.actor.id
    if frame.notes:
        head["notes"] = list(frame.notes)
    return head


def _agents(frame: EventFrame) -> list[Agent]:
    """Every agent once; who says nothing else acted for the institution."""
    agents = {frame.institution.id: frame.institution}
    for agent in (frame.actor, frame.software):
        if agent is not None and agent.id not in agents:
            agents[agent.id] = replace(agent, acted_for=agent.acted_for or frame.institution.id)
    return list(agents.values())


def _named_failures(failures: Sequence[FileFailure]) -> list[dict[str, Any]]:
    named: list[dict[str, Any]] = []
    room = MAX_FAILURE_BYTES
    for failure in failures[:MAX_FAILURES]:
        iri = file_iri(failure.package_cid, failure.path)
        room -= len(iri)
        if room < 0:
            break
        named.append({"id": iri, "type": "File", "findings": sorted(set(failure.findings))})
    return named
