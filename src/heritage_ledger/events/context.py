"""The event context and JSON-LD views of an event, for export and for people who use RDF.

One context URL, bundled with the library and pinned by digest; nothing is ever fetched, and any other
context is refused. No verdict about an event depends on this module's JSON-LD: the signature covers the JSON
bytes. It is the home of PyLD, which is imported at the first expansion.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NoReturn

from heritage_ledger.errors import EvidenceInvalid, OperationFailed
from heritage_ledger.events.digests import format_sha256
from heritage_ledger.events.vocabulary import CONTEXT_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

CONTEXT_DIGEST: Final = "zQmVcaEGmP6Vdpj2DnujH7AUDiLTHiMG2XGrcj2vhA93cn1"
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


def expand_event(document: Mapping[str, Any]) -> list[Any]:
    """JSON-LD expanded form of an event or of a document under the event context.

    Raises:
        EvidenceInvalid: `context-unknown`, another context is named; `event-not-linked-data`, a key or a
            relative name would be dropped, or JSON-LD has another objection.
    """
    processor = _processor()
    dropped: list[str] = []
    expanded: list[Any] = _refusing(
        processor.expand,
        dict(document),
        {**_options(), "base": None},
        on_property_dropped=lambda *names: dropped.append(repr(names)),
    )
    if dropped:
        raise EvidenceInvalid(
            "event-not-linked-data",
            "the context gives no meaning to a key",
            expected="every key to be a term of the context",
            found=dropped[0][:200],
            rule=CONTEXT_URL,
        )
    return expanded


def event_nquads(document: Mapping[str, Any]) -> str:
    """The event as N-Quads, one statement a line, sorted; the proof is a graph of its own.

    Raises:
        EvidenceInvalid: as `expand_event`.
    """
    expanded = expand_event(document)
    quads: str = _refusing(
        _processor().to_rdf, expanded, {**_options(), "base": None, "format": "application/n-quads"}
    )
    return "".join(sorted(quads.splitlines(keepends=True)))


def _options() -> dict[str, Any]:
    return {"documentLoader": _load, "processingMode": "json-ld-1.1"}


def _load(url: str, _options: Mapping[str, Any]) -> dict[str, Any]:
    if url != CONTEXT_URL:
        _refuse_context(url)
    return {
        "contentType": "application/ld+json",
        "contextUrl": None,
        "documentUrl": url,
        "document": json.loads(context_bytes()),
    }


def _refuse_context(url: str) -> NoReturn:
    raise EvidenceInvalid(
        "context-unknown",
        "the document names a context that is not bundled",
        expected=CONTEXT_URL,
        found=ascii(url)[:200],
        advice="nothing is fetched: an event has exactly the bundled context",
    )


def _refusing(function: Any, document: Any, options: Mapping[str, Any], **more: Any) -> Any:
    from pyld.jsonld import JsonLdError  # noqa: PLC0415 (40 ms that only exports need)

    try:
        return function(document, options, **more)
    except (JsonLdError, RecursionError, ValueError, TypeError, KeyError, AttributeError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, EvidenceInvalid):
                raise cause from None
            cause = cause.__cause__ or cause.__context__
        raise EvidenceInvalid(
            "event-not-linked-data", "the document is not JSON-LD", found=ascii(str(error))[:200]
        ) from error


@lru_cache(maxsize=1)
def _processor() -> Any:
    from pyld.jsonld import JsonLdProcessor  # noqa: PLC0415 (as above)

    return JsonLdProcessor()
