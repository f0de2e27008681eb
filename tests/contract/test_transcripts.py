"""What the documents show of a terminal is what the commands print."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.shared import made_once
from support.transcripts import alike, difference, play, transcripts

from rtsysid.recordings.example_runs import write_example

ROOT = Path(__file__).parents[2]
FIRST = "docs/first-model.md"  # makes the folder in which the other pages run
PAGES = ("to-the-robot", "to-the-microcontroller", "how-to", "faq", "retrieval")
ON_A_FIRST_MODEL = tuple(f"docs/{page}.md" for page in PAGES)
ELSEWHERE = {"docs/tutorial.md": "tests/cli/test_tutorial.py"}  # runs on real logs


@pytest.fixture(scope="session")
def arm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a reader of the first tutorial has at its end; not to be changed."""

    def follow(folder: Path) -> None:
        folder.mkdir()
        play((ROOT / FIRST).read_text(), folder)

    return made_once(tmp_path_factory, "arm", follow)


@pytest.mark.slow
@pytest.mark.torch
def test_the_first_tutorial_shows_what_its_commands_print(arm_folder: Path) -> None:
    """Every command of the page runs, from the recordings of the package to a report, and prints what is shown."""
    assert {"arm", "arm.toml", "run", "bundle", "report.html"} <= {path.name for path in arm_folder.iterdir()}


@pytest.mark.slow
@pytest.mark.torch
@pytest.mark.parametrize("page", ON_A_FIRST_MODEL)
def test_a_page_shows_what_its_commands_print(page: str, arm_folder: Path, tmp_path: Path) -> None:
    """The transcripts of a page run in the folder of the first tutorial, in order, and print what is shown."""
    play((ROOT / page).read_text(), Path(shutil.copytree(arm_folder, tmp_path / "arm")))


@pytest.mark.slow
@pytest.mark.torch
def test_the_readme_shows_what_its_commands_print(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From two logs of a user to a report and to a live session: every command of the README runs in order."""
    list(write_example(tmp_path / "example"))
    shutil.copy(tmp_path / "example" / "train" / "run_001.csv", tmp_path / "log.csv")
    shutil.copy(tmp_path / "example" / "unseen" / "run_008.csv", tmp_path / "new.csv")
    text = (ROOT / "README.md").read_text()
    play(text, tmp_path)
    assert (tmp_path / "report.html").is_file()
    monkeypatch.chdir(tmp_path)
    program = re.search(r"The same in Python:\n\n```python\n(.*?)```", text, re.DOTALL)
    assert program is not None
    exec(program[1], {})
    assert (tmp_path / "forecast.png").is_file()


def test_every_transcript_is_run_or_says_why_not() -> None:
    """A page with a transcript is one that a test runs; a block that takes hours or a board has a reason before it."""
    run = {"README.md", FIRST, *ON_A_FIRST_MODEL, *ELSEWHERE}
    assert all((ROOT / test).is_file() for test in ELSEWHERE.values())
    forgotten = [
        f"{page}:{block.line}"
        for page in ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
        for block in transcripts((ROOT / page).read_text())
        if page not in run and not block.reason
    ]
    assert forgotten == []


@pytest.mark.parametrize(
    ("wanted", "line", "same"),
    [
        ("rows  936", "rows   936", True),
        ("rows  936", "rows   937", False),
        ("mean 0.80455", "mean 0.80461", True),
        ("mean 0.80455", "mean -0.80455", False),
        ("mean 0.80455", "mean 8.0455", False),
        ("p99 us 1.5", "p99 us 38.1", True),
        ("id  93e9fc0861ff", "id  0123456789ab", True),
        ("--------  ---", "---  ------", True),
        ("result passed", "result failed", False),
    ],
)
def test_lines_are_compared_as_far_as_they_can_agree(wanted: str, line: str, same: bool) -> None:
    """Words and counts must be equal, measured values near, times and hashes any."""
    assert alike(wanted, line) is same


@pytest.mark.parametrize(
    ("wanted", "same"),
    [(["a", "b", "c"], True), (["a", "..."], True), (["...", "b", "..."], True), (["a", "c"], False), (["..."], True),
     (["b"], False), (["warned"], True), (["warned", "a", "b", "c"], True), ([], True)],
)  # fmt: skip
def test_dots_are_any_number_of_lines(wanted: list[str], same: bool) -> None:
    """A transcript has all of stdout, all of stderr or both; `...` leaves lines out."""
    assert (difference(wanted, "a\nb\n\nc\n", "warned\n") == "") is same


def test_blocks_are_found_with_their_reasons(tmp_path: Path) -> None:
    """A block is a list of commands with what they print; a comment before it says why it is not run."""
    text = "<!-- not run: it takes a day -->\n```console\n$ rtsysid a\n```\n"
    text += "\n```console\n$ rtsysid b  # why\nx\n\ny\n```\n"
    first, second = transcripts(text)
    assert (first.reason, first.steps[0].printed) == ("it takes a day", [])
    assert (second.reason, second.steps[0].printed) == ("", ["x", "y"])
    play(text.replace("rtsysid b", "printf 'x\\ny\\n'"), tmp_path)
    with pytest.raises(AssertionError, match="the document"):
        play(text.replace("rtsysid b", "printf 'x\\nz\\n'"), tmp_path)
