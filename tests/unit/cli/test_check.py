"""What `heritage check` says of forks, policies and kinds of key, as a script sees it."""

import json
import shutil

import pytest

from heritage_ledger.errors import ExitCode
from heritage_testkit.command import run_command


@pytest.fixture
def check(place):
    def call(file, *words, key=None):
        return run_command("--json", "check", file, "--log-key", key or f"@{place / 'keys'}", *words)

    return call


def stages(done):
    return {line["name"]: line for line in done.lines if line["type"] == "stage"}


def codes(done):
    return [line["code"] for line in done.lines if line["type"] == "finding"]


def test_a_fork_proof_never_looks_like_a_pass(place, check):
    done = check(place / "fork")
    assert done.code == ExitCode.FORKED == 7
    assert done.verdict["outcome"] == "forked"
    assert (done.verdict["passed"], done.verdict["failed"], done.verdict["forked"]) == (0, 0, 1)
    assert stages(done)["fork"]["outcome"] == "forked"
    said = run_command("check", place / "fork", "--log-key", f"@{place / 'keys'}")
    assert said.code == 7
    assert "pass" not in said.out.lower()
    assert said.out.splitlines()[-1] == "FORKED: 1 of 1 shows two histories of one log"


def test_a_fork_proof_that_does_not_hold_is_broken_evidence(place, check, tmp_path):
    (tmp_path / "fork").write_bytes((place / "fork").read_bytes().replace(b"\\n2\\n", b"\\n3\\n"))
    done = check(tmp_path / "fork")
    assert (done.code, done.verdict["outcome"]) == (4, "evidence-invalid")


def test_a_fork_proof_checked_by_one_kind_of_key_says_so(place, check):
    first, second = (place / "keys").read_text().split()
    for key in (first, second):
        done = check(place / "fork", key=key)
        assert (done.code, codes(done)) == (7, ["checkpoint-one-kind"])


def test_a_policy_that_asks_for_nobody_is_not_checked(place, check, tmp_path):
    (tmp_path / "policy").write_text("quorum none\n")
    done = check(place / "proof", "--policy", tmp_path / "policy")
    assert (done.code, done.verdict["outcome"]) == (5, "evidence-missing")
    assert stages(done)["witnesses"]["outcome"] == "not checked"
    assert stages(done)["witnesses"]["required"]


def test_without_a_policy_it_is_said_that_nobody_looked(place, check):
    done = check(place / "proof")
    assert done.code == 0
    witnesses = stages(done)["witnesses"]
    assert (witnesses["outcome"], witnesses["required"]) == ("not checked", False)
    assert codes(done) == []


def test_the_hint_after_a_proof_gives_all_keys(place, tmp_path):
    done = run_command("--home", place / "home", "prove", "1", "-o", tmp_path / "a.proof")
    assert "--log-key @museum.vkey" in done.err
    assert len(json.loads((tmp_path / "a.proof").read_text())["entries"]) == 2
    done = run_command("--home", place / "home", "prove", "2", "-o", tmp_path / "b.proof")
    entries = json.loads((tmp_path / "b.proof").read_text())["entries"]
    assert [entry["index"] for entry in entries] == [0, 1, 2]


def test_a_key_file_without_its_at_sign_is_told_as_such(place, check):
    done = check(place / "proof", key=str(place / "keys"))
    assert (done.code, done.verdict["code"]) == (1, "log-key-invalid")
    assert done.verdict["advice"] == f"write --log-key @{place / 'keys'}"


def test_peer_status_says_what_it_cannot_read(place, tmp_path):
    shutil.copytree(place / "home", tmp_path / "home", symlinks=True)
    (tmp_path / "home" / "policy").write_bytes((place / "policy").read_bytes())
    (tmp_path / "home" / "log" / "witnessed").write_text("garbage")
    checkpoint = tmp_path / "home" / "log" / "checkpoint"
    checkpoint.chmod(0o644)
    checkpoint.write_text("garbage")
    done = run_command("--home", tmp_path / "home", "--json", "peer", "status")
    assert done.code == 3
    assert done.lines[0]["entries"] is None
    assert codes(done)[:2] == ["note-malformed", "note-malformed"]
    said = run_command("--home", tmp_path / "home", "peer", "status")
    assert "how many entries it has is not known" in said.out
    for words in (["checkpoint"], ["prove", "1", "-o", "-"]):
        assert run_command("--home", tmp_path / "home", *words).code == 4
    assert run_command("--home", tmp_path / "home", "log", "verify").code == 3
