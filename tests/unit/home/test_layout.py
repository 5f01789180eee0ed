"""Homes: found, made, refused."""

from __future__ import annotations

import os
import pwd

import pytest

from heritage_ledger.errors import HomeLocked, KeyProblem, NoHome, OperationFailed, UsageError
from heritage_ledger.home import lock
from heritage_ledger.home.layout import asset_folder, create_home, default_root, open_home
from heritage_ledger.home.settings import (
    Settings,
    check_origin,
    format_settings,
    parse_settings,
)
from heritage_ledger.home.settings_table import read_secret


def test_a_new_home_needs_an_empty_folder(tmp_path):
    (tmp_path / "x").write_text("x")
    with pytest.raises(OperationFailed) as caught:
        create_home(tmp_path)
    assert caught.value.code == "home-not-empty"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_home_is_never_made_twice(tmp_path):
    home = create_home(tmp_path / "h")
    home.settings.write_bytes(format_settings(Settings("M", "m.example/l/1")))
    with pytest.raises(OperationFailed) as caught:
        create_home(tmp_path / "h")
    assert caught.value.code == "home-exists"


def test_an_init_that_died_can_be_run_again(tmp_path):
    create_home(tmp_path / "h")
    home = create_home(tmp_path / "h")
    assert home.keys.is_dir()


def test_no_home_says_what_to_do(tmp_path):
    with pytest.raises(NoHome) as caught:
        open_home(tmp_path)
    assert caught.value.exit_code == 10
    assert "heritage init" in caught.value.advice


def test_the_variable_names_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HERITAGE_HOME", str(tmp_path))
    assert default_root() == tmp_path


def test_a_user_without_a_folder_of_its_own_is_told_to_name_a_home(monkeypatch):
    def nobody(_):
        raise KeyError("getpwuid(): uid not found")

    for name in ("HOME", "HERITAGE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(NoHome) as caught:
        default_root()
    assert "HERITAGE_HOME" in caught.value.advice
    with pytest.raises(KeyProblem) as missing:
        read_secret("file:~/token")
    assert missing.value.code == "token-missing"


def test_a_home_below_a_folder_of_another_user_is_not_called_absent(tmp_path):
    home = create_home(tmp_path / "closed" / "home")
    home.settings.write_bytes(format_settings(Settings("M", "m.example/l/1")))
    home.root.parent.chmod(0)
    user = os.geteuid()
    try:
        if not user:
            os.seteuid(54_321)
        with pytest.raises(NoHome) as caught:
            open_home(home.root)
    finally:
        os.seteuid(user)
        home.root.parent.chmod(0o700)
    assert caught.value.code == "home-unreadable"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_new_home_is_for_its_user_alone_whatever_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        home = create_home(tmp_path / "home")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (home.root, *home.root.iterdir())}
    assert modes["home"] == modes["keys"] == modes["staging"] == 0o700
    assert modes["log"] == modes["packages"] == modes["quarantine"] == 0o755


def test_a_folder_that_was_there_keeps_its_mode(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o750)
    assert create_home(tmp_path / "home").root.stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    "asset", ["urn:x:A", "urn:x:a", "https://m.example/é/../..", "::", "a:" + "x" * 3000, "ark:/12345/x%20y"]
)
def test_an_asset_folder_is_one_plain_name(asset):
    name = asset_folder(asset)
    assert "/" not in name
    assert not name.startswith(".")
    assert len(name) <= 65
    assert name.isascii()


def test_assets_that_differ_in_case_lie_apart_everywhere():
    assert asset_folder("urn:x:A").lower() != asset_folder("urn:x:a").lower()


@pytest.mark.parametrize("name", ["Museum of Examples", 'M "quoted" \\ back', "Müzeum ルーヴル"])
def test_settings_come_back_as_they_were_written(name):
    settings = Settings(name, "museum.example/ledger/1")
    assert parse_settings(format_settings(settings)) == settings


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[ledger]\n",
        "[ledger]\ninstitution = 1\norigin = 'm.example/l/1'\n",
        "[ledger]\ninstitution = 'M'\norigin = 'm.example/l/1'\ncolour = 'red'\n",
        "[ledger]\ninstitution = 'M'\norigin = 'm.example/l/1'\n[other]\n",
        "ledger = 1\n",
        "[ledger\n",
    ],
)
def test_settings_that_say_something_else_are_refused(text):
    with pytest.raises(UsageError) as caught:
        parse_settings(text.encode())
    assert caught.value.code == "settings-invalid"


def test_settings_that_are_not_text_are_refused():
    with pytest.raises(UsageError):
        parse_settings(b"\xff")


@pytest.mark.parametrize("origin", ["museum.example/ledger/1", "a.b-c.example/x_y/12"])
def test_origins_that_can_be_used(origin):
    check_origin(origin)


@pytest.mark.parametrize(
    "origin",
    [
        "museum/ledger/1",
        "Museum.example/ledger/1",
        "museum.example/ledger/0",
        "museum.example/ledger/01",
        "museum.example/ledger",
        "museum.example/led ger/1",
        "museum.example/ledger/1\n",
        "museum.example/led+ger/1",
        "-m.example/l/1",
        "m.example/" + "l" * 200 + "/1",
        "",
    ],
)
def test_origins_that_cannot(origin):
    with pytest.raises(UsageError) as caught:
        check_origin(origin)
    assert caught.value.code == "origin-invalid"


def test_a_held_lock_is_seen_and_names_its_process(tmp_path):
    path = tmp_path / "lock"
    assert not lock.is_held(path)
    with lock.hold(path):
        assert lock.is_held(path)
        with pytest.raises(HomeLocked) as caught, lock.hold(path, wait=0.05):
            pass
        assert caught.value.code == "home-locked"
        assert str(os.getpid()) in caught.value.found
    assert not lock.is_held(path)
    with lock.hold(path, wait=0):
        pass


LEDGER = '[ledger]\ninstitution = "Museum"\norigin = "museum.example/ledger/1"\n[node]\n'


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@museum.example",
        "https://user@museum.example",
        "https://museum.example?x=1",
        "https://museum.example/?",
        "https://museum.example#f",
        "https://",
        "https:///way",
        "https://:8463",
        "https://müzeum.example",
        "https://museum.example:99999",
        "https://museum.example:0",
        "https://museum.example:port",
        "https://[half",
        "https://museum.example/a way",
        "ftp://museum.example",
        "museum.example",
    ],
)
def test_a_url_that_no_peer_could_use_is_refused(url):
    with pytest.raises(UsageError) as caught:
        parse_settings(f'{LEDGER}url = "{url}"\n'.encode())
    assert caught.value.code == "settings-invalid"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://museum.example", "http://[::1]:8463/way", "HTTPS://Museum.Example:443/"]
)
def test_other_urls_are_taken(url):
    assert parse_settings(f'{LEDGER}url = "{url}"\n'.encode()).node.url == url.rstrip("/")


def test_proxies_and_rate():
    settings = parse_settings(f'{LEDGER}trusted_proxies = ["10.0.0.0/8", "::1"]\npublic_rate = 7\n'.encode())
    assert (settings.node.trusted_proxies, settings.node.public_rate) == (("10.0.0.0/8", "::1"), 7)
    for text in (
        'trusted_proxies = ["proxy.example"]',
        'trusted_proxies = ["10.0.0.1/8"]',
        'trusted_proxies = "10.0.0.1"',
        "public_rate = 0",
        "public_rate = 1.5",
    ):
        with pytest.raises(UsageError):
            parse_settings(f"{LEDGER}{text}\n".encode())
