"""A federation of two releases: each node speaks the latest protocol that both know."""

import os
import secrets
import sys
import zipfile
from pathlib import Path

import pytest

from heritage_testkit.nodes import HERITAGE, federation, until

WHEEL = Path(__file__).parent / "wheels" / "heritage_ledger-0.1.0-py3-none-any.whl"
pytestmark = pytest.mark.xdist_group("bad peer")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """The words that run the command of release 0.1."""
    folder = tmp_path_factory.mktemp("release-0.1")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(folder)
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r}); from heritage_cli.app import main; "
        f"import heritage_ledger; assert heritage_ledger.__file__.startswith({str(folder)!r}); main()"
    )
    return (sys.executable, "-c", code)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, earlier):
    folder = tmp_path_factory.mktemp("mixed")
    with federation(folder, "museum", "archive", "library", programs={"archive": earlier}) as made:
        yield made


def deposit(one, tmp_path, name):
    folder = tmp_path / f"scan-{name}"
    folder.mkdir()
    (folder / "page.tif").write_bytes(os.urandom(2_000_000))
    done = one.run("ingest", folder, "--asset", f"urn:example:{name}")[-1]
    return done | {"source": folder}


def is_witnessed(one, name):
    return "pending" not in str(one.run("show", f"urn:example:{name}"))


def seen(one, other):
    """The protocol that one institution has seen another speak."""
    note = one.home / "mirrors" / other.origin / ".protocol"
    return int(note.read_text()) if note.exists() else 1


def works(one, other, tmp_path):
    """Deposits of both are witnessed, mirrored and replicated by the other, and rot is mended from it."""
    for mine, theirs in ((one, other), (other, one)):
        name = f"{mine.origin.partition('.')[0]}-{secrets.token_hex(4)}"
        theirs.run("pledge", mine.origin, "--until", "2099-12-31")
        done = deposit(mine, tmp_path, name)
        until(lambda mine=mine, name=name: is_witnessed(mine, name))
        until(lambda mine=mine, theirs=theirs, done=done: theirs.mirrored(mine) > done["log_index"])
        until(theirs.replica(mine, done["package_cid"]).is_dir)
        page = Path(done["bag_path"]) / "data" / "page.tif"
        page.chmod(0o600)
        page.write_bytes(bytes(2_000_000))
        mine.run("repair", f"urn:example:{name}")
        assert page.read_bytes() == (done["source"] / "page.tif").read_bytes()


def test_nodes_of_two_releases_work_with_each_other(mixed, tmp_path):
    museum, archive, library = mixed
    works(museum, archive, tmp_path)
    assert seen(museum, archive) == 1
    until(lambda: seen(museum, library) == seen(library, museum) == 2)


def test_a_node_of_the_release_before_is_not_told_what_it_does_not_know(mixed):
    """A move is a notice of protocol 2: the earlier release would refuse it for ever."""
    museum, archive, library = mixed
    settings = museum.home / "heritage.toml"
    text = settings.read_text()
    earlier, ours = (museum.home / "mirrors" / one.origin / ".told" for one in (archive, library))
    for url in (museum.url.replace("127.0.0.1", "localhost"), museum.url):
        museum.stop()
        settings.write_text(text.replace("[node]\n", f'[node]\nurl = "{url}"\n'))
        museum.start()
        until(lambda url=url: ours.is_file() and ours.read_text().strip() == url)
    assert earlier.read_text().strip() != museum.url
    said = (museum.home.parent / "museum.log").read_text()
    assert "notice-malformed" not in said
    museum.stop()
    settings.write_text(text)
    museum.start()


def test_a_node_that_is_updated_goes_on_and_is_held_to_it(mixed, tmp_path, earlier):
    museum, archive, _library = mixed
    archive.stop()
    archive.program = (str(HERITAGE),)
    archive.start()
    assert archive.run("verify", "--deep")[-1]["outcome"] == "ok"
    works(museum, archive, tmp_path)
    until(lambda: seen(museum, archive) == 2)


def test_a_node_that_goes_back_is_told_of_until_it_is_added_again(mixed, tmp_path, earlier):
    museum, archive, library = mixed
    archive.stop()
    archive.program = earlier
    archive.start()
    said = museum.home.parent / "museum.log"
    deposit(museum, tmp_path, "after")
    until(lambda: "request-protocol" in said.read_text() or "peer-protocol" in said.read_text())
    for one in (museum, library):
        one.run("peer", "add", archive.url, "--yes", "--key", archive.key())
    works(museum, archive, tmp_path)
