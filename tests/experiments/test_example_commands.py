"""The commands of the examples: what a user gets wrong is one line, with the exit code of its class."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest
from command import run
from fly import make_controller

from rtsysid.errors import RtsysidError

EXAMPLES = ("avoid_box", "compare", "fly", "kalman")


def refused(example: str, *arguments: object, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Run an example that ends with an error: exit code, and stderr."""
    main = import_module(example).main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{example}.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run(main)
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("\n") == 1
    return ended.value.code, told.err


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_bundle_that_does_not_fit_is_one_line(
    example: str, bundle_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A missing bundle ends with 2, one of another robot with 1, and a wrong argument with 1."""
    code, line = refused(example, tmp_path / "none", capsys=capsys)
    assert (code, "no manifest.json" in line) == (2, True)
    code, line = refused(example, bundle_folder, capsys=capsys)
    assert (code, line.endswith("channels u, y, v; give one of the preset quadrotor\n")) == (1, True)
    code, line = refused(example, bundle_folder, "--seeds" if example != "kalman" else "--seconds", "x", capsys=capsys)
    assert (code, f"see {example}.py --help" in line) == (1, True)
    assert refused(example, capsys=capsys)[0] == 1


@pytest.mark.parametrize("seeds", ["0", "-1", "1001", "1.5"])
def test_flights_are_a_number(seeds: str, bundle_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No flight is no result: a number from 1 to 1000 is wanted."""
    code, line = refused("compare", bundle_folder, f"--seeds={seeds}", capsys=capsys)
    assert (code, f"{seeds} is not in 1 to 1000" in line) == (1, True)


def test_a_model_without_gradients_and_a_bundle_without_a_library_are_named(
    bundle_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A baseline flies with MPPI alone; CasADi wants the library of its target, or to be installed."""
    code, line = refused("fly", bundle_folder, "--model", "hold", capsys=capsys)
    assert (code, line) == (1, "fly.py: model hold: it has no gradients; give --controller mppi\n")
    with pytest.raises(RtsysidError, match=r"it has no library for CasADi; export with|casadi is not installed; pip"):
        make_controller("casadi", bundle_folder)
