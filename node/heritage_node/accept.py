"""Which media types a client takes, and in which order it likes them (RFC 9110 §12.5.1).

The standard library cuts the lists and the quoted parameters; here are weights and order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING
from urllib.request import parse_http_list

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import web

ANY = "*/*"
"""What takes everything."""


@dataclass(frozen=True, slots=True)
class MediaRange:
    """A media type, or a range of them, that a client takes: lower case, parameters without quotes."""

    kind: str
    parameters: Mapping[str, str]
    weight: float


def parse_accept(lines: Iterable[str]) -> list[MediaRange]:
    """Return what the lines of Accept name, what is liked best first; equal weights in the client's order.

    What has weight 0 is not taken, and is left out. What is no weight counts as 1, as no parameter does.

    >>> [one.kind for one in parse_accept(["text/html;q=0.5, a/b", 'c/d;v="1,0"', "e/f;q=0"])]
    ['a/b', 'c/d', 'text/html']
    """
    found = [_parse_range(part) for part in parse_http_list(", ".join(lines)) if part.strip()]
    return sorted((one for one in found if one.weight > 0), key=lambda one: -one.weight)


def accepted(request: web.Request) -> list[MediaRange]:
    """The media ranges of a request; a request that names none takes everything."""
    lines = request.headers.getall("Accept", ())
    return parse_accept(lines) if any(map(str.strip, lines)) else [MediaRange(ANY, {}, 1.0)]


def _parse_range(part: str) -> MediaRange:
    message = Message()
    message["Content-Type"] = part
    (kind, _), *pairs = message.get_params() or [(part, "")]
    parameters = {name.lower(): value for name, value in pairs if isinstance(value, str)}
    weight = parameters.pop("q", "1")
    try:
        number = min(1.0, max(0.0, float(weight)))
    except ValueError:
        number = 1.0
    return MediaRange(kind.strip().lower(), parameters, 1.0 if math.isnan(number) else number)
