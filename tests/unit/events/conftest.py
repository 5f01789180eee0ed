"""One event of each kind, with everything that can be said."""

from __future__ import annotations

from hashlib import sha512

import pytest

from heritage_ledger.events.agents import Agent, AgentKind, agent_id, institution_id, software_agent
from heritage_ledger.events.bodies import EventFrame, ingestion_body
from heritage_ledger.events.packages import BagFile, PackageDescription
from heritage_ledger.identity.keys import Ed25519Signer

ORIGIN = "museum.example/ledger/1"
CREATED = "2026-03-02T11:40:52Z"


@pytest.fixture(name="signer", scope="session")
def fixture_signer():
    return Ed25519Signer.from_seed(bytes(range(32)))


@pytest.fixture(name="frame")
def fixture_frame():
    return EventFrame(
        event_id="urn:uuid:6f1b9a52-8f0b-4d0a-9f0e-0d7b4e1c2a11",
        origin=ORIGIN,
        institution=Agent(institution_id(ORIGIN), AgentKind.ORGANIZATION, "Museum of Examples"),
        software=software_agent("0.1.0"),
        started="2026-03-02T09:14:05Z",
        ended="2026-03-02T11:40:51.250Z",
        actor=Agent(agent_id(ORIGIN, "Zoë Example"), AgentKind.PERSON, "Zoë Example"),
        notes=("Delivered on a disk.",),
    )


@pytest.fixture(name="package")
def fixture_package():
    return PackageDescription(
        cid="bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",
        asset_id="urn:uuid:6f1b9a52-8f0b-4d0a-9f0e-0d7b4e1c2a12",
        version=2,
        bag_version="1.0",
        cid_profile="unixfs-v1-2025",
        manifests=(
            BagFile("manifest-sha512.txt", sha512(b"manifest").digest()),
            BagFile("tagmanifest-sha512.txt", sha512(b"tags").digest()),
        ),
        payload_cid="bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        payload_size=1_843_200_113,
        payload_files=42,
        title="Amphora, Αμφορέας",
        previous_cid="bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y",
        original_name="scan 2026",
        metadata=BagFile("metadata/décrit.json", sha512(b"{}").digest()),
    )


@pytest.fixture(name="body")
def fixture_body(frame, package):
    return ingestion_body(frame, package)
