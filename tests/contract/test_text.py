"""Text from outside is only text: what each destination gets is inert, bounded, and distinct where it must be."""

from __future__ import annotations

import json
import re
import unicodedata
from html.parser import HTMLParser
from keyword import iskeyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtsysid.cli import console
from rtsysid.errors import TraceError
from rtsysid.evaluation.report.tree import el, html
from rtsysid.guards import text

PARTS = ["*/", "/*", "//", "??/", "\\", '"', "'", "\n", "\r", "\x1b[2J", "\x9b", "\x00", "\x7f", "\u202e", "\ud800",
         "<script>", "&", "..", "/", ".", " ", "$(x)", "é", "A", "a", "_", "2", "x" * 255]  # fmt: skip
ANY = st.text(st.characters()) | st.lists(st.sampled_from(PARTS)).map("".join)
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")


def inert(line: str) -> bool:
    """Whether a terminal shows a line and does nothing else."""
    line.encode()  # no half characters
    return not any(unicodedata.category(character) in UNSAFE for character in line)


@given(ANY)
def test_a_terminal_gets_one_line_that_does_nothing(outside: str) -> None:
    """No escape, no newline, nothing that turns the line around, at most 1,000 characters, and safe to clean twice."""
    cleaned = text.for_terminal(outside)
    assert inert(cleaned)
    assert len(cleaned) <= text.LONGEST
    assert text.for_terminal(cleaned) == cleaned


@given(ANY, ANY, ANY)
def test_an_error_is_one_line(what: str, found: str, remedy: str) -> None:
    """Whatever a file says in the message of an error."""
    line = str(TraceError(what, found, remedy))
    assert inert(line)
    assert len(line) <= 3 * text.LONGEST + 4


@given(ANY)
def test_a_page_shows_markup_as_text(outside: str) -> None:
    """In a node and in an attribute, as one element, without a character that turns text around."""
    page, found = html([el("p", outside, title=outside)]), []
    parser = HTMLParser(convert_charrefs=True)
    parser.handle_starttag = lambda tag, attributes: found.append((tag, attributes))  # type: ignore[method-assign]
    parser.handle_data = found.append  # type: ignore[method-assign]
    parser.feed(page)
    parser.close()
    assert inert(page)
    assert found[0] == ("p", [("title", text.visible(outside))])
    assert "".join(found[1:]) == text.for_html(outside)


@given(ANY, ANY)
def test_json_is_valid_in_any_case(name: str, value: str) -> None:
    """Half characters and numbers that are not finite are valid for any reader, and nothing else is changed."""
    plain = console.plain({name: [value, float("nan"), float("-inf"), 1.5]})
    ((key, values),) = json.loads(json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()).items()
    assert values[1:] == [None, None, 1.5]
    if not any(unicodedata.category(character) == "Cs" for character in name + value):
        assert (key, values[0]) == (name, value)


@given(ANY)
def test_a_c_comment_does_not_end_early(outside: str) -> None:
    """Printable ASCII without the end of a comment or of a string, a trigraph, or a joined line."""
    cleaned = text.for_c(outside)
    assert re.fullmatch(r"[ -~]*", cleaned)
    assert not re.search(r'\*/|/\*|\\|\?|"', cleaned)
    assert len(cleaned) <= 2 * text.LONGEST


@given(st.lists(ANY, unique=True))
def test_generated_names_are_distinct_and_valid(names: list[str]) -> None:
    """C macros, fields of messages and files: distinct for different texts, and all of them legal."""
    for made, legal, longest in (
        (text.c_names(names), r"[A-Z0-9_]*", 63),
        (text.message_fields(names, {"stamp", "t"}), r"[a-z](_?[a-z0-9])*", 63),
        (text.file_names(names), r"[^/\x00-\x1f.][^/\x00-\x1f]*", 255),
    ):
        assert len({each.lower() for each in made}) == len(names)
        for each in made:
            assert re.fullmatch(legal, each), each
            assert len(each.encode()) <= longest
    assert not any(iskeyword(each) or each in {"stamp", "t"} for each in text.message_fields(names, {"stamp", "t"}))


@pytest.mark.parametrize("make", [text.c_names, text.message_fields, text.file_names])
def test_many_equal_names_take_linear_time(make: object) -> None:
    """Forty thousand channels of one name get forty thousand names: a quadratic search would take minutes."""
    assert callable(make)
    assert len(set(make(["é"] * 40_000))) == 40_000
