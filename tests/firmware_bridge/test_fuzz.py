"""Hostile frames against the C code: libFuzzer where clang is, a plain generator of inputs everywhere.

RTSYSID_FUZZ_FRAMES says how many hostile frames each of the four must take: `make fuzz` asks for ten million.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware_bridge.build import APP, FIRMWARE, SANITIZERS, compile_c

FRAMES = int(os.environ.get("RTSYSID_FUZZ_FRAMES", "100000"))
FRAMES_PER_INPUT = 64  # of either target
FUZZ = FIRMWARE / "fuzz"
TARGETS = {
    "fuzz_wire": [FIRMWARE / "wire.c"],
    "fuzz_app": list(APP),
}


def build(target: str, engine: str) -> Path:
    sources = [*TARGETS[target], FUZZ / "hostile.c", FUZZ / f"{target}.c"]
    if engine == "libfuzzer":
        return compile_c(f"{target}-libfuzzer", sources, (*SANITIZERS, "-fsanitize=fuzzer", f"-I{FUZZ}"))
    return compile_c(target, [*sources, FUZZ / "random_main.c"], (*SANITIZERS, f"-I{FUZZ}"))


def libfuzzer_is_here() -> bool:
    """Whether clang and its fuzzing runtime are installed."""
    command = ["clang", "-fsanitize=fuzzer", "-x", "c", "-", "-o", "/dev/null"]
    target = b"int LLVMFuzzerTestOneInput(void) { return 0; }"
    return shutil.which("clang") is not None and subprocess.run(command, input=target, check=False).returncode == 0


@pytest.mark.timeout(900 * max(1, FRAMES // 1_000_000))
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("engine", "seed"), [("random", 1), ("libfuzzer", 2)])
def test_hostile_frames(target: str, engine: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over many hostile frames nothing wrong is accepted, and each time the next frame but one is heard again."""
    if engine == "libfuzzer":
        if libfuzzer_is_here():
            monkeypatch.setenv("CC", "clang")
        else:
            engine = "random"  # rather than nothing: with the other seed
    runs = 2 + FRAMES // FRAMES_PER_INPUT  # libFuzzer's first input is empty
    # libFuzzer takes the peak memory of the process that started it for its own; single allocations are limited instead
    limits = ["-rss_limit_mb=0", "-malloc_limit_mb=100"]
    options = [f"-runs={runs}", f"-seed={seed}", "-max_len=64", f"-artifact_prefix={tmp_path}/", *limits]
    done = subprocess.run([build(target, engine), *options], capture_output=True, text=True, check=False, cwd=tmp_path)
    report = done.stderr.splitlines()[-1] if done.stderr else ""
    assert done.returncode == 0, done.stderr[-3000:]
    print(f"{target}, {engine}: {report}")
    found = re.match(r"hostile frames: (\d+)", report)
    assert found is not None
    assert int(found[1]) >= FRAMES
