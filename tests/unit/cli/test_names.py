"""A name that matches nothing is never a pass: every command that takes one is walked, new ones too."""

import shutil

import pytest

from heritage_testkit.command import ASSET, all_commands, own_parameters, run_command

NOTHING = "urn:example:nothing"
NO_CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"

NAMES = {
    "verify": {"assets": ["verify", "{}"]},
    "list": {"peer": ["list", "--peer", "{}"]},
    "show": {"what": ["show", "{}"], "peer": ["show", ASSET, "--peer", "{}"]},
    "events": {"what": ["events", "{}"], "peer": ["events", "--peer", "{}"]},
    "trace": {"what": ["trace", "{}"], "peer": ["trace", ASSET, "--peer", "{}"]},
    "prove": {"what": ["prove", "{}", "-o", "-"]},
    "export": {
        "asset": ["export", "{}", "/nonexistent/new"],
        "version": ["export", ASSET, "/new", "--version", "9"],
    },
    "copies": {"asset": ["copies", "{}"]},
    "replicate": {"asset": ["replicate", "{}"]},
    "repair": {"which": ["repair", "{}"]},
    "pledge": {"which": ["pledge", "{}", "--until", "2099-12-31"]},
    "peer status": {"which": ["peer", "status", "{}"]},
    "peer remove": {"which": ["peer", "remove", "{}"]},
    "replica list": {"which": ["replica", "list", "{}"]},
    "replica drop": {
        "which": ["replica", "drop", "{}", "--yes"],
        "cid": ["replica", "drop", "archive.example/ledger/1", "{}", "--yes"],
    },
}
"""How a command is called with a name of something that this home or a peer should have."""
NO_NAMES = {
    "init": {"institution", "origin", "database"},  # names that it gives
    "ingest": {"asset", "title", "agent", "algorithm", "storage_class"},  # the same; the last two are usage
    "adopt": {"asset", "title", "agent", "storage_class"},
    "check": {"log_key"},  # a key is compared with the file's own
    "engine move": {"to"},  # one of two words
    "database move": {"to"},  # an address, asked at once
    "pledge": {"until", "assets", "max_bytes"},  # assets may come later: warned of, below
    "peer add": {"which", "key"},  # an address, asked at once, or a file
}
"""Parameters of text that name nothing which could be absent."""


def test_every_parameter_of_text_is_said_to_be_a_name_or_none():
    for name, command in all_commands().items():
        texts = {one for one, kind in own_parameters(command).items() if kind in {str, int}}
        known = set(NAMES.get(name, {})) | NO_NAMES.get(name, set())
        assert texts == known, f"`heritage {name}`: say in this file what {texts ^ known} are"


CALLS = [(name, words) for calls in NAMES.values() for name, words in calls.items()]


@pytest.mark.parametrize("what", [NOTHING, NO_CID, "", "99999", "data/nothing.txt"])
@pytest.mark.parametrize(("name", "words"), CALLS, ids=[" ".join(words) for _, words in CALLS])
def test_a_name_that_matches_nothing_is_not_found(place, name, words, what):
    done = run_command("--home", place / "home", "--json", *(word.format(what) for word in words))
    assert done.code == 5, done
    assert done.verdict["code"] in {"not-found", "peer-unknown", "replica-unknown"}
    assert {line["type"] for line in done.lines} <= {"finding", "verdict"}


@pytest.mark.parametrize("how", [[], ["--deep"]])
@pytest.mark.parametrize("names", [[NOTHING], [ASSET, NOTHING], [NOTHING, ASSET, NO_CID], [NO_CID]])
def test_of_several_names_all_must_match(place, how, names):
    done = run_command("--home", place / "home", "--json", "verify", *how, *names)
    assert (done.code, done.verdict["code"]) == (5, "not-found")
    assert not [line for line in done.lines if line["type"] in {"stage", "checked"}]
    missing = [name for name in names if name != ASSET]
    assert done.verdict["path"] == missing[0]
    if len(missing) > 1:
        assert [line["path"] for line in done.lines if line["type"] == "finding"] == missing


@pytest.mark.parametrize("how", [[], ["--deep"]])
def test_what_is_named_is_checked_and_nothing_else(place, how):
    shown = run_command("--home", place / "home", "--json", "show", ASSET).lines[0]
    first = shown["packages"][0]["package_cid"]
    for names, versions in (
        ([ASSET], [1, 2]),
        ([first], [1]),
    ):
        done = run_command("--home", place / "home", "--json", "verify", *how, *names)
        checked = [line for line in done.lines if line["type"] == "checked" and line["asset"]]
        assert [line["version"] for line in checked] == versions
        assert done.verdict["outcome"] == "ok"


def test_a_deep_check_says_what_it_left_out(place):
    cid = run_command("--home", place / "home", "--json", "show", ASSET).lines[0]["packages"][1][
        "package_cid"
    ]
    done = run_command("--home", place / "home", "--json", "verify", "--deep", cid)
    (index,) = [line for line in done.lines if line["type"] == "stage" and line["name"] == "index"]
    assert index["detail"] == "1 packages that were not asked for left out"


def test_a_pledge_for_an_asset_that_is_not_there_yet_says_so(tmp_path, place):
    shutil.copytree(place / "home", tmp_path / "home", symlinks=True)
    words = ["pledge", "archive.example/ledger/1", "--until", "2099-12-31", "--assets"]
    for asset, codes in (("urn:example:theirs", []), (NOTHING, ["pledge-asset-unknown"])):
        done = run_command("--home", tmp_path / "home", "--json", *words, asset)
        assert done.code == 0, done
        assert [line["code"] for line in done.lines if line["type"] == "finding"] == codes
