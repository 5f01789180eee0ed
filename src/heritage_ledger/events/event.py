"""Events: sign a body, open signed bytes, read what they say (`specs/event.md`).

An event's stored bytes are the canonical bytes of its signed document. `open_event` is the one way from
bytes to an `Event`; what it does not judge is whether the key was the institution's at that place in the log
(`heritage_ledger.identity.history`) and whether the event stands in the log (its inclusion proof).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import EvidenceInvalid, Finding, Severity, UsageError
from heritage_ledger.events.agents import Agent, parse_agent
from heritage_ledger.events.canonical import check_profile, format_canonical, parse_exact
from heritage_ledger.events.context import check_context_digest
from heritage_ledger.events.packages import (
    PackageDescription,
    parse_file_iri,
    parse_package,
    parse_package_name,
)
from heritage_ledger.events.proof import check_proof_shape, open_profiled, sign_document
from heritage_ledger.events.schema import check_schema
from heritage_ledger.events.timestamps import parse_timestamp
from heritage_ledger.identity.digests import check_sha512, parse_sha256

if TYPE_CHECKING:
    from collections.abc import Mapping

    from heritage_ledger.identity.keys import Ed25519Signer


MAX_COUNT: Final = 2**63 - 1
"""The largest number in an event; the schema says the same."""
_COUNTS: Final = frozenset({"size", "fileCount", "byteCount", "packageCount", "failureCount", "maxBytes"})
_NINETEEN: Final = re.compile("[1-9][0-9]{18}")


@dataclass(frozen=True, slots=True)
class Event:
    """An event whose form and signature hold.

    `data` are its stored bytes, `document` the signed document that they spell (not to be changed), and
    `verification_key` the 32-byte Ed25519 key that signed it. Times are the texts in the event.
    """

    data: bytes
    document: Mapping[str, Any] = field(repr=False, compare=False)
    verification_key: bytes
    oversized: tuple[str, ...] = ()
    """Places of counts beyond 63 bits: only in what `open_logged` returns."""

    @property
    def id(self) -> str:
        """The event's `urn:uuid:…`."""
        return self._text("id")

    @property
    def types(self) -> tuple[str, ...]:
        """Type terms in their order; `PreservationEvent` first, `Activity` last."""
        return tuple(self.document["type"])

    @property
    def origin(self) -> str:
        """The origin of the log that the event was written for."""
        return self._text("log")

    @property
    def created(self) -> str:
        """When the signer says that it signed."""
        created: str = self.document["proof"]["created"]
        return created

    @property
    def started(self) -> str:
        """When the act began."""
        return self._text("startedAt")

    @property
    def ended(self) -> str:
        """When the act ended; not before it began."""
        return self._text("endedAt")

    @property
    def agents(self) -> tuple[Agent, ...]:
        """Everyone involved, in the event's order."""
        return tuple(parse_agent(node) for node in self.document["agents"])

    @property
    def institution(self) -> Agent:
        """Who authorised the act."""
        return self._agent(self._text("authorizer"))

    @property
    def actor(self) -> Agent | None:
        """Who carried it out; None where the event names nobody beside institution and software."""
        name = self.document.get("implementer")
        return None if name is None else self._agent(name)

    @property
    def software(self) -> Agent:
        """The program that executed it."""
        return self._agent(self._text("executingProgram"))

    @property
    def outcome(self) -> str | None:
        """`success`, `warning` or `failure`; None where the kind of event has no outcome."""
        return self.document.get("outcome")

    @property
    def outcome_note(self) -> str | None:
        """What the outcome means, in words."""
        return self.document.get("outcomeNote")

    @property
    def findings(self) -> tuple[str, ...]:
        """Codes of the findings that led to the outcome."""
        return tuple(self.document.get("findings", ()))

    @property
    def notes(self) -> tuple[str, ...]:
        """Free text of the people who acted."""
        return tuple(self.document.get("notes", ()))

    @property
    def package(self) -> PackageDescription | None:
        """The package that the event describes: taken in by ingestion or adoption."""
        node = _package_node(self.document)
        return None if node is None else parse_package(node)

    @property
    def package_cids(self) -> tuple[str, ...]:
        """CID texts of every package that the event names, described or not."""
        node = _package_node(self.document)
        nodes = self.document.get("used", ()) if node is None else (node,)
        return tuple(parse_package_name(item) for item in nodes)

    @property
    def package_cid(self) -> str | None:
        """CID text of the described package."""
        node = _package_node(self.document)
        return None if node is None else parse_package_name(node)

    @property
    def payload_cid(self) -> str | None:
        """CID text of the described package's payload directory."""
        node = _package_node(self.document)
        return None if node is None else parse_package_name(node["payload"])

    @property
    def asset_id(self) -> str | None:
        """URI of the asset that the described package is a version of."""
        node = _package_node(self.document)
        return None if node is None else node["asset"]["id"]

    @property
    def title(self) -> str | None:
        """The asset's title, as this event gives it."""
        node = _package_node(self.document)
        return None if node is None else node["asset"].get("title")

    @property
    def version(self) -> int | None:
        """Version of the asset, counted from 1."""
        node = _package_node(self.document)
        return None if node is None else int(node["version"])

    def _text(self, key: str) -> str:
        text: str = self.document[key]
        return text

    def _agent(self, name: str) -> Agent:
        return next(parse_agent(node) for node in self.document["agents"] if node["id"] == name)


def sign_event(body: Mapping[str, Any], signer: Ed25519Signer, *, created: str) -> bytes:
    """The stored bytes of a new event: `body` with a proof by `signer`, in canonical form.

    Raises:
        UsageError: `event-body-invalid`, the body is not that of an event; `found` says why.
    """
    try:
        signed = sign_document(body, signer, created=created)
        data = format_canonical(signed)
        check_schema(signed)
        _check_content(signed)
    except EvidenceInvalid as error:
        raise UsageError(
            "event-body-invalid",
            f"the event cannot be written: {error.message}",
            path=error.path,
            expected=error.expected,
            found=error.found,
            advice=error.advice,
            findings=(error.finding,),
        ) from error
    return data


def open_event(data: bytes) -> Event:
    """The event that `data` is, if its form, its context and its signature hold.

    Raises:
        EvidenceInvalid: a `json-…` code, `event-schema`, `event-context-digest`, `event-agents`,
            `event-times`, `event-file-name`, `digest-invalid`, `timestamp-invalid`, or a code of
            `heritage_ledger.events.proof.open_document`.
    """
    document = parse_exact(data)
    _check_form(document, document)
    return _opened(data, document, ())


def open_logged(data: bytes) -> Event:
    """The same for an entry of a log: a count beyond 63 bits is named in `oversized` and not refused.

    Version 0.1 signed and took counts of 19 digits; what stands in a log stays readable for ever. Nobody may
    reserve, fetch or index by such a number.

    Raises:
        EvidenceInvalid: as `open_event`.
    """
    document = parse_exact(data)
    fitting, oversized = _fitting(document)
    _check_form(fitting if oversized else document, document)
    return _opened(data, document, oversized)


def oversized_finding(index: int, event: Event) -> Finding:
    """The warning about an entry of a log with a count beyond 63 bits."""
    return Finding(
        "event-number",
        "an event has a count that nothing can hold; it is kept and shown, and nothing is done by it",
        f"entry {index}{', '.join(event.oversized)}",
        expected=f"at most {MAX_COUNT}",
        advice="ask the institution what it meant; the entry itself is in the log for ever",
        rule="specs/event.md",
        severity=Severity.WARNING,
    )


def _check_form(checked: dict[str, Any], document: dict[str, Any]) -> None:
    try:
        check_schema(checked)
    except EvidenceInvalid:
        # Say the better-known reason where there is one.
        check_profile(document)
        if "proof" in document:
            check_proof_shape(document["proof"], document)
        raise


def _opened(data: bytes, document: dict[str, Any], oversized: tuple[str, ...]) -> Event:
    opened = open_profiled(document)
    _check_content(document)
    return Event(data, document, opened.verification_key, oversized)


def _fitting(value: Any, path: str = "", name: str = "") -> tuple[Any, tuple[str, ...]]:
    """Return `value` with every count beyond 63 bits made the largest that fits, and where those stood."""
    if isinstance(value, str):
        is_large = name in _COUNTS and _NINETEEN.fullmatch(value) and int(value) > MAX_COUNT
        return (str(MAX_COUNT), (path,)) if is_large else (value, ())
    if isinstance(value, dict):
        found = {key: _fitting(child, f"{path}/{key}", key) for key, child in value.items()}
        places = tuple(place for _, some in found.values() for place in some)
        return {key: child for key, (child, _) in found.items()}, places
    return value, ()  # no list of an event holds a count


def check_origin(event: Event, origin: str) -> None:
    """Check that the event was written for the log `origin`, and is not replayed from another.

    Raises:
        EvidenceInvalid: `event-other-log`.
    """
    if event.origin != origin:
        raise EvidenceInvalid(
            "event-other-log",
            "the event was written for another log",
            path="/log",
            expected=origin,
            found=event.origin,
            advice="trust neither this log's claim to the event nor the event's place in it",
        )


def _check_content(document: Mapping[str, Any]) -> None:
    """What a schema cannot say: values that must agree with each other."""
    check_context_digest(document)
    started, ended = parse_timestamp(document["startedAt"]), parse_timestamp(document["endedAt"])
    if started > ended:
        raise EvidenceInvalid(
            "event-times",
            "the act ended before it began",
            path="/endedAt",
            expected=f"{document['startedAt']} or later",
            found=document["endedAt"],
            rule="PROV-CONSTRAINTS, constraint 30",
        )
    names = [agent["id"] for agent in document["agents"]]
    roles = {document["authorizer"], document["executingProgram"], document.get("implementer", names[0])}
    if len(set(names)) != len(names) or not roles.issubset(names):
        raise EvidenceInvalid(
            "event-agents",
            "the roles and the agents do not fit",
            path="/agents",
            expected="each agent once, and every role played by one of them",
            found=ascii(names)[:200],
        )
    if (node := _package_node(document)) is not None:
        _check_package(node)
    elif "nextKeyDigests" in document:
        for digest in document["nextKeyDigests"]:
            parse_sha256(digest)
    else:
        if "generated" in document:
            check_sha512(document["generated"]["digestMultibase"])
        if "until" in document:
            parse_timestamp(document["until"])
        for failure in document.get("failures", ()):
            parse_file_iri(failure["id"], failure["id"].split("/")[2])


def _check_package(node: Mapping[str, Any]) -> None:
    cid = parse_package_name(node)
    for file in (*node["manifests"], *((node["metadata"],) if "metadata" in node else ())):
        parse_file_iri(file["id"], cid)
        check_sha512(file["digestMultibase"])


def _package_node(document: Mapping[str, Any]) -> Any:
    for key in ("generated", "used"):
        node = document.get(key)
        if isinstance(node, dict) and "payload" in node:
            return node
    return None
