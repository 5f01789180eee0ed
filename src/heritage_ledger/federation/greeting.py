"""The first signed request to a peer: whether it knows this institution, and what its node calls itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from heritage_ledger.errors import Finding, HeritageError, Severity
from heritage_ledger.federation.notices import CHECKPOINT_NOTICE, PATH, TAKEN
from heritage_ledger.federation.reverse import is_reverse
from heritage_ledger.federation.signing import NOTICE, normal_url
from heritage_ledger.federation.speaking import REFUSED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from heritage_ledger.federation.peers import Peer
    from heritage_ledger.federation.speaking import Speaker

_SAID: Final = 120


def greet(speaker: Speaker, peer: Peer) -> Iterator[Finding]:
    """Yield what should be known after a peer was added; nothing where each knows the other by one name."""
    if is_reverse(peer.url):
        yield _warning(
            "peer-calls-in",
            "this member has no address of its own: its node calls this one",
            path=peer.origin,
            advice="nothing comes from it before both nodes run",
        )
        return
    try:
        yield from _names(speaker, peer)
        answer = speaker.ask(peer, PATH, b"{}", headers={NOTICE: CHECKPOINT_NOTICE})
    except HeritageError as error:
        yield _warning(error.code, error.message, path=error.path, found=error.found, advice=error.advice)
        return
    if answer.status == TAKEN:
        return
    if answer.status == REFUSED:
        yield _warning(
            "peer-unacquainted",
            "the peer takes no signed request of this institution",
            path=peer.url,
            expected="it has added this institution too",
            found=answer.body[:_SAID].decode(errors="replace"),
            advice="give it this node's URL, or the file of `heritage peer card -o FILE`; "
            "if it has added both, compare clocks",
        )
    else:
        yield _warning(
            "peer-answer",
            "the peer answers with something else than it should",
            path=peer.url,
            expected=f"status {TAKEN}",
            found=f"status {answer.status}",
            advice="see whether a proxy stands between",
        )


def _names(speaker: Speaker, peer: Peer) -> Iterator[Finding]:
    answer = speaker.client.ask("GET", f"{peer.url}/api/v1/node")
    try:
        said = json.loads(answer.body)["url"]
        is_same = said is None or normal_url(said.rstrip("/")) == normal_url(peer.url)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # release 0.1 does not say
    if not is_same:
        yield _warning(
            "peer-url-other",
            "the node calls itself otherwise than it was asked for",
            path=peer.url,
            found=ascii(said)[:_SAID],
            advice="add it by that URL, unless it is meant to be reached by two",
        )


def _warning(code: str, message: str, **more: str | None) -> Finding:
    return Finding(code, message, severity=Severity.WARNING, **more)
