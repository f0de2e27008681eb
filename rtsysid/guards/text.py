"""Clean text from outside for the place where it goes: terminal, JSON, HTML, C, message fields, file names.

Names in recordings, bundles and boards, and names of files, may hold anything: escape sequences of terminals, the end
of a C comment, bytes that are not UTF-8. Each function returns text that is inert at its destination and bounded in
length. Functions for several names keep distinct names distinct.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from keyword import kwlist

LONGEST = 1000  # characters of one text in a terminal or a comment
LONGEST_PARAGRAPH = 10_000  # characters of one text of a page
LONGEST_NAME = 48  # characters of a generated name: C99 guarantees 63, prefix and suffix included
LONGEST_FILE = 200  # bytes of a generated file name; file systems allow 255, and suffixes follow
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_NOT_C = re.compile(r"[^ -~]|[\\?\"]")  # not printable ASCII; a backslash, a trigraph, the end of a string
_SURROGATE = re.compile("[\ud800-\udfff]")


def visible(text: str) -> str:
    """Return `text` as one line: what cannot be seen, or moves the cursor, is an escape such as ``\\x1b``."""
    return text if text.isprintable() else "".join(map(_visible, text))


def for_terminal(text: str) -> str:
    """Return `text` as one line for people, in a terminal or in the message of an error."""
    return shortened(visible(text), LONGEST)


def for_html(text: str) -> str:
    """Return `text` for a node of an HTML page; markup is escaped when the page is written."""
    return shortened(visible(text), LONGEST_PARAGRAPH)


def for_json(text: str) -> str:
    """Return `text` without lone surrogates, which UTF-8 cannot hold: each is written as an escape."""
    return _SURROGATE.sub(lambda match: _visible(match[0]), text)


def for_c(text: str) -> str:
    """Return `text` for a comment or a string of C: printable ASCII that ends neither and joins no lines."""
    plain = _NOT_C.sub("_", shortened(text, LONGEST, dots="..."))
    return plain.replace("*/", "* /").replace("/*", "/ *")


def c_names(names: Iterable[str]) -> list[str]:
    """Return one distinct upper-case C name for each of `names`, to be used behind a prefix such as ``CHANNEL_``."""
    return _distinct([re.sub(r"[^A-Z0-9]", "_", name.upper()) for name in names])


def message_fields(names: Iterable[str], taken: Collection[str] = ()) -> list[str]:
    """Return one distinct name that ROS 2 allows for each of `names`, none of them in `taken` or a Python keyword.

    Ref: ROS 2 interfaces allow a to z, 0 to 9 and single underscores, beginning with a letter.
    """
    return _distinct([_message_field(name) for name in names], {*taken, *kwlist})


def file_names(names: Iterable[str]) -> list[str]:
    """Return one distinct file name, without a suffix, for each of `names`: no separators, no leading dots.

    The names are distinct without regard to case, as some file systems compare them.
    """
    plain = [re.sub(r"[^\w.+ -]", "_", name).strip(". ") or "_" for name in names]
    return _distinct([_within_bytes(each) for each in plain], fold=True)


def shortened(text: str, longest: int, dots: str = "…") -> str:
    """Return `text`, or its beginning and end with `dots` between where it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    kept = longest - len(dots)
    return f"{text[: kept - kept // 3]}{dots}{text[len(text) - kept // 3 :]}"


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE_CATEGORIES:
        return character
    return character.encode("unicode_escape").decode("ascii")


def _message_field(name: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return (plain if plain[:1].isalpha() else f"x_{plain}")[:LONGEST_NAME].rstrip("_")


def _within_bytes(name: str) -> str:
    return name.encode("utf-8", "replace")[:LONGEST_FILE].decode("utf-8", "ignore")


def _distinct(names: Sequence[str], taken: Collection[str] = (), *, fold: bool = False) -> list[str]:
    """Cut each name to the longest allowed, and number those that are taken: ``name``, ``name_2``, ``name_3``."""
    used, numbers, chosen = set(taken), dict[str, int](), []
    for full in names:
        name = base = full if fold else full[:LONGEST_NAME]
        while (key := name.lower() if fold else name) in used:
            numbers[base] = numbers.get(base, 1) + 1
            name = f"{base}_{numbers[base]}"
        used.add(key)
        chosen.append(name)
    return chosen
