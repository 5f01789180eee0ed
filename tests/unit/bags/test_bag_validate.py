"""Validation: every file of a bag is read once, and everything that is wrong has its name in the report."""

from __future__ import annotations

import hashlib
import os
import socket

import pytest

from heritage_ledger.bags import read, tags, validate, walk
from heritage_ledger.bags.read import MAX_INFO_LINE, MAX_LINE, open_bag
from heritage_ledger.bags.validate import DIGEST_CODES, validate_bag
from heritage_ledger.content.package import PackageGraph, read_package, walk_package
from heritage_ledger.errors import OperationFailed, Severity
from heritage_ledger.progress import SILENT


def hexed(data: bytes, algorithm: str = "sha256") -> str:
    return hashlib.new(algorithm, data).hexdigest()


@pytest.fixture
def make(tmp_path):
    """Make a bag by hand; None for a tag file leaves it out, and tag manifests are never made for it."""

    def build(payload=None, *, version="1.0", algorithms=("sha256",), **tag_files):
        payload = {"a.txt": b"one", "sub/b.txt": b"two"} if payload is None else payload
        root = tmp_path / "bag"
        (root / "data").mkdir(parents=True)
        for name, data in payload.items():
            path = root / "data" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        files = {"bagit.txt": f"BagIt-Version: {version}\nTag-File-Character-Encoding: UTF-8\n"}
        for algorithm in algorithms:
            lines = [f"{hexed(data, algorithm)}  data/{name}\n" for name, data in payload.items()]
            files[f"manifest-{algorithm}.txt"] = "".join(lines)
        files |= {name.replace("__", ".").replace("_", "-"): text for name, text in tag_files.items()}
        for name, text in files.items():
            if text is not None:
                (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return root

    return build


def told(root, *, severity=None):
    return [
        (finding.code, finding.path)
        for finding in validate_bag(root).findings
        if severity is None or finding.severity is severity
    ]


def test_a_valid_bag_says_what_it_holds(make):
    root = make(bag_info__txt="Payload-Oxum: 6.2\nContact-Name: A\n")
    report = validate_bag(root)
    assert report.findings == ()
    assert report.is_valid
    assert (report.version, report.encoding, report.algorithms) == ("1.0", "utf-8", ("sha256",))
    assert (report.files, report.size, report.tag_files, report.skipped) == (2, 6, 3, 0)
    assert report.bag_info == (("Payload-Oxum", "6.2"), ("Contact-Name", "A"))


def test_an_empty_payload_is_valid(make):
    assert told(make({})) == []


def test_every_missing_extra_and_damaged_file_is_named_though_the_oxum_is_wrong(make):
    root = make({f"{number}": b"x" for number in range(6)}, bag_info__txt="Payload-Oxum: 6.6\n")
    for name in ("0", "3"):
        (root / "data" / name).unlink()
    for name in ("1", "4"):
        (root / "data" / name).write_bytes(b"changed")
    for name in ("new", "deep/er/new"):
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "data" / name).write_bytes(b"new")
    report = validate_bag(root)
    assert sorted((finding.code, finding.path) for finding in report.findings) == [
        ("file-damaged", "data/1"),
        ("file-damaged", "data/4"),
        ("file-extra", "data/deep/er/new"),
        ("file-extra", "data/new"),
        ("file-missing", "data/0"),
        ("file-missing", "data/3"),
        ("oxum-mismatch", "bag-info.txt"),
    ]
    assert not report.is_valid
    damaged = next(finding for finding in report.findings if finding.code == "file-damaged")
    assert damaged.expected == f"sha256 {hexed(b'x')}"
    assert damaged.found == f"sha256 {hexed(b'changed')}, 7 bytes"
    assert all(finding.advice and finding.rule and finding.found for finding in report.findings)


def test_a_flipped_bit_is_found_by_every_manifest_that_lists_the_file(make):
    root = make(algorithms=("md5", "sha512"))
    (root / "data" / "a.txt").write_bytes(b"onf")
    assert told(root) == [("file-damaged", "data/a.txt")] * 2


def test_a_file_missing_from_two_manifests_is_told_once(make):
    root = make(algorithms=("md5", "sha512"))
    (root / "data" / "a.txt").unlink()
    (finding,) = validate_bag(root).findings
    assert finding.expected == "a file, listed in manifest-md5.txt, manifest-sha512.txt"


def test_every_file_is_told_once_in_the_order_of_the_walk(make):
    root = make(dict.fromkeys(("z", "b/z", "b/a/x", "b.txt", "a/x"), b"x"), custom__xml="<x/>")
    (root / "data" / "empty").mkdir()
    files, folders = [], []
    validate_bag(root, on_file=lambda path, digests: files.append(path), on_folder=folders.append)
    walked = list(walk_package(root))
    assert files == [path for path, is_file in walked if is_file]
    assert folders == ["data/empty"] == [path for path, is_file in walked if not is_file]


def test_the_address_comes_out_of_the_same_read(make):
    root = make({"a/1": b"x" * (3 << 20), "a/2": b"", "b": b"y"})
    (root / "data" / "empty").mkdir()
    with PackageGraph() as seen, PackageGraph() as read_alone:
        validate_bag(root, on_file=seen.add, on_folder=seen.add_folder)
        read_package(root, read_alone, SILENT)
        assert seen.finish() == read_alone.finish()


def test_all_algorithms_come_from_one_read_of_each_file(make, monkeypatch):
    root = make(algorithms=("md5", "sha1", "sha256", "sha512"))
    opened = []
    real = walk.read_below

    def read_below(folder, path, *rest, **more):
        opened.append(path)
        return real(folder, path, *rest, **more)

    monkeypatch.setattr(walk, "read_below", read_below)
    assert told(root) == []
    assert len(opened) == len(set(opened)) == 7


def test_one_thread_says_the_same(make):
    root = make({"a": b"x" * (5 << 20), "b": b"y"})
    (root / "data" / "a").write_bytes(b"z" * (5 << 20))
    assert validate_bag(root, threads=1).findings == validate_bag(root, threads=2).findings != ()


@pytest.mark.parametrize("name", ["link", "sub/link"])
@pytest.mark.parametrize("target", ["a.txt", "/etc/passwd", "nowhere", "."])
def test_links_are_refused_wherever_they_point(make, name, target):
    root = make()
    (root / "data" / name).symlink_to(target)
    (finding,) = validate_bag(root).findings
    assert (finding.code, finding.path, finding.found) == ("bag-link", f"data/{name}", "a symbolic link")


def test_a_link_in_place_of_a_listed_file_is_not_missing_as_well(make):
    root = make()
    (root / "data" / "a.txt").unlink()
    (root / "data" / "a.txt").symlink_to("/etc/passwd")
    assert told(root) == [("bag-link", "data/a.txt")]


@pytest.mark.parametrize(
    "name", ["bagit.txt", "bag-info.txt", "manifest-sha256.txt", "fetch.txt", "tagmanifest-md5.txt"]
)
def test_tag_files_that_are_links_or_pipes_are_refused_and_nothing_hangs(make, name):
    root = make()
    (root / name).unlink(missing_ok=True)
    (root / name).symlink_to("/dev/zero")
    assert ("bag-link", name) in told(root)
    (root / name).unlink()
    os.mkfifo(root / name)
    assert ("bag-special", name) in told(root)


def test_payload_folder_that_is_a_link(make, tmp_path):
    root = make()
    (root / "data").rename(tmp_path / "elsewhere")
    (root / "data").symlink_to(tmp_path / "elsewhere")
    assert told(root) == [
        ("payload-missing", "data"),
        ("bag-link", "data"),
        ("file-missing", "data/a.txt"),
        ("file-missing", "data/sub/b.txt"),
    ]


def test_pipes_and_sockets_are_named(make, monkeypatch):
    root = make()
    os.mkfifo(root / "data" / "pipe")
    with socket.socket(socket.AF_UNIX) as unix:
        monkeypatch.chdir(root / "data")
        unix.bind("socket")
        found = [(finding.code, finding.path, finding.found) for finding in validate_bag(root).findings]
    assert found == [
        ("bag-special", "data/pipe", "a named pipe"),
        ("bag-special", "data/socket", "a socket"),
    ]


def test_what_cannot_be_read_is_named_and_the_rest_is_checked(make, monkeypatch):
    root = make({"a": b"1", "b": b"2", "c/d": b"3", "c/e/f": b"4", "z": b"5"})
    (root / "data" / "z").write_bytes(b"damaged")
    real_read, real_list = walk.read_below, walk.list_below

    def read_below(folder, path, *rest, **more):
        if path.endswith("/b"):
            raise OSError(5, "Input/output error")
        return real_read(folder, path, *rest, **more)

    def list_below(folder, path):
        if path.endswith("/c"):
            raise PermissionError(13, "Permission denied")
        return real_list(folder, path)

    monkeypatch.setattr(walk, "read_below", read_below)
    monkeypatch.setattr(walk, "list_below", list_below)
    seen = []
    report = validate_bag(root, on_file=lambda path, _: seen.append(path))
    assert [(finding.code, finding.path, (finding.found or "")[:12]) for finding in report.findings] == [
        ("file-unreadable", "data/b", "Input/output"),
        ("file-damaged", "data/z", "sha256 " + hexed(b"damaged")[:5]),
        ("file-unreadable", "data/c", "Permission d"),
        ("file-unreadable", "data/c/d", "its folder c"),
        ("file-unreadable", "data/c/e/f", "its folder c"),
    ]
    assert report.skipped == 2
    assert "data/b" not in seen


def test_names_that_are_not_utf8_are_named_and_not_passed_on(make):
    root = make()
    (root / os.fsdecode(b"data/caf\xe9")).touch()
    seen = []
    report = validate_bag(root, on_file=lambda path, _: seen.append(path.encode()))
    assert [(finding.code, finding.path) for finding in report.findings] == [
        ("name-not-utf8", "data/caf\\xe9"),
        ("file-extra", "data/caf\\xe9"),
    ]
    assert report.skipped == 1
    assert len(seen) == 4


def test_twins_of_files_and_folders(make):
    root = make({"Cafe\u0301/x": b"1", "Caf\u00e9/x": b"2", "README": b"3", "readme": b"4"})
    assert told(root, severity=Severity.ERROR) == [("name-normalisation-twin", "data/Caf\u00e9")]
    assert told(root, severity=Severity.WARNING) == [("name-case-twin", "data/readme")]


def test_a_name_that_a_file_system_brought_into_another_form_still_fits(make):
    root = make({"caf\u00e9": b"x"})
    (root / "data" / "caf\u00e9").rename(root / "data" / "cafe\u0301")
    (finding,) = validate_bag(root).findings
    assert (finding.code, finding.severity) == ("name-normalisation", Severity.WARNING)
    (root / "data" / "cafe\u0301").write_bytes(b"damaged")
    assert [code for code, _ in told(root)] == ["name-normalisation", "file-damaged"]


def test_a_folder_that_is_no_bag_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file", tmp_path / "nowhere"):
        with pytest.raises(OperationFailed) as caught:
            validate_bag(path)
        assert caught.value.code == "not-a-bag"


def test_a_folder_with_odd_names_is_refused_in_words_that_can_be_printed(tmp_path):
    (tmp_path / os.fsdecode(b"\xff")).touch()
    with pytest.raises(OperationFailed) as caught:
        open_bag(tmp_path)
    assert str(caught.value).encode()


def test_a_bag_without_its_declaration_is_still_looked_at(make):
    root = make(bagit__txt=None)
    (root / "data" / "a.txt").write_bytes(b"changed")
    assert told(root) == [("bagit-missing", "bagit.txt"), ("file-damaged", "data/a.txt")]


def test_an_unreadable_manifest_does_not_make_every_file_an_extra_one(make):
    root = make(manifest_sha256__txt=b"\xff\xfe nonsense \xff\n")
    assert told(root) == [("tag-file-encoding", "manifest-sha256.txt")]


def test_lines_have_a_limit(make, monkeypatch):
    monkeypatch.setattr(read, "MAX_LINE", 200)
    assert MAX_LINE > 4096
    line = f"{hexed(b'one')}  data/a.txt"
    fits = f"{line[:64]}{' ' * (199 - len(line))}{line[64:]}\n"
    root = make({"a.txt": b"one"}, manifest_sha256__txt=fits)
    assert told(root) == []
    (root / "manifest-sha256.txt").write_text(fits.replace(" data", "  data"))
    assert told(root) == [("tag-file-unreadable", "manifest-sha256.txt")]


def test_findings_have_a_limit_and_no_error_is_lost_to_warnings(make, monkeypatch):
    monkeypatch.setattr(validate, "MAX_FINDINGS", 3)
    root = make({f"{number}?": b"x" for number in range(3)})
    assert len(validate_bag(root).findings) == 3
    assert validate_bag(root).is_valid
    (root / "data" / "4?").write_bytes(b"x")
    report = validate_bag(root)
    assert [finding.code for finding in report.findings][2:] == ["file-extra", "findings-cut"]
    (root / "data" / "4?").unlink()
    (root / "bag-info.txt").write_text("Bag-Count: 1\nBag-Count: 2\n")
    report = validate_bag(root)
    assert report.findings[-1].code == "findings-cut"
    assert report.is_valid


def test_nothing_is_written(make):
    root = make()
    (root / "data" / "a.txt").write_bytes(b"changed")
    paths = [root, *root.rglob("*")]
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in paths}
    validate_bag(root)
    assert {
        path: (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in [root, *root.rglob("*")]
    } == before


def test_digest_codes_are_about_bytes():
    assert {
        "file-missing",
        "file-extra",
        "file-damaged",
        "file-unreadable",
        "algorithm-not-verified",
    } == DIGEST_CODES


BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize("name", ["manifest-sha256.txt", "bag-info.txt", "fetch.txt"])
@pytest.mark.parametrize("version", ["0.97", "1.0"])
def test_a_byte_order_mark_is_told_and_skipped(make, name, version):
    root = make(version=version, bag_info__txt="Payload-Oxum: 6.2\n", fetch__txt="ark:/1/a - data/a.txt\n")
    assert told(root) == []
    (root / name).write_bytes(BOM + (root / name).read_bytes())
    assert told(root) == [("tag-file-bom", name)]
    assert validate_bag(root).is_valid
    (root / "data" / "a.txt").write_bytes(b"changed")
    assert ("file-damaged", "data/a.txt") in told(root, severity=Severity.ERROR)


def test_a_byte_order_mark_before_the_declaration_is_an_error(make):
    root = make(bagit__txt=BOM + b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n")
    (finding,) = validate_bag(root).findings
    assert (finding.code, finding.found) == ("bagit-declaration", "a byte order mark")


def test_a_byte_order_mark_that_the_encoding_asks_for_says_nothing(make):
    root = make(
        {"a": b"one"},
        bagit__txt="BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-16\n",
        manifest_sha256__txt=f"{hexed(b'one')}  data/a\n".encode("utf-16"),
    )
    assert told(root) == []


def test_names_that_differ_in_case_only_are_named_as_such(make):
    root = make({"SCANS/COVER.TXT": b"one", "MÜNCHEN.txt": b"two", "other.txt": b"three"})
    lines = (root / "manifest-sha256.txt").read_text()
    lines = lines.replace("SCANS/COVER.TXT", "scans/cover.txt").replace("MÜNCHEN", "mu\u0308nchen")
    (root / "manifest-sha256.txt").write_text(lines.replace("other.txt", "none.txt"))
    found = {finding.path: (finding.code, finding.found) for finding in validate_bag(root).findings}
    assert found == {
        "data/scans/cover.txt": ("file-missing", "data/SCANS/COVER.TXT, which differs in case only"),
        "data/SCANS/COVER.TXT": (
            "file-extra",
            "an entry for data/scans/cover.txt, which differs in case only",
        ),
        "data/mu\u0308nchen.txt": ("file-missing", "data/MÜNCHEN.txt, which differs in case only"),
        "data/MÜNCHEN.txt": (
            "file-extra",
            "an entry for data/mu\u0308nchen.txt, which differs in case only",
        ),
        "data/none.txt": ("file-missing", "none"),
        "data/other.txt": ("file-extra", "none"),
    }


@pytest.mark.parametrize("version", ["0.97", "1.0"])
def test_backslashes_between_folders_are_named_as_such(make, version):
    root = make({"sub/a.txt": b"one"}, version=version)
    lines = (root / "manifest-sha256.txt").read_text()
    (root / "manifest-sha256.txt").write_text(lines.replace("/", "\\"))
    assert told(root) == [("manifest-separator", "manifest-sha256.txt"), ("file-extra", "data/sub/a.txt")]
    (root / "manifest-sha256.txt").write_text(lines.replace("sub/", "sub\\"))
    missing = [finding for finding in validate_bag(root).findings if finding.code == "file-missing"]
    assert [finding.path for finding in missing] == ["data/sub\\a.txt"]
    assert "data/sub/a.txt" in missing[0].found
    assert "backslashes" in missing[0].found


def test_a_backslash_in_a_name_is_a_letter_and_told(make):
    assert told(make({"a\\b.txt": b"one"})) == [
        ("name-windows-character", "data/a\\b.txt"),
        ("name-misread", "data/a\\b.txt"),
    ]


def test_a_line_that_md5sum_escaped_is_told_as_such(make):
    root = make({"a\\b.txt": b"one"}, manifest_sha256__txt=f"\\{hexed(b'one')}  data/a\\\\b.txt\n")
    assert ("manifest-escape", "manifest-sha256.txt") in told(root, severity=Severity.ERROR)


def test_a_long_bag_info_is_read_to_its_end(make, monkeypatch):
    monkeypatch.setattr(tags, "MAX_INFO", 100_000)
    notes = "".join(f"Note: {number}\n  goes on\n" for number in range(5_000))
    root = make(bag_info__txt=notes + "Payload-Oxum: 7.2\nBag-Count: 1\nBag-Count: 2\nBag-Count: 3\n")
    report = validate_bag(root)
    assert [finding.code for finding in report.findings] == [
        "bag-info-cut",
        "bag-info-repeated",
        "oxum-mismatch",
    ]
    assert len(report.bag_info) < 1_000
    assert report.bag_info[-3:] == (("Payload-Oxum", "7.2"), ("Bag-Count", "1"), ("Bag-Count", "2"))
    (root / "bag-info.txt").write_text(notes + "nothing\n")
    assert told(root) == [("bag-info-line", "bag-info.txt")]


def test_a_line_of_bag_info_has_a_limit(make):
    root = make(bag_info__txt=f"A: {'x' * (MAX_INFO_LINE - 4)}\n")
    assert told(root) == []
    (root / "bag-info.txt").write_text(f"A: {'x' * (MAX_INFO_LINE - 2)}\n")
    assert told(root) == [("tag-file-unreadable", "bag-info.txt")]


@pytest.mark.parametrize("label", ["Bagging-Date", "Bag-Size", "bag-group-identifier", "Bag-Count"])
def test_elements_that_should_stand_once(make, label):
    root = make(bag_info__txt=f"{label}: 1\n{label.upper()}: 2\n")
    assert told(root, severity=Severity.WARNING) == [("bag-info-repeated", "bag-info.txt")]
    assert validate_bag(root).is_valid
