"""Every stable code in the source stands in specs/findings.md, once, and nothing else does."""

from __future__ import annotations

import re

from codes import PROJECT, codes


def _listed() -> list[str]:
    text = (PROJECT / "specs" / "findings.md").read_text()
    table = text.partition("<!-- codes -->")[2].partition("<!-- end of codes -->")[0]
    return re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)


def test_every_code_is_listed_and_used():
    listed = _listed()
    assert sorted(set(listed)) == sorted(listed), "a code stands twice"
    used = set(codes())
    assert used - set(listed) == set(), "codes that specs/findings.md does not list"
    assert set(listed) - used == set(), "codes that nothing uses any more"


def test_the_scanner_sees_codes_at_all():
    assert {"not-a-bag", "source-link", "log-fork"} <= set(codes())
