r"""Text from outside, made safe to show: a terminal obeys what it prints.

>>> printable("scan\x1b[2J\u202e.tif\udcff")
'scan\\x1b[2J\\u202e.tif\\xff'
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` with everything that is not plainly visible written as an escape.

    Control characters, marks that turn the writing direction, line ends and unassigned characters become
    `\xNN`, `\uNNNN` or `\UNNNNNNNN`; bytes of a name that are not UTF-8 (surrogates, PEP 383) become `\xNN`.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def wellformed(text: str) -> str:
    r"""Return `text` with surrogates, which stand for bytes, as `\xNN`: fit for strict JSON readers."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return "".join(_visible(char) if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def _visible(char: str) -> str:
    code = ord(char)
    if char.isprintable():
        return char
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
