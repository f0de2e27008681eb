"""The face of the command line: help in sections, progress, what -q and -v change, doctor, config and completion."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from support.robots import TINY, plant
from support.shell import ROOT, command, process, refused_here

from rtsysid.cli import SECTIONS, cli, console, faults
from rtsysid.cli.progress import Display
from rtsysid.config import parse_config
from rtsysid.evaluation.horizon import Evaluation
from rtsysid.guards.stages import duration_text, stage_line
from rtsysid.recordings.pieces import LeftOut
from rtsysid.recordings.trace import Trace

COLOUR = re.compile(r"\x1b\[\d+m")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Four small recordings; the configuration lies next to them."""
    for episode in plant().episodes:
        Trace(plant().channels, (episode,)).write(tmp_path / "logs" / f"{episode.name}.csv")
    (tmp_path / "tiny.toml").write_text(TINY)
    return tmp_path / "logs"


def test_help_has_every_command_in_a_section() -> None:
    """Each command is in one section, with a text that fits on its line."""
    shown = command("--help").stdout
    assert sorted(name for names in cli.sections.values() for name in names) == sorted(cli.commands)
    for section, members in SECTIONS.items():
        assert f"\n{section}:\n" in shown
        for each, text in members.items():
            assert re.search(rf"^  {each.name} +{re.escape(text)}$", shown, re.MULTILINE)


def test_a_training_ends_with_what_was_kept(logs: Path, tmp_path: Path) -> None:
    """The epoch, the errors next to hold and the linear model, the time, and a next command that works; then the same
    command says that the run is finished."""
    train = ("train", tmp_path / "tiny.toml", "--data", *sorted(logs.iterdir()), "-o", tmp_path / "run", "--seed", 5)
    done = command(*train)
    lines = done.stdout.splitlines()
    assert re.match(r"kept +epoch [123] of 3 of stage frozen encoder", lines[0])
    assert lines[1].startswith("time ")
    for predictor in ("model", "linear ARX", "hold"):
        assert re.search(rf"^motion \[m\] +{predictor} ", done.stdout, re.MULTILINE)
    assert "training: epoch" in done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["train"]["seed"] == 5
    report, export = (line.split()[2:] for line in lines[-2:])
    assert report[3] == f"{logs}/*.csv"
    assert command(*report[:3], logs, *report[4:]).returncode == 0
    assert export == ["export", f"{tmp_path / 'run'}", "-o", f"{tmp_path / 'run'}-bundle"]
    line = refused_here(*train, code=1)
    assert "already finished" in line
    assert f"rtsysid export {tmp_path / 'run'} -o BUNDLE" in line


def test_json_of_a_training_keeps_its_keys(logs: Path, tmp_path: Path) -> None:
    """Programs read the last epoch under the same keys as ever; the new ones come on top. -q prints nothing else."""
    done = command("-q", "train", tmp_path / "tiny.toml", "--data", logs, "-o", tmp_path / "run", "--json", "--force")
    found = json.loads(done.stdout)
    old = {"run", "index", "stage", "epoch", "epochs", "train", "validation", "best", "seconds", "ahead", "notes"}
    assert set(found) == old | {"kept", "training_s", "score"}
    assert [line for line in done.stderr.splitlines() if "WORSE THAN" not in line and "check:" not in line] == []


def test_quiet_and_verbose(bundle_folder: Path, recording: Path) -> None:
    """-q leaves the result alone; -v adds the time of each stage; both stand before or after the command."""
    arguments = ("evaluate", bundle_folder, recording, "--stride", 50)
    plain, quiet, verbose = command(*arguments), command(*arguments, "-q"), command("-v", *arguments)
    assert plain.stdout == quiet.stdout == verbose.stdout
    assert plain.stderr
    assert quiet.stderr == ""
    assert re.search(r"^evaluating: \d+\.\d s$", verbose.stderr, re.MULTILINE)


def test_progress_says_how_much_is_left() -> None:
    """Of a stage: its name, how much is done, since when, how long still, and its last part."""
    assert stage_line("reading", 0, 0, "", 0.2) == "reading"
    assert stage_line("training: epoch", 5, 20, "loss 0.1", 10.0) == (
        "training: epoch 5 of 20, 10 s, about 30 s left: loss 0.1"
    )
    assert stage_line("replaying", 12000, 0, "", 3.0) == "replaying 12,000, 3 s"
    assert [duration_text(each) for each in (0, 59.6, 125, 7500)] == ["0 s", "1 min", "2 min 5 s", "2 h 5 min"]


def test_a_forked_process_draws_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A display belongs to the process that made it: a worker must not wait for its lock."""
    display = Display()
    display.stage("mine")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    display._lock.acquire()
    display.stage("theirs")
    display.clear()
    display._lock.release()
    monkeypatch.undo()
    display.close()
    assert capsys.readouterr().err == "mine\n"


def seen_on_a_terminal(*arguments: object, **environment: str) -> str:
    """What a command writes to a terminal, stdout and stderr as they come."""
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-m", "rtsysid", *map(str, arguments)], stdout=theirs, stderr=theirs, stdin=theirs, cwd=ROOT,
        env=os.environ | environment,
    )  # fmt: skip
    os.close(theirs)
    text = b""
    try:
        while chunk := os.read(ours, 65536):
            text += chunk
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    done.wait()
    return text.decode()


def test_a_terminal_shows_one_line_that_is_rewritten(bundle_folder: Path, recording: Path) -> None:
    """The line of progress is erased before the result; with NO_COLOR no colour is sent."""
    shown = seen_on_a_terminal("evaluate", bundle_folder, recording, "--stride", 50)
    assert "\r" + "evaluating 0 of 200\x1b[K" in shown
    assert re.search(r"\r\x1b\[Kmean error of \d+ forecasts", shown)
    assert COLOUR.search(seen_on_a_terminal("verify", recording))
    assert not COLOUR.search(seen_on_a_terminal("verify", recording, NO_COLOR="1"))


@pytest.mark.torch
def test_an_interruption_says_how_to_continue(logs: Path, tmp_path: Path) -> None:
    """^C in the middle of a training: exit code 130, one line, and the same command continues the run to its end."""
    (tmp_path / "long.toml").write_text(TINY.replace("epochs = 3", "epochs = 40"))
    arguments = ("train", tmp_path / "long.toml", "--data", logs, "-o", tmp_path / "run", "--force")
    with process(*arguments) as running:
        while not (tmp_path / "run" / "checkpoint.safetensors").exists():
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        said = running.communicate()[1]
    assert running.returncode == faults.INTERRUPTED, said
    assert said.splitlines()[-1] == (
        "rtsysid: stopped; what was finished is kept; to continue, give the same command again"
    )
    done = command(*arguments)
    assert "continuing the run" in done.stderr
    assert "of stage frozen encoder" in done.stdout


def test_doctor_names_what_is_here() -> None:
    """One line for each thing, JSON with the same, and exit code 0 where a backend runs."""
    shown, found = command("doctor").stdout, json.loads(command("doctor", "--json").stdout)
    assert found["backend numpy"]["good"] is True
    for name in ("rtsysid", "processors", "extra train", "backend onnx", "SCHED_FIFO", "serial ports"):
        assert re.search(rf"^.{{4}}{name} ", shown, re.MULTILINE)
        assert name in found


def test_doctor_says_how_to_get_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An absent package is named with the command that installs its extra."""
    from rtsysid.cli import doctor

    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "onnx" else known(name))
    line = next(each for each in command("doctor").stdout.splitlines() if "extra train" in each)
    assert line == "no  extra train           without onnx; pip install 'rtsysid[train]'"


@pytest.mark.parametrize(
    ("found", "packages", "gpus", "warned"),
    [
        ("2.13.0", True, [], True),
        ("2.13.0+cu126", False, [], True),
        ("2.13.0+cpu", True, [], False),
        ("2.13.0", False, [], False),
        ("2.13.0", True, [Path("/dev/nvidia0")], False),
        (None, True, [], False),
    ],
)
def test_doctor_warns_of_torch_for_a_gpu_that_is_not_there(
    found: str | None, packages: bool, gpus: list[Path], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CUDA build of torch on a machine without such a processor is named, with the place that says how to choose."""
    from rtsysid.cli import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: found)
    monkeypatch.setattr(doctor, "_has_cuda_packages", lambda: packages)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(gpus))
    (line,) = [*doctor._torch_build()] or [None]
    assert (line is not None) == warned
    assert line is None or (line.good is False and "README.md" in line.remedy)


def test_config_show_prints_what_train_takes(run_folder: Path, bundle_folder: Path, auto_run_folder: Path) -> None:
    """The text of an embedded configuration, a run and a bundle is one that can be parsed; of a run of [data] alone it
    is the whole one."""
    for name in ("quadrotor", run_folder, bundle_folder, auto_run_folder):
        text = command("config", "show", name).stdout
        assert parse_config(text).data.outputs
    assert parse_config(command("config", "show", auto_run_folder).stdout).model.hidden is not None
    assert set(json.loads(command("config", "show", "--json").stdout)) == {"quadrotor", "nanodrone"}


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("rtsysid tr", "train"),
        ("rtsysid train qua", "quadrotor"),
        ("rtsysid train quadrotor --set train.eff", "train.effort="),
        ("rtsysid export run --target onnx,int", "onnx,int8"),
        ("rtsysid benchmark nanodrone-l", "nanodrone-live"),
        ("rtsysid data get ced", "ced"),
        ("rtsysid replay bundle log.csv --back", "--backend"),
    ],
)
def test_a_shell_completes(words: str, offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands, options, configurations, keys, targets, benchmarks and datasets."""
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert f"plain,{offered}" in BashComplete(cli, {}, "rtsysid", "_RTSYSID_COMPLETE").complete().splitlines()


def test_a_completion_ends_well() -> None:
    """The shell calls the program itself: exit code 0, and nothing on stderr."""
    asked = {"_RTSYSID_COMPLETE": "bash_complete", "COMP_WORDS": "rtsysid tra", "COMP_CWORD": "1"}
    with process(**asked) as running:
        out, said = running.communicate()
    assert (running.returncode, out, said) == (0, "plain,train\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """A script that asks the program, for each shell."""
    assert "_RTSYSID_COMPLETE" in command("completion", shell).stdout


def test_bench_explains_itself() -> None:
    """`python -m bench --help` names the parts; an unknown one is a usage error."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert "latency" in done.stdout


def test_work_outside_a_stage_is_shown_too(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """After a finished stage and before the first one a terminal reads that the command works; after `rest` nothing."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    display, shown = Display(), ""

    def wait_for(text: str) -> None:
        nonlocal shown
        while text not in shown:
            time.sleep(0.02)
            shown += capsys.readouterr().err

    display.watch()
    wait_for("\rworking, 1 s")
    display.stage("reading", 3, 3)
    wait_for("reading 3 of 3")
    shown = ""
    wait_for("\rworking, 1 s")
    display.rest()
    assert display._thread is None
    assert (shown + capsys.readouterr().err).endswith("\r\x1b[K")
    display.stage("reading", 1, 3)
    assert display._thread is not None
    display.close()
    display.stage("writing")  # of a library that goes on after the command
    assert display._thread is None
    assert "writing" not in capsys.readouterr().err


def test_a_list_and_a_group_without_a_unit_read_as_words() -> None:
    """A list is shown as its items, and a group without a unit without brackets."""
    assert console.text(("model.h", "model.c")) == "model.h, model.c"
    assert console.text([]) == "-"
    found = Evaluation(3, 50.0, 4, {"y": "m", "v": ""}, {"model": {"y": [1.0] * 3, "v": [1.0] * 3}})
    assert [row[0] for row in found.rows()] == ["y [m]", "v"]
    assert found.label("y", " error") == "y error [m]"


def test_a_note_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that learns twice what was left out of the recordings says it once; the next command says it again."""
    notes = [LeftOut("search", "too short", 1, 30), LeftOut("search", "too short", 1, 30)]
    for _ in range(2):
        console.Shown.begin().close()
        console.notes(notes)
        console.notes([*notes, LeftOut("search", "too short", 2, 30)])
    assert len(capsys.readouterr().err.splitlines()) == 4
