"""From paths to the address of a tree, in any walk that leaves each folder once."""

from __future__ import annotations

import pytest

from heritage_ledger.content.cid import RAW, block_cid, format_cid
from heritage_ledger.content.tree import TreeBuilder
from heritage_ledger.content.unixfs import Entry, directory
from heritage_ledger.errors import HeritageError, UsageError

FILE = Entry(block_cid(RAW, b"x"), 1, 1)
OTHER = Entry(block_cid(RAW, b"yy"), 2, 2)


def build(*paths, directories=()):
    builder = TreeBuilder(lambda *_: None)
    for path in paths:
        builder.add(path, FILE)
    for path in directories:
        builder.add_directory(path)
    return builder


def by_hand(**entries):
    return directory([(name.encode(), entry) for name, entry in entries.items()], lambda *_: None)


def test_a_tree_is_the_directories_made_by_hand():
    builder = build("bagit", "data/a/x", "data/a/y", "data/b/x", "tags/t")

    data = by_hand(a=by_hand(x=FILE, y=FILE), b=by_hand(x=FILE))
    assert builder.finish() == by_hand(bagit=FILE, data=data, tags=by_hand(t=FILE))
    assert builder.first_level("data") == data
    assert builder.first_level(b"tags") == by_hand(t=FILE)


@pytest.mark.parametrize(
    "paths",
    [
        ("a", "d/a", "d/e/a", "d/f", "z"),
        ("d/f", "d/e/a", "d/a", "z", "a"),
        ("z", "d/e/a", "d/a", "d/f", "a"),
        ("d/e/a", "d/f", "d/a", "a", "z"),
    ],
)
def test_files_and_folders_of_a_folder_come_in_any_order(paths):
    assert build(*paths).finish() == build(*sorted(paths)).finish()


def test_a_list_sorted_by_whole_path_is_a_good_order():
    paths = ["a/x", "a-b/x", "a.b", "a/y/z", "a b/x", "a/b", "ab", "a/y.z"]
    build(*sorted(paths)).finish()
    build(*sorted(paths, key=lambda path: path.split("/"))).finish()


def test_names_may_be_given_as_bytes():
    assert build((b"d", b"a"), (b"d", b"b")).finish() == build("d/a", "d/b").finish()
    assert build((b"d", b"a"), "d/b", (b"d", b"c")).finish() == build("d/a", "d/b", "d/c").finish()


def test_an_empty_folder_can_be_added_and_an_open_one_again():
    empty = directory([], lambda *_: None)
    assert build("a", directories=["e"]).finish() == by_hand(a=FILE, e=empty)
    builder = build("d/a", directories=["d"])
    builder.add("d/b", FILE)
    assert builder.finish() == build("d/a", "d/b").finish()


def test_the_empty_tree_is_the_empty_directory():
    assert format_cid(build().finish().cid).startswith("bafybeiczsscds")


@pytest.mark.parametrize(
    ("paths", "code"),
    [
        (("d/a", "e/a", "d/b"), "tree-order"),
        (("d/e/a", "d/f/a", "d/e/b"), "tree-order"),
        (("a", "a"), "entry-duplicate"),
        (("a", "a/b"), "entry-duplicate"),
        (("a/b", "a"), "entry-duplicate"),
        (("d/a", "d/a"), "entry-duplicate"),
        (("/a",), "entry-name"),
        (("a/",), "entry-name"),
        (("a//b",), "entry-name"),
        (("../a",), "entry-name"),
        (("a/./b",), "entry-name"),
        (("",), "entry-name"),
        (("a\0b",), "entry-name"),
        (("d\udcff",), "entry-name"),
        (("\udcff/a",), "entry-name"),
        (((),), "entry-name"),
        (((b"a/b",),), "entry-name"),
        (((b"..", b"b"),), "entry-name"),
    ],
)
def test_wrong_orders_and_paths_are_refused(paths, code):
    with pytest.raises(HeritageError) as caught:
        build(*paths).finish()
    assert caught.value.code == code


def test_a_finished_tree_takes_nothing_more():
    builder = build("a")
    builder.finish()
    for call in (lambda: builder.add("b", FILE), lambda: builder.add_directory("b"), builder.finish):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "tree-finished"


def test_a_folder_has_no_entry_while_it_is_open_or_when_there_is_none():
    builder = build("data/a")
    for name in ("data", "a", "nothing"):
        with pytest.raises(UsageError) as caught:
            builder.first_level(name)
        assert caught.value.code == "tree-folder"
    builder.add("z", OTHER)
    assert builder.first_level("data") == by_hand(a=FILE)


@pytest.mark.parametrize("root", ["", ()])
def test_adding_the_root_leaves_every_folder(root):
    builder = build("data/a/x", directories=[root])
    assert builder.first_level("data") == by_hand(a=by_hand(x=FILE))
    builder.add("z", FILE)
    assert builder.finish() == build("data/a/x", "z").finish()


def test_nodes_are_emitted_as_folders_are_left():
    emitted = []
    builder = TreeBuilder(lambda cid, block: emitted.append(cid))
    builder.add("a/x", FILE)
    assert emitted == []
    builder.add("b/x", FILE)
    assert emitted == [builder.first_level("a").cid]
