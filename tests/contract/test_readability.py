"""The language of the documents and comments, by the rules of `python -m tools.readability`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import readability
from tools.readability import blocks, faults, sentences


def test_the_documents_are_readable() -> None:
    """No sentence over 35 words, no list item without a full stop, no riddle, in documents and comments."""
    assert [str(fault) for fault in faults()] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A short sentence.", ""),
        (f"{'word ' * 35}end.", "36 words"),
        (f"{'word ' * 20}end. {'Word ' * 20}end.", ""),
        (f"{'word ' * 20}e.g. {'Word ' * 20}end.", "42 words"),
        (f"| head |\n|---|\n| {'cell ' * 36} |", "36 words"),
        (f"- Item\n  {'word ' * 36}.", "37 words"),
        ("* One.\n* Two", "without a full stop"),
        ("1. One:\n\n   ```\n   code\n   ```\n2. Two.", ""),
        ("* One:\n* Two.", "without a full stop"),
        ("* One.\n\n  More", "without a full stop"),
        ("It is drawn anew.", "'anew'"),
        ("Plain. Who needs more calibrates longer.", "'Who needs more calibrates longer'"),
        ("Plain. Who are you?", ""),
        ("What is shown of a recording is augmented.", "'What is shown"),
        ("```\nanew\n```\n", ""),
    ],
)
def test_each_rule_finds_its_fault(text: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that breaks a rule gives a line about it; one that keeps all rules gives none."""
    monkeypatch.setattr(readability, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text(text)
    lines = [str(fault) for fault in faults([tmp_path / "page.md"])]
    assert len(lines) == bool(found), lines
    assert all(found in line and line.startswith("page.md:") for line in lines)


def test_comments_are_read_and_code_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A riddle in a comment or docstring of Python or C is found with its line; one in a string or name is not."""
    monkeypatch.setattr(readability, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text('"""Drawn anew."""\nanew = "anew"  # anew\n')
    (tmp_path / "a.c").write_text('/* Drawn\n * anew. */\nint anew; // anew\nchar *x = "anew";\n')
    found = [
        str(each).partition(" ")[0] for name in ("a.py", "a.c") for each in readability.comment_faults(tmp_path / name)
    ]
    assert sorted(found) == ["a.c:1:", "a.c:3:", "a.py:1:", "a.py:2:"]


def test_sentences_end_where_readers_see_it() -> None:
    """Code, initials and abbreviations end no sentence; a sentence may begin with code."""
    (block,) = blocks("See M. Busetto et al. 2025. `rtsysid` is next. It is 3.5 m.")
    assert sentences(block.text) == ["See M. Busetto et al. 2025.", "`rtsysid` is next.", "It is 3.5 m."]
