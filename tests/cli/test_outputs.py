"""Every command with an output refuses, before it works, what it must not destroy; what is ours is replaced."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import pytest
from support.commands import every_command
from support.outputs import put_index, tree
from support.robots import TINY, plant
from support.shell import command, refused_here

from rtsysid.cli.options import NamedPath
from rtsysid.cli.outputs import OutputPath
from rtsysid.recordings.trace import Trace
from rtsysid.storage.products import MARK, RUN_FILES, html_head

INPUT_OPTIONS = {
    "--data",
    "--test",
    "--bundle",
    "--like",
    "--then",
    "--map",
    "--against",
    "--space",
    "--training",
    "--card",
    "--to",
}  # paths that are only read
TEXT_OPTIONS = {
    "--time",
    "--topic",
    "--target",
    "--device",
    "--leave-out",
    "--robot",
    "--ground",
    "--storage",
    "--set",
    "--name",
    "--model-version",
    "--note",
    "--expect",
    "--port",
    "--view-host",
}  # texts that are no paths
TEXTS = (click.Path, NamedPath, click.types.StringParamType)  # types of options that may name an output
MADE = {  # command: its arguments in the world below; an option for an output is added
    "simulate": ["--flights", "1", "--seconds", "1"],
    "init": ["flight.csv"],
    "convert": ["flight.csv", "tiny.toml"],
    "check": ["flight.csv", "tiny.toml"],
    "train": ["tiny.toml", "--data", "logs"],
    "export": ["run", "--target", "c"],
    "firmware": ["bundle"],
    "compare": ["tiny.toml", "--data", "logs", "--test", "logs"],
    "demo": [],
    "report": ["bundle", "--data", "flight.csv"],
    "linearise": ["bundle", "flight.csv", "--at", "1.0"],
    "calibrate": ["bundle", "flight.csv"],
    "replay": ["bundle", "flight.csv", "--against", "earlier.csv"],
    "run": ["bundle", "/dev/null"],
    "record": ["/dev/null"],
    "sim-device": ["flight.csv", "--like", "bundle"],
    "recover": ["live.mcap"],
    "benchmark": ["ced", "--bundle", "bundle"],
    "index": ["logs", "flight.csv", "--bundle", "bundle"],
    "find": ["archive", "flight.csv", "--at", "1"],
    "sweep run": ["tiny.toml", "--data", "logs"],
    "sweep export": ["run", "0"],
    "data example": [],
}


class Case(NamedTuple):
    """One option of one command that names an output."""

    command: str
    option: str
    type: OutputPath
    overwrite: list[str]

    @property
    def suffix(self) -> str:
        return next(iter(self.type.product.suffixes), "")

    @property
    def adds_to_folders(self) -> bool:
        """Whether a folder is where a new file goes, named by the time: nothing in it is replaced."""
        return self.command == "run"

    def refused(self, output: Path, *more: str) -> str:
        """The one line of the refusal, with exit code 5; with --overwrite, too, where the command has it."""
        return refused_here(*self.command.split(), *MADE[self.command], self.option, output, *more, code=5)


def outputs() -> Iterator[Case]:
    for name, each in every_command():
        for param in each.params:
            if isinstance(param.type, OutputPath):
                has = ["--overwrite"] if any("--overwrite" in p.opts for p in each.params) else []
                yield Case(name, max(param.opts, key=len), param.type, has)


CASES = [pytest.param(case, id=f"{case.command}{case.option}") for case in outputs()]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, run_folder: Path, bundle_folder: Path) -> Path:
    """A folder with one input of each kind; not to be changed."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(run_folder, root / "run")
    shutil.copytree(bundle_folder, root / "bundle")
    put_index(root / "archive", "moments")
    (root / "tiny.toml").write_text(TINY)
    (root / "live.mcap").write_bytes(b"\x89MCAP0\r\n")
    for episode in plant(2, 200).episodes:
        Trace(plant().channels, (episode,)).write(root / "logs" / f"{episode.name}.csv")
    plant(1, 200, seed=5).write(root / "flight.csv")
    (root / "earlier.csv").write_text("t,y [m],v [m/s],status\n0.0,nan,nan,warm-up\n")
    return root


@pytest.fixture
def unchanged(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Work in the world, and check at the end that nothing in it was changed, nor in the folder of the test."""
    monkeypatch.chdir(world)
    before, here = tree(world), {}

    def begin() -> None:
        here.update(tree(tmp_path))

    yield begin
    assert tree(world) == before
    assert tree(tmp_path) == here


def test_every_option_with_a_path_is_an_input_or_a_judged_output() -> None:
    """A new option that takes a path or a text is made by `output`, or listed here as one that is only read."""
    options = [each for _, made in every_command() for each in made.params if isinstance(each, click.Option)]
    names = {kind: {max(each.opts, key=len) for each in options if type(each.type) is kind} for kind in TEXTS}
    assert names == {click.Path: set(), NamedPath: INPUT_OPTIONS, click.types.StringParamType: TEXT_OPTIONS}
    assert {case.command for case in outputs()} == set(MADE)


def test_no_path_is_empty() -> None:
    """An unset variable of the shell is refused where a path belongs: it would name the current folder."""
    for name, each in every_command():
        for param in each.params:
            if isinstance(param.type, click.Path):
                assert isinstance(param.type, NamedPath), (name, param.name)
                with pytest.raises(click.BadParameter, match="empty"):
                    param.type.convert("", param, None)


@pytest.mark.parametrize("case", CASES)
def test_a_foreign_file_or_folder_is_refused(case: Case, tmp_path: Path, unchanged: Callable[[], None]) -> None:
    """A file and a folder of the user at the place of an output stay, whatever they are named."""
    file, folder = tmp_path / f"file{case.suffix}", tmp_path / f"folder{case.suffix}"
    file.write_text("t,y\n0,1\n")
    (folder / ".ssh").mkdir(parents=True)
    (folder / ".ssh" / "id").write_text("key")
    unchanged()
    case.refused(file)
    case.refused(file / f"below{case.suffix}")
    if not case.adds_to_folders:
        case.refused(folder)
        case.refused(folder, *case.overwrite)


@pytest.mark.parametrize("case", CASES)
def test_an_input_is_never_an_output(case: Case, world: Path, tmp_path: Path, unchanged: Callable[[], None]) -> None:
    """An input by its name, by a link or by a second name of the same file, or inside the output, is never replaced."""
    inputs = [world / each for each in MADE[case.command] if (world / each).exists() and not each.startswith("/")]
    links = []
    for number, path in enumerate(inputs):
        links.append(tmp_path / f"{number}{case.suffix}")
        links[-1].symlink_to(path)
        if path.is_file():
            links.append(tmp_path / f"{number}-hard{case.suffix}")
            os.link(path, links[-1])
    unchanged()
    around = [] if case.adds_to_folders else [world, Path(), *(each.parent for each in inputs)]
    for path in [*inputs, *links, *around]:
        case.refused(path)
        case.refused(path, *case.overwrite)


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_or_an_index_takes_no_other_file(
    case: Case, world: Path, tmp_path: Path, unchanged: Callable[[], None]
) -> None:
    """A new file in a folder whose every file is listed would damage it, whether it is an input or not."""
    shutil.copytree(world / "bundle", tmp_path / "other")
    unchanged()
    for folder in ("bundle", "archive", "archive/deeper", "logs/../bundle", tmp_path / "other"):
        line = case.refused(Path(f"{folder}/new{case.suffix}"), *case.overwrite)
        assert "which may hold its own files alone" in line


@pytest.mark.parametrize("case", [case for case in CASES if case.values[0].type.product.suffixes])
def test_another_suffix_is_refused(case: Case, tmp_path: Path, unchanged: Callable[[], None]) -> None:
    """A format that the command does not write is refused before it works: report.pdf is no page."""
    unchanged()
    assert "suffix '.pdf'; name a " in case.refused(tmp_path / "a.pdf")


def test_a_file_of_an_input_folder_is_not_overwritten(unchanged: Callable[[], None]) -> None:
    """With --overwrite, too, a file of the bundle or of the recordings that are read stays."""
    unchanged()
    line = refused_here("replay", "bundle", "flight.csv", "-o", "bundle/golden.npz", "--overwrite", code=5)
    assert "it lies in the bundle" in line
    log = f"logs/{plant().episodes[0].name}.csv"
    assert "it belongs to the input logs" in refused_here("index", "logs", "-o", log, "--overwrite", code=5)


def test_a_link_of_a_folder_of_ours_to_another_file_is_foreign(tmp_path: Path, world: Path) -> None:
    """A file that the mark lists is ours only as a plain file: a link or a folder of that name is the user's."""
    shutil.copytree(world / "bundle", tmp_path / "bundle")
    (tmp_path / "bundle" / "step.onnx").unlink()
    (tmp_path / "bundle" / "step.onnx").mkdir()
    assert "step.onnx" in refused_here("export", world / "run", "-o", tmp_path / "bundle", code=5)


@pytest.fixture
def copies(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The world, to be changed."""
    monkeypatch.chdir(shutil.copytree(world, tmp_path / "world"))
    return Path()


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        (["export", "run", "--target", "c", "-o"], "bundle"),
        (["calibrate", "bundle", "long.csv", "--horizon", "5"], "bundle"),
        (["replay", "bundle", "flight.csv", "-o"], "earlier.csv"),
        (["index", "logs", "--seconds", "0.5", "-o"], "archive"),
        (["simulate", "--flights", "1", "--seconds", "1", "-o"], "flights"),
        (["report", "bundle", "--data", "flight.csv", "--horizon", "5", "-o"], "page.html"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_is_ours_is_replaced_and_this_is_said(arguments: list[str], output: str, copies: Path) -> None:
    """An output of the same kind is replaced, and stderr says so; then a foreign file in it stops the next one."""
    (copies / "page.html").write_text(html_head("report"))
    if arguments[0] == "calibrate":
        plant(1, 12_000, seed=9).write(copies / "long.csv")
    command("simulate", "--flights", "2", "--seconds", "1", "-o", "flights")
    arguments = [*arguments, output] if arguments[-1] == "-o" else arguments
    before = tree(copies / output) if (copies / output).is_dir() else (copies / output).read_bytes()
    said = command(*arguments).stderr
    assert [line for line in said.splitlines() if line.startswith("replaced ") and line.endswith(output)]
    assert (tree(copies / output) if (copies / output).is_dir() else (copies / output).read_bytes()) != before
    assert not list(copies.glob(".writing-*"))
    if (copies / output).is_dir():
        (copies / output / "notes.md").write_text("mine")
        before = tree(copies)
        code = 2 if arguments[0] == "calibrate" else 5  # with a file more it is no bundle, and that is its input
        assert "notes.md" in refused_here(*arguments, code=code)
        assert tree(copies) == before


def test_a_foreign_file_is_replaced_where_this_is_asked_for(copies: Path) -> None:
    """--overwrite replaces a file of the user, and a recording in a folder of flights is never lost."""
    (copies / "mine.csv").write_text("t,y\n0,1\n")
    command("replay", "bundle", "flight.csv", "-o", "mine.csv", "--overwrite")
    assert (copies / "mine.csv").read_text().startswith("t,y [m],v [m/s],status\n")
    command("simulate", "--flights", "1", "--seconds", "1", "-o", "flights")
    assert set(json.loads((copies / "flights" / MARK).read_text())["files"]) == {"flight_01.csv"}
    shutil.copy(copies / "flight.csv", copies / "flights" / "flight_01.csv")
    line = refused_here("simulate", "--flights", "1", "--seconds", "1", "-o", "flights", "--overwrite", code=5)
    assert "flight_01.csv in it was changed" in line


def test_the_rule_knows_every_file_of_a_run(run_folder: Path, auto_run_folder: Path) -> None:
    """The names by which a run is known are those that training writes, so that it may replace its own."""
    assert {path.name for folder in (run_folder, auto_run_folder) for path in folder.iterdir()} == set(RUN_FILES)


def test_training_goes_on_only_in_a_run(copies: Path, run_folder: Path) -> None:
    """Another run and a file of the user in it stay; an empty folder becomes a run."""
    (copies / "run" / "notes.md").write_text("mine")
    before = tree(copies / "run")
    assert "holds another run" in refused_here("train", "tiny.toml", "--data", "logs", "-o", "run", code=1)
    assert tree(copies / "run") == before
    (copies / "empty").mkdir()
    command("train", "tiny.toml", "--data", "logs", "-o", "empty")
    assert {path.name for path in (copies / "empty").iterdir()} == {path.name for path in run_folder.iterdir()}


def test_a_second_training_is_refused_with_the_process_of_the_first(tmp_path: Path, copies: Path) -> None:
    """While a run is trained, another training of the same folder is refused at once; after it, it goes on."""
    from rtsysid.config import read_config
    from rtsysid.train.fit import begin

    config = read_config(str(copies / "tiny.toml"))
    trace = Trace.read_all(["logs"], config.data.channels)
    epochs = begin(config, trace, copies / "new", TINY).epochs()
    next(epochs)
    line = refused_here("train", "tiny.toml", "--data", "logs", "-o", "new", code=5)
    assert f"process {os.getpid()} is writing it" in line
    epochs.close()
    command("train", "tiny.toml", "--data", "logs", "-o", "new")


def test_the_demonstration_replaces_its_own_run_alone(copies: Path) -> None:
    """A run of the demonstration that holds a file of the user is refused, and no file is removed."""
    from rtsysid.config import read_config
    from rtsysid.errors import StorageError
    from rtsysid.train.fit import begin

    config = read_config(str(copies / "tiny.toml"))
    trace = Trace.read_all(["logs"], config.data.channels)
    trainer = begin(config, trace, copies / "run", TINY, restart=True)
    assert trainer.done == 0
    del trainer
    (copies / "run" / "notes.md").write_text("mine")
    before = tree(copies / "run")
    with pytest.raises(StorageError, match=r"did not write notes\.md"):
        begin(config, trace, copies / "run", TINY, restart=True)
    assert tree(copies / "run") == before
