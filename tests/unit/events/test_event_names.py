"""Names in events: agents and files."""

from __future__ import annotations

import pytest

from heritage_ledger.errors import EvidenceInvalid
from heritage_ledger.events.agents import agent_id, institution_id, software_agent
from heritage_ledger.events.packages import file_iri, parse_file_iri

CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


def test_a_file_is_named_by_package_and_path():
    assert file_iri(CID, "data/50 %/é?#.txt") == f"ipfs://{CID}/data/50%20%25/%C3%A9%3F%23.txt"


@pytest.mark.parametrize(
    "path", ["manifest-sha512.txt", "data/é", "data/a%20b", "data/\n", "data/~!$&'()*+,;=:@"]
)
def test_a_path_comes_back(path):
    assert parse_file_iri(file_iri(CID, path), CID) == path


@pytest.mark.parametrize(
    "iri",
    [
        f"ipfs://{CID}",
        f"ipfs://{CID}/",
        f"ipfs://{CID[:-1]}a/data/x",
        f"ipfs://{CID}/%64ata/x",
        f"ipfs://{CID}/data/%c3%a9",
        f"ipfs://{CID}/data/%FF",
        f"ipfs://{CID}/data/%00",
        f"ipfs://{CID}/data/a b",
        f"ipfs://{CID}/data/x?y",
        f"ipfs://{CID}/data/é",
    ],
)
def test_other_names_of_files_are_refused(iri):
    with pytest.raises(EvidenceInvalid) as caught:
        parse_file_iri(iri, CID)
    assert caught.value.code == "event-file-name"


def test_names_are_absolute_and_in_ascii():
    assert institution_id("museum.example/ledger/1") == "https://museum.example/ledger/1#institution"
    assert agent_id("m.example/l/1", "Zoë O'Hara") == "https://m.example/l/1#agent/Zo%C3%AB%20O%27Hara"
    assert software_agent("0.1.0+local").id == "pkg:pypi/heritage-ledger@0.1.0%2Blocal"
