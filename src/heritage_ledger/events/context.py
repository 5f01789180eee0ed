"""The event context and JSON-LD views of an event, for export and for people who use RDF.

One context URL, bundled with the library and pinned by digest; nothing is ever fetched, and any other
context is refused. No verdict about an event depends on this module's JSON-LD: the signature covers the JSON
bytes. It is the home of PyLD, which is imported at the first expansion.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from heritage_ledger.errors import EvidenceInvalid, HeritageError, OperationFailed
from heritage_ledger.events.vocabulary import CONTEXT_URL
from heritage_ledger.identity.digests import format_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTEXT_DIGEST: Final = "zQmf2qAzDsXHrNDPHJpaapQwz6L3W1eW34W3CJy6D7zQnZ8"
"""SHA-256 multihash of the context file, as events carry it in `relatedResource`."""


def context_bytes() -> bytes:
    """The bundled context file, checked against `CONTEXT_DIGEST`.

    Raises:
        OperationFailed: `context-damaged`, the installation does not hold the published bytes.
    """
    data = files("heritage_ledger.events").joinpath("files", "event-v1.context.json").read_bytes()
    check_context_bytes(data)
    return data


def check_context_bytes(data: bytes) -> None:
    """Check that `data` is the context that events of version 1 are written in.

    Raises:
        OperationFailed: `context-damaged`.
    """
    found = format_sha256(sha256(data).digest())
    if found != CONTEXT_DIGEST:
        raise OperationFailed(
            "context-damaged",
            "the context file is not the published one",
            path="event-v1.context.json",
            expected=CONTEXT_DIGEST,
            found=found,
            advice="install heritage-ledger again",
        )


def check_context_digest(document: Mapping[str, Any]) -> None:
    """Check that a document, which has the form of an event, names the context's true digest.

    Raises:
        EvidenceInvalid: `event-context-digest`.
    """
    found = document["relatedResource"][0]["digestMultibase"]
    if found != CONTEXT_DIGEST:
        raise EvidenceInvalid(
            "event-context-digest",
            "the event was signed under another context file than the published one",
            path="/relatedResource/0/digestMultibase",
            expected=CONTEXT_DIGEST,
            found=found,
            advice="do not read the event's keys as what they seem to say",
        )


def expand_event(document: Mapping[str, Any]) -> list[Any]:
    """JSON-LD expanded form of a document under the event context.

    Raises:
        EvidenceInvalid: `context-unknown`, another context is named; `event-not-linked-data`, a key or a
            relative name would get lost, or JSON-LD has another objection.
    """
    from pyld import jsonld  # noqa: PLC0415 (a tenth of a second that only exports need)

    dropped: list[str] = []
    with _own_errors():
        expanded: list[Any] = jsonld.expand(
            dict(document), _options(), on_property_dropped=lambda *names: dropped.append(repr(names))
        )
    if dropped:
        raise _not_linked_data("the context gives no meaning to a key", dropped[0])
    _check_absolute(expanded)
    return expanded


def event_nquads(document: Mapping[str, Any]) -> str:
    """The event as N-Quads, one statement a line, sorted; the proof is a graph of its own.

    Raises:
        EvidenceInvalid: as `expand_event`.
    """
    from pyld import jsonld  # noqa: PLC0415 (as above)

    expanded = expand_event(document)
    with _own_errors():
        quads: str = jsonld.to_rdf(expanded, {**_options(), "format": "application/n-quads"})
    return "".join(sorted(quads.splitlines(keepends=True)))


def _options() -> dict[str, Any]:
    # Without "base": None the processor makes relative names absolute under an example domain.
    return {"base": None, "documentLoader": _load, "processingMode": "json-ld-1.1"}


def _load(url: str, _options: Mapping[str, Any]) -> dict[str, Any]:
    if url != CONTEXT_URL:
        raise EvidenceInvalid(
            "context-unknown",
            "the document names a context that is not bundled",
            expected=CONTEXT_URL,
            found=ascii(url)[:200],
            advice="nothing is fetched: an event has exactly the bundled context",
        )
    return {
        "contentType": "application/ld+json",
        "contextUrl": None,
        "documentUrl": url,
        "document": json.loads(context_bytes()),
    }


def _check_absolute(expanded: Any) -> None:
    """Refuse relative names: a processor leaves out the statements that hold them, and says nothing."""
    if isinstance(expanded, list):
        for item in expanded:
            _check_absolute(item)
    elif isinstance(expanded, dict):
        types = expanded.get("@type", [])
        for name in [expanded.get("@id", "a:"), *(types if isinstance(types, list) else [types])]:
            if ":" not in name:
                raise _not_linked_data("a name is not absolute", name)
        for value in expanded.values():
            _check_absolute(value)


def _not_linked_data(message: str, found: str) -> EvidenceInvalid:
    return EvidenceInvalid(
        "event-not-linked-data",
        message,
        expected="keys that the context defines, absolute names",
        found=ascii(found)[:200],
        rule=CONTEXT_URL,
    )


@contextmanager
def _own_errors() -> Iterator[None]:
    """Let no error of the processor out; an error of our loader comes out as it went in."""
    try:
        yield
    except EvidenceInvalid:
        raise
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, HeritageError):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise _not_linked_data("the document is not JSON-LD", str(error)) from error
