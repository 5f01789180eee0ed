"""What a process must have around it before it may judge a file: names in UTF-8, whatever the locale says.

Names in a bag are UTF-8 bytes (RFC 8493 §2.3). Python asks the locale how to turn text into the bytes of a
name; where that is not UTF-8, the same manifest would name other files, and a sound bag would be called
damaged. The command starts itself again in UTF-8 mode; a library cannot, so it refuses.
"""

from __future__ import annotations

import sys

from heritage_ledger.errors import UsageError


def check_encoding() -> None:
    """Check that this process names files in UTF-8.

    Raises:
        UsageError: it does not (`locale-not-utf8`).
    """
    found = sys.getfilesystemencoding()
    if found.lower().replace("-", "") != "utf8":
        raise UsageError(
            "locale-not-utf8",
            "this process does not name files in UTF-8, so it would look for other files than a bag names",
            expected="utf-8",
            found=found,
            advice="start Python with PYTHONUTF8=1 (or -X utf8), or in a UTF-8 locale such as C.UTF-8",
            rule="RFC 8493 §2.3",
        )
