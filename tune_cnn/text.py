"""Text of strangers (names of files, classes and hosts, messages of their code) as it can be shown and stored anywhere.

A file system allows any bytes in a name, and Python carries those that aren't UTF-8 as lone surrogates, which no
database, file or terminal takes.
"""

import unicodedata

# Control and format characters (line ends, ANSI escapes, marks that turn the writing direction), and what has no
# meaning yet or none at all. Of the format characters, joiners stay: emoji and some scripts are made with them.
_ESCAPED = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")


def printable(text: str, keep: str = "") -> str:
    r"""The text on one line, in characters that can be printed and encoded; others as escapes: `caf\xe9`, `a\nb`.

    A byte that wasn't UTF-8 is shown as that byte. `keep`: characters that stay all the same, such as line ends.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) if character not in keep else character for character in text)


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries the byte 0x80 to 0xFF of a name
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) not in _ESCAPED or character in _JOINERS:
        return character
    return character.encode("unicode_escape").decode() if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"
