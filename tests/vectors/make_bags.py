"""Writes specs/vectors/bags.json: names and whole bags, each with the verdict that RFC 8493 gives.

The expected values are stated here by hand; spellings and digests come from a few lines of their own, not
from the library.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "specs" / "vectors" / "bags.json"

NAMES = [
    ("plain", "nothing to encode", "data/scan 001.tif"),
    ("percent", "a percent sign", "data/100%.txt"),
    ("looks-encoded", "a name that looks like an escape", "data/file%0A1.txt"),
    ("line-feed", "a line feed", "data/a\nb"),
    ("carriage-return", "a carriage return", "data/a\rb"),
    ("all-three", "in their order", "data/%\r\n%25"),
    ("nothing-else", "spaces, tabs, stars, other scripts as they are", "data/ *\t\u00e9\u2028\u6771.txt "),
]
LITERAL = [
    ("bare", "a percent sign alone", "data/100%", "data/100%"),
    ("url-escape", "a space as in URLs", "data/a%20b", "data/a%20b"),
    ("slash", "no path part is made by decoding", "data/a%2Fb", "data/a%2Fb"),
    ("mixed", "one right and one wrong", "data/%25%41", "data/%%41"),
]
UNSAFE = [
    ("absolute", "/etc/passwd"),
    ("home", "~/x"),
    ("other-home", "~root/x"),
    ("parent", "../x"),
    ("parent-inside", "data/../../x"),
    ("dot", "data/./x"),
    ("empty-part", "data//x"),
    ("folder", "data/x/"),
    ("nul", "data/x\0"),
    ("drive", "C:\\x"),
    ("drive-relative", "C:x"),
    ("share", "\\\\server\\x"),
    ("backslash-parent", "data\\..\\..\\x"),
    ("empty", ""),
]
REGISTERED = [
    ("sha3256", lambda data: hashlib.sha3_256(data.encode()).hexdigest()),
    ("blake2b512", lambda data: hashlib.blake2b(data.encode()).hexdigest()),
    ("blake2b256", lambda data: hashlib.blake2b(data.encode(), digest_size=32).hexdigest()),
    ("blake2s256", lambda data: hashlib.blake2s(data.encode()).hexdigest()),
    ("sha256128", lambda data: hashlib.sha256(data.encode()).hexdigest()[:32]),
]
FOREIGN = [
    ("ftp", "ftp://museum.example/a"),
    ("s3", "s3://a-bucket/a"),
    ("globus", "globus://0f1e2d/a"),
    ("ark", "ark:/57799/b9dd2w"),
    ("doi", "doi:10.1000/182"),
    ("tag", "tag:museum.example,2026:a"),
]
LOCAL = [
    ("file", "a URL of this machine", "file:///etc/passwd"),
    ("link-local", "an address of a cloud's own services", "http://169.254.169.254/x"),
    ("mapped", "the same as IPv6", "http://[::ffff:169.254.169.254]/x"),
    ("number", "this machine as one number", "http://2130706433/x"),
]


def encode(path: str) -> str:
    return path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")


def line(path: str, data: str = "one", algorithm: str = "sha256") -> str:
    return f"{hashlib.new(algorithm, data.encode()).hexdigest()}  {path}\n"


def bagit(version: str = "1.0") -> str:
    return f"BagIt-Version: {version}\nTag-File-Character-Encoding: UTF-8\n"


def bag(version: str = "1.0", **files: str | None) -> dict[str, str]:
    """One payload file `data/a`; underscores in keys stand for hyphens, `__` for a dot, `___` for a slash."""
    whole: dict[str, str | None] = {
        "bagit.txt": bagit(version),
        "data/a": "one",
        "manifest-sha256.txt": line("data/a"),
    }
    for key, text in files.items():
        whole[key.replace("___", "/").replace("__", ".").replace("_", "-")] = text
    return {name: text for name, text in whole.items() if text is not None}


def renamed(name: str, written: str, version: str = "1.0") -> dict[str, str]:
    return bag(version, data___a=None, manifest_sha256__txt=line(written)) | {name: "one"}


ORDER = "Tag-File-Character-Encoding: UTF-8\nBagIt-Version: 1.0\n"
MANIFEST = line("manifest-sha256.txt", line("data/a"))
TAGS = MANIFEST + line("bagit.txt", bagit())
ZERO = "0" * 64

VALID = [
    ("minimal", "the least that a bag is", bag(), []),
    ("old", "version 0.97", bag("0.97"), []),
    ("oldest", "version 0.93", bag("0.93"), []),
    ("tag-manifest", "every tag file is listed", bag(tagmanifest_sha256__txt=TAGS), []),
    ("crlf", "lines may end in CR LF", bag(manifest_sha256__txt=line("data/a").replace("\n", "\r\n")), []),
    ("cr", "lines may end in CR", bag(manifest_sha256__txt=line("data/a").replace("\n", "\r")), []),
    (
        "upper-case-digest",
        "the case of hexadecimal digits is free",
        bag(manifest_sha256__txt=line("data/a")[:64].upper() + " \tdata/a\n"),
        [],
    ),
    ("percent", "written as %25", renamed("data/a%b", "data/a%25b"), ["name-misread"]),
    ("percent-bare", "the literal name is tried", renamed("data/a%b", "data/a%b"), ["percent-literal"]),
    (
        "percent-undecoded",
        "an escape that was meant literally",
        renamed("data/a%0Ab", "data/a%0Ab"),
        ["percent-literal"],
    ),
    ("percent-old", "old versions encode nothing", renamed("data/a%0Ab", "data/a%0Ab", "0.97"), []),
    (
        "oxum",
        "bytes and files as they are, the label in any case",
        bag(bag_info__txt="payload-oxum: 3.1\n"),
        [],
    ),
    (
        "repeated-label",
        "most labels may stand twice",
        bag(bag_info__txt="Contact-Name: A\nContact-Name: B\n"),
        [],
    ),
    (
        "repeated-date",
        "some should not",
        bag(bag_info__txt="Bagging-Date: 2026-01-01\nBagging-Date: 2026-01-02\n"),
        ["bag-info-repeated"],
    ),
    (
        "repeated-group",
        "nor this",
        bag(bag_info__txt="Bag-Group-Identifier: A\nBag-Group-Identifier: B\n"),
        ["bag-info-repeated"],
    ),
    (
        "manifest-byte-order-mark",
        "UTF-8 has no use for it",
        bag(manifest_sha256__txt="\ufeff" + line("data/a")),
        ["tag-file-bom"],
    ),
    (
        "bag-info-byte-order-mark",
        "the first label is read all the same",
        bag(bag_info__txt="\ufeffPayload-Oxum: 3.1\n"),
        ["tag-file-bom"],
    ),
    (
        "weak",
        "digests that can be forged",
        bag(manifest_sha256__txt=None, manifest_md5__txt=line("data/a", algorithm="md5")),
        ["algorithm-weak"],
    ),
    *(
        (
            f"algorithm-{name}",
            "beside a usual one",
            bag() | {f"manifest-{name}.txt": digest("one") + "  data/a\n"},
            [],
        )
        for name, digest in REGISTERED
    ),
    (
        "algorithm-spelt-otherwise",
        "capitals and a dash",
        bag(manifest_sha256__txt=None) | {"manifest-SHA-256.txt": line("data/a")},
        ["manifest-name"],
    ),
    (
        "star",
        "as md5sum writes it",
        bag(manifest_sha256__txt=line("data/a").replace("  ", " *")),
        ["manifest-star"],
    ),
    (
        "old-dot-slash",
        "as find writes it, in an old bag",
        bag("0.97", manifest_sha256__txt=line("./data/a")),
        ["manifest-dot-slash"],
    ),
    (
        "old-repeated",
        "twice the same, in an old bag",
        bag("0.97", manifest_sha256__txt=line("data/a") * 2),
        ["manifest-repeated"],
    ),
    (
        "old-incomplete",
        "old bags list a file in one manifest at least",
        bag("0.97", manifest_sha512__txt=""),
        [],
    ),
    (
        "fetched",
        "what fetch.txt promised has come",
        bag(fetch__txt="https://museum.example/a 3 data/a\n"),
        [],
    ),
    *(
        (f"fetched-{name}", "any absolute URI will do", bag(fetch__txt=f"{url} 3 data/a\n"), [])
        for name, url in FOREIGN
    ),
    *(
        (f"fetched-{name}", why, bag(fetch__txt=f"{url} - data/a\n"), ["fetch-url-local"])
        for name, why, url in LOCAL
    ),
    (
        "fetched-not-escaped",
        "a character that a URI cannot have",
        bag(fetch__txt="https://museum.example/caf\u00e9 - data/a\n"),
        ["fetch-url-form"],
    ),
    (
        "trailing-space",
        "a name with a space at its end",
        renamed("data/a ", "data/a "),
        ["name-misread", "name-trailing"],
    ),
    (
        "tag-file-unlisted",
        "a tag file that nothing protects",
        bag(tagmanifest_sha256__txt=MANIFEST),
        ["tag-file-unlisted"],
    ),
    (
        "case-twins",
        "two names in two cases",
        bag(manifest_sha256__txt=line("data/a") + line("data/A"), data___A="one"),
        ["name-case-twin"],
    ),
]
INVALID = [
    ("damaged", "one byte is another", bag(data___a="onf"), ["file-damaged"]),
    (
        "missing",
        "a listed file is not there",
        bag(manifest_sha256__txt=line("data/a") + line("data/b")),
        ["file-missing"],
    ),
    ("extra", "a file that nothing lists", bag(data___b="two"), ["file-extra"]),
    (
        "renamed",
        "missing and extra at once",
        bag(data___a=None, data___b="one"),
        ["file-extra", "file-missing"],
    ),
    (
        "tag-file-damaged",
        "a tag file is another",
        bag(tagmanifest_sha256__txt=TAGS, bagit__txt=bagit().removesuffix("\n")),
        ["file-damaged"],
    ),
    (
        "incomplete",
        "one of two manifests leaves a file out",
        bag(manifest_sha512__txt=""),
        ["manifest-incomplete"],
    ),
    ("three-lines", "bagit.txt has two", bag(bagit__txt=bagit() + "Third: line\n"), ["bagit-declaration"]),
    ("order", "bagit.txt the wrong way round", bag(bagit__txt=ORDER), ["bagit-declaration"]),
    ("space-before-colon", "not in 1.0", bag(bagit__txt=bagit().replace(":", " :")), ["bagit-declaration"]),
    ("byte-order-mark", "before bagit.txt", bag(bagit__txt="\ufeff" + bagit()), ["bagit-declaration"]),
    ("version", "one that is not known", bag("1.7"), ["bagit-version"]),
    (
        "encoding",
        "one that is not known",
        bag(bagit__txt=bagit().replace("UTF-8", "UTF-9")),
        ["bagit-encoding"],
    ),
    ("no-declaration", "no bagit.txt", bag(bagit__txt=None), ["bagit-missing"]),
    (
        "no-manifest",
        "no payload manifest",
        bag(manifest_sha256__txt=None),
        ["file-extra", "manifest-missing"],
    ),
    (
        "payload-lists-tag-file",
        "payload manifests list data/ only",
        bag(manifest_sha256__txt=line("data/a") + line("bagit.txt", bagit())),
        ["manifest-place"],
    ),
    (
        "tag-lists-payload",
        "tag manifests list no payload",
        bag(tagmanifest_sha256__txt=TAGS + line("data/a")),
        ["manifest-place"],
    ),
    (
        "tag-lists-tag-manifest",
        "nor other tag manifests",
        bag(tagmanifest_sha256__txt=TAGS + ZERO + "  tagmanifest-md5.txt\n"),
        ["manifest-place"],
    ),
    (
        "tag-omits-manifest",
        "tag manifests list every payload manifest",
        bag(tagmanifest_sha256__txt=line("bagit.txt", bagit())),
        ["tag-manifest-incomplete"],
    ),
    (
        "malformed",
        "a line that is none",
        bag(manifest_sha256__txt=line("data/a") + "nonsense\n"),
        ["manifest-line"],
    ),
    (
        "empty-line",
        "nor an empty one in 1.0",
        bag(manifest_sha256__txt=line("data/a") + "\n"),
        ["manifest-line"],
    ),
    (
        "digest-length",
        "a digest that was cut",
        bag(manifest_sha256__txt=line("data/a") + "00  data/b\n"),
        ["manifest-digest-length"],
    ),
    ("repeated", "a path twice", bag(manifest_sha256__txt=line("data/a") * 2), ["manifest-repeated"]),
    (
        "old-repeated-otherwise",
        "with two digests, in an old bag",
        bag("0.97", manifest_sha256__txt=ZERO + "  data/a\n" + line("data/a")),
        ["file-damaged", "manifest-repeated"],
    ),
    ("dot-slash", "not in 1.0", bag(manifest_sha256__txt=line("./data/a")), ["manifest-dot-slash"]),
    (
        "outside",
        "a path that leads out",
        bag(manifest_sha256__txt=line("data/a") + line("data/../../x")),
        ["path-unsafe"],
    ),
    ("oxum-mismatch", "more than there is", bag(bag_info__txt="Payload-Oxum: 4.1\n"), ["oxum-mismatch"]),
    (
        "oxum-mismatch-damaged",
        "the damaged file is named all the same",
        bag(bag_info__txt="Payload-Oxum: 4.1\n", data___a="onf"),
        ["file-damaged", "oxum-mismatch"],
    ),
    (
        "oxum-repeated",
        "twice the same",
        bag(bag_info__txt="Payload-Oxum: 3.1\npayload-oxum: 3.1\n"),
        ["oxum-repeated"],
    ),
    ("oxum-malformed", "no two numbers", bag(bag_info__txt="Payload-Oxum: 3 bytes\n"), ["oxum-malformed"]),
    ("bag-info-line", "no label", bag(bag_info__txt="nothing\n"), ["bag-info-line"]),
    (
        "unknown-algorithm",
        "beside a known one",
        bag(manifest_blake3__txt=ZERO + "  data/a\n"),
        ["algorithm-not-verified"],
    ),
    (
        "algorithm-damaged",
        "one that is registered, of other bytes",
        bag(manifest_blake2b512__txt=hashlib.blake2b(b"onf").hexdigest() + "  data/a\n"),
        ["file-damaged"],
    ),
    (
        "algorithm-of-another-length",
        "cut, and not named so",
        bag(manifest_blake2b512__txt=ZERO + "  data/a\n"),
        ["manifest-digest-length", "manifest-incomplete"],
    ),
    (
        "algorithm-without-a-length",
        "SHAKE has none of its own",
        bag(manifest_shake256__txt=ZERO + "  data/a\n"),
        ["algorithm-not-verified"],
    ),
    (
        "backslashes",
        "folders are divided by /",
        bag(manifest_sha256__txt=line("data\\a")),
        ["file-extra", "manifest-separator"],
    ),
    (
        "escaped-line",
        "as md5sum writes some names",
        bag(manifest_sha256__txt="\\" + line("data/a")),
        ["file-extra", "manifest-escape"],
    ),
    (
        "other-case",
        "the same name in capitals",
        bag(manifest_sha256__txt=line("data/A")),
        ["file-extra", "file-missing"],
    ),
    ("fetch-relative", "no scheme", bag(fetch__txt="museum.example/a - data/a\n"), ["fetch-url"]),
    ("fetch-scheme-alone", "nothing after it", bag(fetch__txt="https: - data/a\n"), ["fetch-url"]),
    (
        "fetch-negative-length",
        "no number of bytes",
        bag(fetch__txt="https://museum.example/a -3 data/a\n"),
        ["fetch-line"],
    ),
    (
        "fetch-tag-file",
        "a target outside of the payload",
        bag(fetch__txt="https://museum.example/x - bagit.txt\n"),
        ["fetch-path"],
    ),
    (
        "fetch-unlisted",
        "a target in no manifest",
        bag(fetch__txt="https://museum.example/x - data/b\n"),
        ["fetch-unlisted"],
    ),
    ("fetch-empty-line", "an empty line", bag(fetch__txt="\n"), ["fetch-line"]),
    (
        "fetch-pending",
        "a file that has not come",
        bag(data___a=None, fetch__txt="https://museum.example/a - data/a\n"),
        ["file-missing"],
    ),
    (
        "twins",
        "one name in two Unicode forms",
        bag(manifest_sha256__txt=line("data/caf\u00e9") + line("data/cafe\u0301"), data___a=None)
        | {"data/caf\u00e9": "one", "data/cafe\u0301": "one"},
        ["name-normalisation-twin"],
    ),
]


def cases() -> list[dict[str, object]]:
    made: list[dict[str, object]] = []

    def add(name: str, why: str, given: object, expect: object) -> None:
        made.append({"id": name, "why": why, "given": given, "expect": expect})

    for name, why, path in NAMES:
        add(f"name-{name}", why, {"path": path}, {"written": encode(path)})
    for name, why, written, path in LITERAL:
        add(f"literal-{name}", why, {"written": written}, {"path": path, "warning": "percent-literal"})
    for name, path in UNSAFE:
        add(f"unsafe-{name}", "a path that no manifest may name", {"unsafe": path}, {"error": "path-unsafe"})
    for name, why, files, warnings in VALID:
        add(f"valid-{name}", why, {"files": files}, {"warnings": warnings})
    for name, why, files, errors in INVALID:
        add(f"invalid-{name}", why, {"files": files}, {"error": errors[0], "errors": errors})
    return made


def main() -> None:
    about = (
        "given.path is written in a manifest of version 1.0 as expect.written, and back; given.written is "
        "read as expect.path; given.unsafe is refused; given.files are the files of a whole bag, and expect "
        "the codes of its errors or, where it is valid, of its warnings, each once and sorted. data/ exists "
        "in every bag."
    )
    document = {"spec": "bags/v1", "about": about, "cases": cases()}
    OUT.write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
