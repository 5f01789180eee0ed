"""Every option of a command that says something about evidence changes what it says, or is refused."""

import shutil

import pytest

from heritage_testkit.command import ASSET, all_commands, own_parameters, run_command

PEER = "archive.example/ledger/1"
CHECK = ["check", "{root}/proof", "--log-key", "@{root}/keys"]

CHANGES = {
    "verify": {
        "assets": (["verify"], ["verify", "{cid}"]),
        "deep": (["verify"], ["verify", "--deep"]),
        "bag": (["verify"], ["verify", "--bag", "{root}/bag"]),
    },
    "check": {
        "file": (CHECK, ["check", "{root}/fork", *CHECK[2:]]),
        "log_key": (CHECK, ["check", "{root}/proof", "--log-key", "{key}"]),
        "bag": (CHECK, [*CHECK, "--bag", "{root}/bag"]),
        "policy": (CHECK, [*CHECK, "--policy", "{root}/policy"]),
    },
    "prove": {
        "what": (["prove", ASSET, "-o", "-"], ["prove", "1", "-o", "-"]),
        "target": (["prove", ASSET, "-o", "-"], ["prove", ASSET, "-o", "{tmp}/new.proof"]),
        "force": (
            ["prove", ASSET, "-o", "{tmp}/there.proof"],
            ["prove", ASSET, "-o", "{tmp}/there.proof", "--force"],
        ),
        "tlog_proof": (["prove", ASSET, "-o", "-"], ["prove", ASSET, "-o", "-", "--tlog-proof"]),
    },
    "trace": {
        "what": (["trace", ASSET], ["trace", "{cid}"]),
        "peer": (["trace", "1"], ["trace", "1", "--peer", PEER]),
    },
    "show": {
        "what": (["show", ASSET], ["show", "1"]),
        "peer": (["show", "1"], ["show", "1", "--peer", PEER]),
    },
    "events": {
        "what": (["events"], ["events", ASSET]),
        "peer": (["events"], ["events", "--peer", PEER]),
    },
    "list": {"peer": (["list"], ["list", "--peer", PEER])},
    "copies": {
        "asset": (["copies"], ["copies", "{cid}"]),
        "no_read": (["copies"], ["copies", "--no-read"]),
    },
    "engine status": {"read": (["engine", "status"], ["engine", "status", "--read"])},
    "peer status": {"which": (["peer", "status"], ["peer", "status", "https://archive.example"])},
    "checkpoint": {},
    "doctor": {"nagios": (["doctor"], ["doctor", "--nagios"])},
    "log key": {},
    "log verify": {},
    "peer list": {},
    "replica list": {"which": (["replica", "list"], ["replica", "list", PEER])},
}
"""For each parameter of a command that gives evidence or judges it: a call without it, and one with it."""
OTHERS = {
    "init", "ingest", "adopt", "index rebuild", "database move", "engine move", "export", "replicate",
    "pledge", "restore", "repair", "peer add", "peer card", "peer remove", "peer sync", "node run", "demo",
    "backup", "log recover", "replica drop",
}  # fmt: skip
"""Commands that do something; what they were asked for shows in what they did."""
SAME = {("peer status", "which"), ("replica list", "which")}
"""Parameters with a value that says the same here, because the home has one peer only."""


def test_every_command_is_listed_with_all_of_its_parameters():
    commands = all_commands()
    assert commands.keys() == CHANGES.keys() | OTHERS
    for name, calls in CHANGES.items():
        assert own_parameters(commands[name]).keys() == calls.keys(), name


@pytest.fixture(scope="module")
def words(place, tmp_path_factory):
    """Fill in the places of a call."""
    folder = tmp_path_factory.mktemp("options")
    shutil.copyfile(place / "proof", folder / "there.proof")
    cid = run_command("--home", place / "home", "--json", "show", ASSET).lines[0]["packages"][0][
        "package_cid"
    ]
    key = (place / "keys").read_text().split()[0]

    def fill(call):
        return [word.format(root=place, tmp=folder, cid=cid, key=key) for word in call]

    return fill


CALLS = [
    pytest.param(*calls, id=f"{name} {parameter}")
    for name, parameters in CHANGES.items()
    for parameter, calls in parameters.items()
    if (name, parameter) not in SAME
]


@pytest.mark.parametrize(("without", "with_it"), CALLS)
def test_an_option_changes_what_is_said(place, words, without, with_it):
    first = run_command("--home", place / "home", *words(without))
    second = run_command("--home", place / "home", *words(with_it))
    assert (first.code, first.out) != (second.code, second.out)


REFUSED = [
    (["verify", "--bag", "{root}/bag", "--deep"], 1, "usage-error"),
    (["verify", ASSET, "--bag", "{root}/bag"], 1, "usage-error"),
    (["check", "{root}/fork", *CHECK[2:], "--bag", "{root}/bag"], 4, "proof-is-fork"),
    (["check", "{root}/fork", *CHECK[2:], "--policy", "{root}/policy"], 4, "proof-is-fork"),
    (["check", "-", *CHECK[2:], "--policy", "-"], 1, "usage-error"),
    (["check", "-", "--log-key", "@-"], 1, "usage-error"),
    ([*CHECK, "--bag", "{root}/nothing"], 2, "not-a-bag"),
    ([*CHECK, "--policy", "{root}/nothing"], 1, "input-unreadable"),
    ([*CHECK, "--policy", "{root}/proof"], 4, None),
    ([*CHECK, "--log-key", "garbage"], 1, "log-key-invalid"),
    (["prove", ASSET, "-o", "-", "--force"], 1, "usage-error"),
    (["copies", "--no-read"], 1, "usage-error"),
    (["engine", "status", "--read"], 1, "usage-error"),
]


@pytest.mark.parametrize(("call", "code", "reason"), REFUSED, ids=[" ".join(call) for call, _, _ in REFUSED])
def test_what_cannot_be_used_is_refused(place, words, call, code, reason):
    done = run_command("--home", place / "home", "--json", *words(call))
    assert done.code == code, done
    assert done.verdict.get("code") == reason
