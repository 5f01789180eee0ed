"""Every code that cites RFC 8493 cites a section that exists and says so."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from codes import CODE, PROJECT, SOURCES, codes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECTIONS = {
    "1": "Introduction",
    "1.1": "Purpose",
    "1.2": "Requirements",
    "1.3": "Terminology",
    "2": "Structure",
    "2.1": "Required Elements",
    "2.1.1": "Bag Declaration: bagit.txt",
    "2.1.2": "Payload Directory: data/",
    "2.1.3": "Payload Manifest: manifest-algorithm.txt",
    "2.2": "Optional Elements",
    "2.2.1": "Tag Manifest: tagmanifest-algorithm.txt",
    "2.2.2": "Bag Metadata: bag-info.txt",
    "2.2.3": "Fetch File: fetch.txt",
    "2.2.4": "Other Tag Files",
    "2.3": "Text Tag File Format",
    "2.4": "Bag Checksum Algorithms",
    "3": "Complete and Valid Bags",
    "4": "Examples",
    "4.1": "Example of a Basic Bag",
    "4.2": "Example Bag Using fetch.txt",
    "5": "Security Considerations",
    "5.1": "Special Directory Characters",
    "5.2": "Control of URLs in fetch.txt",
    "5.3": "File Sizes in fetch.txt",
    "5.4": "Attacks on Payload File Content",
    "6": "Practical Considerations (Non-normative)",
    "6.1": "Interoperability",
    "6.1.1": "Filename Normalization",
    "6.1.1.1": "Case Sensitivity",
    "6.1.1.2": "Unicode Normalization",
    "6.1.1.3": "Recommendations",
    "6.1.2": "Windows and Unix File Naming",
    "6.1.3": "Legacy Checksum Tools",
}
"""The sections of RFC 8493 that a rule of a bag can stand in, with their titles."""

DEMANDS = {
    "2.1.1": (
        "bagit.txt: exactly two lines in their order, UTF-8 without a BOM; version and encoding",
        {"bagit-declaration", "bagit-encoding", "bagit-missing", "bagit-version"},
    ),
    "2.1.2": ("there is a folder data/", {"payload-missing"}),
    "2.1.3": (
        "each payload manifest lists each payload file once; digest, space, path from the bag on, `/`, %0A",
        {
            "manifest-digest-length",
            "manifest-dot-slash",
            "manifest-line",
            "manifest-missing",
            "manifest-place",
            "manifest-repeated",
            "manifest-separator",
            "percent-literal",
            "source-empty-folder",
        },
    ),
    "2.2.1": (
        "lists every payload manifest, no payload file, no tag manifest; should list the other tag files",
        {"manifest-place", "tag-file-unlisted", "tag-manifest-incomplete"},
    ),
    "2.2.2": (
        "label, colon, value; Payload-Oxum once, two numbers, true; some should not be repeated",
        {"bag-info-line", "bag-info-repeated", "oxum-malformed", "oxum-mismatch", "oxum-repeated"},
    ),
    "2.2.3": (
        "fetch.txt: absolute URI, length or -, path; every file in every payload manifest; no tag files",
        {"fetch-line", "fetch-path", "fetch-unlisted", "fetch-url", "fetch-url-form"},
    ),
    "2.3": (
        "text tag files are in the encoding that bagit.txt declares; in UTF-8 without a BOM",
        {
            "locale-not-utf8",
            "name-not-utf8",
            "source-name-not-utf8",
            "tag-file-bom",
            "tag-file-encoding",
        },
    ),
    "2.4": (
        "digests of registered algorithms, names of small letters and digits",
        {"algorithm-weak", "manifest-name"},
    ),
    "3": (
        "listed files are there, payload files are in every manifest, every digest was verified",
        {
            "algorithm-not-verified",
            "file-damaged",
            "file-extra",
            "file-missing",
            "file-unreadable",
            "manifest-incomplete",
        },
    ),
    "5.1": ("no file outside of the bag is touched because of a path in it", {"path-unsafe"}),
    "5.2": ("URLs in fetch.txt may point at hosts that are nobody's to hand out", {"fetch-url-local"}),
    "6.1.1.3": (
        "no names that differ in case or Unicode form only; names are compared in one Unicode form",
        {"name-case-twin", "name-normalisation", "name-normalisation-twin"},
    ),
    "6.1.2": (
        "Windows: names of 255 characters at most, characters and words that no name may have there",
        {"name-too-long", "name-windows-character", "name-windows-reserved"},
    ),
    "6.1.3": (
        "md5sum writes `*` before some paths and a backslash before some lines: strict readers refuse them",
        {"manifest-escape", "manifest-star"},
    ),
}
"""What each cited section demands, in words of ours, and the codes that may say so."""

RULE = re.compile(r"RFC 8493 §([0-9.]*[0-9])")


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for root in SOURCES:
        for path in sorted(root.rglob("*.py")):
            yield path, ast.parse(path.read_text())


def _constants(tree: ast.Module) -> dict[str, str]:
    """The module's own strings, so that `rule=_RULE` can be read."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                found[target.id] = node.value.value
    return found


def _values(node: ast.expr | None, constants: dict[str, str]) -> list[str]:
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name):
            return [constants[name]] if name in constants else []
        case ast.IfExp(body=body, orelse=orelse):
            return _values(body, constants) + _values(orelse, constants)
    return []


def _cited() -> set[tuple[str, str]]:
    """Each (code, section) of the source: rules given with a code, and tables from codes to rules."""
    found = set()
    for _, tree in _trees():
        constants = _constants(tree)
        for node in ast.walk(tree):
            pairs: list[tuple[str, str]] = []
            if isinstance(node, ast.Call):
                rules = [
                    value
                    for word in node.keywords
                    if word.arg == "rule"
                    for value in _values(word.value, constants)
                ]
                rules += _values(node.args[6] if len(node.args) > 6 else None, constants)
                pairs = [(code, rule) for code in codes_of(node) for rule in rules]
            elif isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    pairs += [(code, rule) for code in _values(key, {}) for rule in _values(value, constants)]
            for code, rule in pairs:
                match = RULE.fullmatch(rule)
                if match and CODE.fullmatch(code):
                    found.add((code, match[1]))
    return found


def test_every_citation_is_of_a_section_that_says_so():
    allowed = {(code, section) for section, (_, codes) in DEMANDS.items() for code in codes}
    cited = _cited()
    assert cited - allowed == set(), "codes that cite a section which does not say so"
    assert allowed - cited == set(), "codes that no longer cite the section"
    assert set(DEMANDS) <= set(SECTIONS)


def test_no_rule_escapes_the_comparison():
    """A rule that the reading of the syntax does not attribute to a code would never be compared."""
    cited = {section for _, section in _cited()}
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                match = RULE.fullmatch(node.value)
                assert match is None or match[1] in cited, f"{path}: {node.value}"


def test_every_section_named_in_words_exists():
    for path in [*(path for path, _ in _trees()), *(PROJECT / "specs").rglob("*.md")]:
        for section in RULE.findall(path.read_text()):
            assert section in SECTIONS, f"{path} names §{section}"
