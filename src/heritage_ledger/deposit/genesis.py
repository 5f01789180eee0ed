"""Begin: a new home, its keys, and a log whose entry 0 says whose it is (`specs/event.md`, "Genesis")."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING

from heritage_ledger.deposit.books import log_signers, witness_signers
from heritage_ledger.events.agents import Agent, AgentKind, institution_id, software_agent
from heritage_ledger.events.bodies import EventFrame, genesis_body
from heritage_ledger.events.event import sign_event
from heritage_ledger.events.timestamps import format_timestamp
from heritage_ledger.home.durable import write_file
from heritage_ledger.home.keyring import create_keys
from heritage_ledger.home.layout import Home, create_home, finish_home
from heritage_ledger.home.marks import Marks
from heritage_ledger.home.settings import Settings, check_institution, check_origin, format_settings
from heritage_ledger.home.state import StateStore
from heritage_ledger.identity.didkey import format_multikey
from heritage_ledger.identity.history import key_digest
from heritage_ledger.index.absorb import absorb
from heritage_ledger.index.store import Index
from heritage_ledger.log.append import Appender
from heritage_ledger.log.cosignature import Ed25519Verifier, MLDSA44CosignatureVerifier
from heritage_ledger.log.files import LogFiles

if TYPE_CHECKING:
    from pathlib import Path


def software() -> Agent:
    """This software, as events name it."""
    return software_agent(version("heritage-ledger"))


def begin_log(root: Path, settings: Settings, passphrase: bytes | None) -> Home:
    """Make a home in `root` and begin its log; the settings are written last, so it is whole or no home.

    Raises:
        UsageError: the institution's name or the origin cannot be used.
        OperationFailed: `root` is a home already, or not empty.
    """
    check_institution(settings.institution)
    check_origin(settings.origin)
    origin = settings.origin
    place = create_home(root)
    keys, node_keys, successors = create_keys(place, passphrase)
    with (
        StateStore.create(settings.kept_in(place.state), own=origin) as state,
        Appender(place.log, state, origin, log_signers(origin, keys)) as appender,
    ):
        now = datetime.now(UTC)
        appender.create(time=int(now.timestamp()))
        text = format_timestamp(now)
        body = genesis_body(
            EventFrame(
                event_id=f"urn:uuid:{uuid.uuid4()}",
                origin=origin,
                institution=Agent(institution_id(origin), AgentKind.ORGANIZATION, settings.institution),
                software=software(),
                started=text,
                ended=text,
            ),
            event_key=keys.event.public,
            log_keys=_vkeys(origin, keys.log.public, keys.log_mldsa44.public),
            witness_keys=[signer.verifier.vkey for signer in witness_signers(origin, node_keys)],
            node_key=node_keys.node.public,
            next_key_digests=[
                key_digest(key)
                for key in (
                    format_multikey(successors.event),
                    *_vkeys(origin, successors.log, successors.log_mldsa44),
                )
            ],
        )
        entry = sign_event(body, keys.event, created=text)
        appended = appender.append([entry], time=int(now.timestamp()))
        with Index.open(settings.kept_in(place.index), origin=origin) as index:
            absorb(index, LogFiles(place.log), place, appended.size)
        Marks.of(place, settings).write(state.reach(), establish=True)
    write_file(place.settings, format_settings(settings), mode=0o644)
    finish_home(place)
    return place


def _vkeys(origin: str, ed25519: bytes, mldsa44: bytes) -> list[str]:
    return [Ed25519Verifier(origin, ed25519).vkey, MLDSA44CosignatureVerifier(origin, mldsa44).vkey]
