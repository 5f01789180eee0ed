"""Who acts in an event: institutions, people, software (PREMIS 3 and PROV-O agents).

>>> origin = "museum.example/ledger/1"
>>> person = Agent(agent_id(origin, "Ada"), AgentKind.PERSON, "Ada", acted_for=institution_id(origin))
>>> person.id
'https://museum.example/ledger/1#agent/Ada'
>>> parse_agent(format_agent(person)) == person
True
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Mapping


class AgentKind(Enum):
    """What an agent is; the value is the type term in the event."""

    ORGANIZATION = "Organization"
    PERSON = "Person"
    SOFTWARE = "SoftwareAgent"


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent.

    `id` is an absolute IRI, `name` one line of at most 200 characters, `version` that of software,
    `acted_for` the IRI of the agent on whose behalf this one acted.
    """

    id: str
    kind: AgentKind
    name: str
    version: str | None = None
    acted_for: str | None = None


def institution_id(origin: str) -> str:
    """The IRI of the institution that keeps the log `origin`; it need not resolve."""
    return f"https://{origin}#institution"


def agent_id(origin: str, name: str) -> str:
    """An IRI for a person or program that has no better one: the same name, the same IRI, in one log."""
    return f"https://{origin}#agent/{quote(name, safe='')}"


def software_agent(version: str) -> Agent:
    """This software in the given version, named by its package URL."""
    return Agent(
        f"pkg:pypi/heritage-ledger@{quote(version, safe='')}", AgentKind.SOFTWARE, "heritage-ledger", version
    )


def format_agent(agent: Agent) -> dict[str, Any]:
    """The agent as a node of an event."""
    node: dict[str, Any] = {"id": agent.id, "type": agent.kind.value, "name": agent.name}
    if agent.version is not None:
        node["version"] = agent.version
    if agent.acted_for is not None:
        node["actedFor"] = agent.acted_for
    return node


def parse_agent(node: Mapping[str, Any]) -> Agent:
    """The agent of a node that has passed the event schema."""
    return Agent(
        node["id"],
        AgentKind(node["type"]),
        node["name"],
        node.get("version"),
        node.get("actedFor"),
    )
