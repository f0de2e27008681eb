"""Measure the language of the documents, and refuse what is hard to read: `python -m tools.readability`.

Four rules:

1. A sentence has at most 35 words. Code between backticks counts with its words.
2. A list item ends with a full stop, or with a colon where a block follows inside it.
3. No word of `RIDDLES`: each has a plain one next to it. This holds for comments and docstrings, too.
4. A table cell counts as a sentence.

The measure of a document is LIX: words for each sentence plus the percentage of words with more than six letters.
About 40 is a newspaper, about 50 a technical text. Ref: C.-H. Björnsson, Läsbarhet, 1968.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tools.source import ROOT

WORDS = 35  # in a sentence, at most
FOLDERS = ("rtsysid", "export", "firmware_bridge", "bench", "hil", "tools", "tests")
RIDDLES = {  # a pattern, and the plain word for it
    r"\bbeside\b": "next to, compared with",
    r"\bforetold\b|\bforetell": "predicted",
    r"\bhindsight\b": "afterwards, from the recording",
    r"\bso-manieth\b": "every N-th",
    r"\bmend(s|ed|ing)?\b": "repair, correct",
    r"\banew\b": "again, from the start",
    r"\b[Ww]hoever\b": "the noun: user, caller, process",
    r"\bstands? (?:in|for|beside|under|over|as)\b": "replace, mean, is",
    r"\bthat of those\b|\bthat of that\b": "name the noun again",
    r"(?:^|[.:;] )Who (?!am|are|is|was|did|does|can|may)[^.?!]*[.!]": "if you ..., with a verb that says what to do",
    r"(?:^|[.:;] )What is [^.?!]* (?:is|are|has|have|gets|goes) [^.?!]*[.!]": "a noun in place of the clause",
    r"\bas often as they count\b|\bmade-up one\b|\bhanding the interpreter lock\b": "say what happens",
    r"\bverb\b(?! and)": "command",
    r"\bwhereof\b|\bthereof\b|\bwhereby\b|\bherein\b": "of it, by which, in it",
}
ABBREVIATIONS = re.compile(r"\b(?:[A-Z]|e\.g|i\.e|al|vs|ed|no|Fig|Sec|approx)\.$")
ENDS = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9`_])")


class Block(NamedTuple):
    """One paragraph, list item or table cell: its line, its text, and whether it closes a list item."""

    line: int
    text: str
    item: str  # "" outside of lists, "closed" where the item ends here, "open" where a block follows in the item


class Fault(NamedTuple):
    """Name one violation of a rule, and its place."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        """Return the line that is printed."""
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.what}"


def documents() -> list[Path]:
    """Return the README, the other documents of the root, and the pages of docs/."""
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(text: str) -> Iterator[Block]:
    """Yield the paragraphs, list items and cells of a Markdown text. Headings and code blocks are left out."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    line = 0
    for index, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else line
        if token.type == "inline" and tokens[index - 1].type != "heading_open":
            yield Block(line, plain(token), item_end(tokens, index))


def plain(token: Token) -> str:
    """Return the text of one inline token without its marks."""
    shown = {"softbreak": " ", "hardbreak": " ", "html_inline": " "}
    code = (
        (each, f"`{each.content}`" if each.type == "code_inline" else each.content) for each in token.children or ()
    )
    return "".join(shown.get(each.type, content) for each, content in code)


def item_end(tokens: list[Token], index: int) -> str:
    """Return whether the block at an index closes a list item: "closed", "open", or "" outside of lists."""
    depth = sum({"list_item_open": 1, "list_item_close": -1}.get(each.type, 0) for each in tokens[:index])
    if depth == 0 or tokens[index - 1].type != "paragraph_open":
        return ""
    return "closed" if tokens[index + 2].type == "list_item_close" else "open"


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph. An abbreviation or an initial ends none."""
    found: list[str] = []
    for piece in ENDS.split(text.strip()):
        if found and ABBREVIATIONS.search(found[-1]):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return [each for each in found if words(each)]


def words(sentence: str) -> list[str]:
    """Return the words of a sentence: what holds a letter or a digit."""
    return [each for each in sentence.split() if re.search(r"\w", each)]


def lix(every: list[str]) -> float:
    """Return the readability measure of some sentences."""
    said = [word for sentence in every for word in words(sentence)]
    long = sum(len(re.sub(r"\W", "", word)) > 6 for word in said)
    return len(said) / max(len(every), 1) + 100 * long / max(len(said), 1)


def document_faults(path: Path) -> Iterator[Fault]:
    """Yield what breaks a rule in one document."""
    for block in blocks(path.read_text("utf-8")):
        for sentence in sentences(block.text):
            if (count := len(words(sentence))) > WORDS:
                yield Fault(path, block.line, f"{count} words: {sentence[:60]}..")
        ends = (".", "!", "?", ":") if block.item == "open" else (".", "!", "?")
        if block.item and not block.text.rstrip().endswith(ends):
            yield Fault(path, block.line, f"a list item without a full stop: ..{block.text[-50:]}")
        yield from riddles(path, block.line, block.text)


def riddles(path: Path, line: int, text: str) -> Iterator[Fault]:
    """Yield the riddles of a text, each with its plain wording."""
    for pattern, better in RIDDLES.items():
        for found in re.finditer(pattern, text):
            yield Fault(path, line, f"{found[0].strip(' .:;')[:60]!r}: write {better}")


def comment_faults(path: Path) -> Iterator[Fault]:
    """Yield the riddles in comments and docstrings of one source file."""
    for line, text in python_comments(path) if path.suffix == ".py" else c_comments(path):
        yield from riddles(path, line, " ".join(text.split()))


def python_comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield comments and docstrings of a Python file with their lines."""
    text = path.read_text("utf-8")
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (said := ast.get_docstring(node)):
            yield node.body[0].lineno, said


def c_comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the comments of a C file with their lines."""
    text = path.read_text("utf-8")
    for found in re.finditer(r"/\*(.*?)\*/|//([^\n]*)", text, re.DOTALL):
        yield text.count("\n", 0, found.start()) + 1, (found[1] or found[2] or "").replace("*", "")


def sources() -> list[Path]:
    """Return the source files whose comments are read."""
    found = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts)
    return sorted(path for path in found if path.suffix in {".py", ".c", ".h"} and path.name != "readability.py")


def measures(path: Path) -> tuple[str, list[str]]:
    """Return the row of one document, and its sentences."""
    every = [sentence for block in blocks(path.read_text("utf-8")) for sentence in sentences(block.text)]
    return row(str(path.relative_to(ROOT)), every), every


def row(name: str, every: list[str]) -> str:
    """Return one line of the table: sentences, words of the mean and the longest one, long ones, LIX."""
    counts = [len(words(each)) for each in every] or [0]
    over = [sum(count > limit for count in counts) for limit in (25, WORDS)]
    return (
        f"{name:34}{len(every):7}{statistics.mean(counts):7.1f}{max(counts):7}{over[0]:7}{over[1]:7}{lix(every):7.1f}"
    )


def faults(paths: Iterable[Path] = ()) -> list[Fault]:
    """Return everything that breaks a rule, in the given documents or in all documents and sources."""
    chosen = list(paths)
    found = [fault for path in chosen or documents() for fault in document_faults(path)]
    return found if chosen else [*found, *(fault for path in sources() for fault in comment_faults(path))]


def main() -> None:
    """Print the measures of each document, then what breaks a rule; exit with 1 where anything does."""
    print(f"{'document':34}{'count':>7}{'mean':>7}{'max':>7}{'>25':>7}{f'>{WORDS}':>7}{'LIX':>7}")
    rows = [measures(path) for path in documents()]
    print("\n".join(line for line, _ in rows))
    print(row("together", [sentence for _, every in rows for sentence in every]))
    lines = [str(fault) for fault in faults()]
    print("\n".join(lines) or "readability: all rules hold")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
