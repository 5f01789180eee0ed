"""The cases in which widely used software disagrees with RFC 8493, each with the verdict of the RFC."""

from __future__ import annotations

import hashlib

import pytest

from heritage_ledger.bags.validate import validate_bag
from heritage_ledger.errors import Severity

OLD = "0.97"
NEW = "1.0"
ONE = b"one file"


def listed(name: str, algorithm: str = "sha256", data: bytes = ONE) -> str:
    return f"{hashlib.new(algorithm, data).hexdigest()}  {name}\n"


def declared(version: str) -> str:
    return f"BagIt-Version: {version}\nTag-File-Character-Encoding: UTF-8\n"


@pytest.fixture
def verdict(tmp_path):
    """Judge a bag given as files: (is valid, codes of errors, codes of warnings)."""

    def judge(files: dict[str, str | bytes], *, version=NEW):
        (tmp_path / "data").mkdir(exist_ok=True)
        for name, data in ({"bagit.txt": declared(version)} | files).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data if isinstance(data, bytes) else data.encode())
        report = validate_bag(tmp_path)
        errors = [finding.code for finding in report.findings if finding.severity is Severity.ERROR]
        warnings = [finding.code for finding in report.findings if finding.severity is Severity.WARNING]
        assert report.is_valid == (not errors)
        return errors, warnings

    return judge


def one(written: str, name: str | None = None) -> dict[str, str | bytes]:
    return {f"data/{name or written}": ONE, "manifest-sha256.txt": listed(f"data/{written}")}


VALID = ([], [])


def test_percent_written_as_the_rfc_says(verdict):
    assert verdict(one("a%25b.txt", "a%b.txt")) == ([], ["name-misread"])


def test_percent_written_as_it_is(verdict):
    assert verdict(one("a%b.txt")) == ([], ["percent-literal"])


def test_a_name_that_looks_like_an_escape(verdict):
    assert verdict(one("a%250Ab.txt", "a%0Ab.txt")) == ([], ["name-misread"])


def test_a_name_that_looks_like_an_escape_left_as_it_is(verdict):
    assert verdict(one("a%0Ab.txt")) == ([], ["percent-literal"])


def test_the_literal_reading_is_not_tried_where_the_right_one_fits(verdict):
    files = one("a%0Ab.txt", "a\nb.txt") | {"data/a%0Ab.txt": ONE}
    assert verdict(files) == (["file-extra"], ["name-control", "name-misread", "name-misread"])


@pytest.mark.parametrize("name", ["a%0Ab.txt", "a%25b.txt", "100%.txt"])
def test_old_versions_encode_nothing(verdict, name):
    assert verdict(one(name), version=OLD) == VALID


def test_old_bags_in_which_a_line_break_is_encoded_all_the_same(verdict):
    assert verdict(one("a%0Ab.txt", "a\nb.txt"), version=OLD) == ([], ["percent-literal", "name-control"])


@pytest.mark.parametrize("name", ["space ", "nbsp\u00a0"])
def test_names_with_a_space_at_the_end(verdict, name):
    assert verdict(one(name)) == ([], ["name-trailing", "name-misread"])


def test_a_manifest_that_omits_a_file(verdict):
    files = one("a") | {"manifest-sha512.txt": ""}
    assert verdict(files) == (["manifest-incomplete"], [])
    assert verdict(files, version=OLD) == VALID


@pytest.mark.parametrize(
    "text",
    [
        declared(NEW) + "Third: line\n",
        "Tag-File-Character-Encoding: UTF-8\nBagIt-Version: 1.0\n",
        "BagIt-Version : 1.0\nTag-File-Character-Encoding: UTF-8\n",
    ],
)
def test_bagit_txt_of_another_shape(verdict, text):
    assert verdict(one("a") | {"bagit.txt": text}) == (["bagit-declaration"], [])


def test_an_unknown_version(verdict):
    assert verdict(one("a"), version="1.7") == (["bagit-version"], [])


def test_a_payload_manifest_that_lists_bagit_txt(verdict):
    files = one("a")
    files["manifest-sha256.txt"] += listed("bagit.txt", data=declared(NEW).encode())
    assert verdict(files) == (["manifest-place"], [])


def test_an_old_payload_manifest_that_lists_bagit_txt(verdict):
    files = one("a")
    files["manifest-sha256.txt"] += listed("bagit.txt", data=declared(OLD).encode())
    assert verdict(files, version=OLD) == ([], ["manifest-place"])
    files["manifest-sha256.txt"] += listed("bag-info.txt", data=b"other")
    assert verdict(files | {"bag-info.txt": ""}, version=OLD)[0] == ["file-damaged"]


def test_a_tag_manifest_that_omits_the_payload_manifest(verdict):
    files = one("a") | {"tagmanifest-sha256.txt": listed("bagit.txt", data=declared(NEW).encode())}
    assert verdict(files) == (["tag-manifest-incomplete"], [])


def test_a_tag_manifest_that_omits_another_tag_file(verdict):
    files = one("a") | {"bag-info.txt": "A: b\n"}
    files["tagmanifest-sha256.txt"] = listed(
        "manifest-sha256.txt", data=files["manifest-sha256.txt"].encode()
    )
    assert verdict(files) == ([], ["tag-file-unlisted", "tag-file-unlisted"])


def test_a_tag_manifest_that_lists_a_payload_file(verdict):
    files = one("a")
    files["tagmanifest-sha256.txt"] = (
        listed("manifest-sha256.txt", data=files["manifest-sha256.txt"].encode())
        + listed("bagit.txt", data=declared(NEW).encode())
        + listed("data/a")
    )
    assert verdict(files) == (["manifest-place"], [])


@pytest.mark.parametrize("label", ["Payload-Oxum", "payload-oxum", "PAYLOAD-OXUM"])
def test_payload_oxum_counts_in_any_case(verdict, label):
    assert verdict(one("a") | {"bag-info.txt": f"{label}: 8.1\n"}) == VALID
    assert verdict(one("a") | {"bag-info.txt": f"{label}: 9.1\n"}) == (["oxum-mismatch"], [])
    assert verdict(one("a") | {"bag-info.txt": f"{label}: 8.2\n"}) == (["oxum-mismatch"], [])
    assert verdict(one("a") | {"bag-info.txt": f"{label}: much\n"}) == (["oxum-malformed"], [])


def test_payload_oxum_twice(verdict):
    files = one("a") | {"bag-info.txt": "Payload-Oxum: 8.1\npayload-oxum: 8.1\n"}
    assert verdict(files) == (["oxum-repeated"], [])
    assert verdict(files, version=OLD) == ([], ["oxum-repeated"])


def test_an_unparsable_manifest_line(verdict):
    files = one("a")
    files["manifest-sha256.txt"] += "nonsense\n"
    assert verdict(files) == (["manifest-line"], [])


def test_an_algorithm_that_is_not_known_never_passes_in_silence(verdict):
    assert verdict(one("a") | {"manifest-blake3.txt": f"{'0' * 64}  data/a\n"}) == (
        ["algorithm-not-verified"],
        [],
    )
    assert verdict(one("a") | {"manifest-blake3.txt": f"{'0' * 64}  data/b\n"}) == (
        ["algorithm-not-verified", "manifest-incomplete", "file-missing"],
        [],
    )


def test_only_an_algorithm_that_is_not_known(verdict):
    files = {"data/a": ONE, "manifest-blake3.txt": f"{'0' * 64}  data/a\n"}
    assert verdict(files) == (["algorithm-not-verified"], [])


@pytest.mark.parametrize("algorithm", ["md5", "sha1"])
def test_only_a_weak_algorithm(verdict, algorithm):
    files = {"data/a": ONE, f"manifest-{algorithm}.txt": listed("data/a", algorithm)}
    assert verdict(files) == ([], ["algorithm-weak"])


@pytest.mark.parametrize(
    "algorithm", ["sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b", "blake2s"]
)
def test_each_strong_algorithm(verdict, algorithm):
    name = algorithm.replace("_", "")
    files = {"data/a": ONE, f"manifest-{name}.txt": listed("data/a", algorithm)}
    assert verdict(files) == VALID
    assert verdict(files | {"data/a": b"other"}) == (["file-damaged"], [])


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("museum.example/a 8 data/a", ["fetch-url"]),
        ("https://a.example/x 8 bagit.txt", ["fetch-path"]),
        ("https://a.example/x 8 data/../bagit.txt", ["fetch-path"]),
        ("https://a.example/x 8 data/b", ["fetch-unlisted"]),
        ("", ["fetch-line"]),
        ("https://a.example/x 8 data/a", []),
        ("ftp://a.example/x 8 data/a", []),
        ("ark:/57799/b9dd2w - data/a", []),
    ],
)
def test_fetch_lists(verdict, line, errors):
    assert verdict(one("a") | {"fetch.txt": f"{line}\n"}) == (errors, [])


def test_a_file_that_is_fetched_yet(verdict):
    files = {
        "manifest-sha256.txt": listed("data/a\u00e4%0Ab"),
        "fetch.txt": "https://a.example/x - data/a\u00e4%0Ab\n",
    }
    assert verdict(files) == (["file-missing"], [])


def test_a_fetch_list_must_agree_with_every_manifest(verdict):
    files = one("a") | {"manifest-sha512.txt": "", "fetch.txt": "https://a.example/x - data/a\n"}
    assert verdict(files) == (["fetch-unlisted", "manifest-incomplete"], [])
    assert verdict(files, version=OLD) == VALID


def test_a_file_promised_twice(verdict):
    assert verdict(one("a") | {"fetch.txt": "https://a.example/x - data/a\n" * 2}) == ([], ["fetch-repeated"])


def test_unicode_twins(verdict):
    names = ["caf\u00e9", "cafe\u0301"]
    files = {f"data/{name}": ONE for name in names}
    files["manifest-sha256.txt"] = "".join(listed(f"data/{name}") for name in names)
    assert verdict(files) == (["name-normalisation-twin"], [])


def test_labels_that_should_stand_once(verdict):
    files = one("a") | {"bag-info.txt": "Bag-Count: 1\nbag-count: 2\nContact-Name: A\nContact-Name: B\n"}
    assert verdict(files) == ([], ["bag-info-repeated"])


def test_a_line_of_bag_info_without_a_label(verdict):
    assert verdict(one("a") | {"bag-info.txt": "nothing\n"}) == (["bag-info-line"], [])


def test_no_manifest_at_all(verdict):
    assert verdict({}) == (["manifest-missing"], [])
    assert verdict({"data/a": ONE}) == (["manifest-missing", "file-extra"], [])


@pytest.mark.parametrize("path", ["/etc/hostname", "data/../../bag-sibling/x", "~/x", "data/..\\..\\x"])
def test_a_manifest_that_leads_out_of_the_bag(verdict, tmp_path, path):
    sibling = tmp_path.with_name("bag-sibling")
    sibling.mkdir(exist_ok=True)
    (sibling / "x").write_bytes(ONE)
    files = one("a")
    files["manifest-sha256.txt"] += listed(path)
    assert verdict(files) == (["path-unsafe"], [])


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_line_ends(verdict, end):
    files = {
        name: data.replace("\n", end) if isinstance(data, str) else data for name, data in one("a").items()
    }
    assert verdict(files | {"bag-info.txt": f"Payload-Oxum: 8.1{end}A: b{end}  c{end}"}) == VALID


def test_upper_case_digests(verdict):
    assert (
        verdict({"data/a": ONE, "manifest-sha256.txt": listed("data/a")[:64].upper() + "\t data/a\n"})
        == VALID
    )


def test_tag_files_in_another_encoding(verdict):
    files = {
        "bagit.txt": "BagIt-Version: 1.0\nTag-File-Character-Encoding: ISO-8859-1\n",
        "data/Köln": ONE,
        "manifest-sha256.txt": listed("data/Köln").encode("latin-1"),
        "bag-info.txt": "Ort: Köln\n".encode("latin-1"),
    }
    assert verdict(files) == VALID
    assert verdict(files | {"bagit.txt": declared(NEW)})[0] == ["tag-file-encoding", "tag-file-encoding"]
