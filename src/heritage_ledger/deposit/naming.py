"""Names that people give: assets, titles, and who acted. Checked before any work begins."""

from __future__ import annotations

import re
import uuid
from typing import Final

from heritage_ledger.errors import UsageError
from heritage_ledger.events.agents import Agent, AgentKind, agent_id
from heritage_ledger.events.vocabulary import IRI_SCHEMES

MAX_ASSET: Final = 1024
"""Characters in an asset's URI."""
MAX_TITLE: Final = 500
"""Characters in a title: it stands in the event and in bag-info.txt."""
MAX_NAME: Final = 200
"""Characters in an agent's name."""

_IRI: Final = re.compile(
    r"(?:ark:|did:|doi:|hdl:|https?://|info:|ipfs://|ni:///|pkg:|urn:)[!#$%&'()*+,./0-9:;=?@A-Z_a-z~-]+"
)
"""As the event schema has it."""
_AGENT: Final = re.compile(r"(?P<name>[^<>]*[^<>\s])\s*(?:<(?P<id>[^<>\s]+)>)?")
_SOFTWARE: Final = "pkg:"


def new_asset() -> str:
    """Return a URI for an asset that nobody named."""
    return f"urn:uuid:{uuid.uuid4()}"


def is_iri(text: str) -> bool:
    """Say whether `text` is an absolute URI of a scheme that events may name."""
    return len(text) <= MAX_ASSET and _IRI.fullmatch(text) is not None


def check_asset(asset: str) -> None:
    """Raise `UsageError` (`asset-invalid`) unless `asset` is an absolute URI of a known scheme."""
    if not is_iri(asset):
        raise UsageError(
            "asset-invalid",
            "the asset's name cannot be used",
            expected=f"an absolute URI of at most {MAX_ASSET} ASCII characters ({', '.join(IRI_SCHEMES)})",
            found=repr(asset[:120]),
            advice="give a URI of the institution's own, or leave --asset out and get a urn:uuid",
        )


def is_title(title: str) -> bool:
    """Say whether `title` is one line of 1 to 500 printable characters."""
    return 1 <= len(title) <= MAX_TITLE and title.isprintable() and title == title.strip()


def check_title(title: str) -> None:
    """Raise `UsageError` (`title-invalid`) unless `title` can be used."""
    if not is_title(title):
        raise UsageError(
            "title-invalid",
            "the title cannot be used",
            expected=f"1 to {MAX_TITLE} printable characters, no space at either end",
            found=repr(title[:80]),
        )


def parse_agent(text: str, origin: str) -> Agent:
    """Return who is meant by `Name` or `Name <URI>`.

    A `pkg:` URI names software, any other a person; without a URI the name stands for a person known to the
    institution under it.

    Raises:
        UsageError: it is neither (`agent-invalid`).
    """
    match = _AGENT.fullmatch(text.strip())
    name, name_id = (match["name"], match["id"]) if match else ("", None)
    if not name.isprintable() or not 1 <= len(name) <= MAX_NAME or (name_id and not is_iri(name_id)):
        raise UsageError(
            "agent-invalid",
            "it is not clear who acted",
            expected="Name, or Name <URI>, as in: Ada Example <https://museum.example/staff/7>",
            found=repr(text[:120]),
        )
    is_software = name_id is not None and name_id.startswith(_SOFTWARE)
    return Agent(
        name_id or agent_id(origin, name), AgentKind.SOFTWARE if is_software else AgentKind.PERSON, name
    )
