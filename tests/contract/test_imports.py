"""The arrows of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tools.source import modules
from tools.structure import circles, imports

ROOT = Path(__file__).parents[2]
WORKSTATION = {"train", "experiments"}  # wings that an edge installation never reaches
CONTRACT = {
    "rtsysid", "rtsysid.device_clock", "rtsysid.errors", "rtsysid.rosmsg", "rtsysid.source", "rtsysid.source.reading",
    "rtsysid.source.port", "rtsysid.spec",
    "rtsysid.statuses", "rtsysid.storage", "rtsysid.storage.claim", "rtsysid.storage.products", "rtsysid.guards",
    "rtsysid.guards.text",
}  # fmt: skip
EDGE_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "rtsysid").rglob("*.py")
    if not WORKSTATION & set(path.parts) and path.name != "__init__.py"
)
BLOCKED = {
    "torch", "onnx", "pyarrow", "safetensors", "rich", "serial", "firmware_bridge", "foxglove", "zenoh", "can",
    "cantools", "pymavlink", "websockets", "rosbags",
}  # fmt: skip
BLOCK = f"""
import sys
BLOCKED = {BLOCKED}
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in BLOCKED:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
"""


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_rtsysid_is_light() -> None:
    """`import rtsysid`, and its command line, load none of the heavy packages."""
    heavy = "{'torch', 'onnxruntime', 'onnx', 'pyarrow', 'serial', 'rich', 'scipy', 'pandas'}"
    assert python(f"import sys, rtsysid, rtsysid.cli; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_nothing_phones_home() -> None:
    """With rtsysid imported first, onnxruntime starts no thread of its own that would report to its maker."""
    code = """
import os, numpy, rtsysid
before = os.listdir("/proc/self/task")
import onnxruntime
print(len(os.listdir("/proc/self/task")) - len(before))
"""
    assert python(code).strip() == "0"


def test_the_runtime_stands_without_the_workstation_packages() -> None:
    """Every module outside train and experiments imports without torch, onnx, pyarrow and the bridge."""
    python(BLOCK + "".join(f"import {module}\n" for module in EDGE_MODULES))


VERBS_OF_THE_WORKSTATION = {
    Path("cli", name)
    for name in (
        "benchmark.py",
        "compare.py",
        "demo.py",
        "doctor.py",
        "firmware.py",
        "hil.py",
        "info.py",
        "report.py",
        "settings.py",
        "study.py",
        "sweep.py",
        "train.py",
        "training.py",
    )
} | {Path("api.py")}


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> set[str]:
    nodes = nodes_of(path)
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


def test_only_the_command_line_reaches_export_and_training() -> None:
    """Outside train, experiments and the commands of a workstation, nothing imports export, torch or rtsysid.train."""
    for path in (ROOT / "rtsysid").rglob("*.py"):
        inside = path.relative_to(ROOT / "rtsysid")
        if inside.parts[0] in WORKSTATION or inside in VERBS_OF_THE_WORKSTATION:
            continue
        wrong = {n for n in imported(path) if n.split(".")[0] in ("export", "torch") or n.startswith("rtsysid.train")}
        assert not wrong, path


WINGS = {  # wing: the wings that it may import; every wing may import the contract
    "contract": set(),
    "firmware_bridge": set(),
    "recordings": set(),
    "model": set(),
    "live": {"recordings", "model"},
    "sources": {"recordings"},
    "view": {"recordings", "model", "live"},
    "evaluation": {"recordings", "model", "live"},
    "retrieval": {"recordings", "model", "evaluation"},
    "checking": {"recordings", "model", "evaluation"},
    "benchmarks": {"recordings", "model", "live", "evaluation"},
    "train": {"recordings", "model", "evaluation"},
    "export": {"recordings", "model", "live", "evaluation", "train", "firmware_bridge"},
    "experiments": {"recordings", "model", "live", "evaluation", "benchmarks", "train", "export"},
    "api": {"recordings", "model", "live", "evaluation", "checking", "train", "export"},
}
FACES = {"rtsysid", "rtsysid.__main__"}  # the package's face names what the wings offer


def wing(module: str) -> str:
    """The wing that a module belongs to."""
    package, _, inner = module.partition(".")
    name = inner.partition(".")[0] if package == "rtsysid" else package
    return name if name in WINGS or name == "cli" else "contract"


def test_wings_import_only_the_wings_below() -> None:
    """Each wing imports the contract and the wings of the table; recordings and model do not know each other."""
    wrong = [
        f"{module} imports {other}"
        for module, others in imports(modules()).items()
        for other in others
        if module not in FACES and wing(module) not in ("cli", wing(other))
        if wing(other) not in WINGS[wing(module)] | {"contract"}
    ]
    assert not wrong


def test_no_import_runs_in_a_circle() -> None:
    """No module imports itself through others, imports for type checking and inside functions included."""
    assert circles(imports(modules())) == []


def test_the_bridge_knows_only_the_contract() -> None:
    """firmware_bridge imports the contract alone: rtsysid.spec, rtsysid.errors and rtsysid.rosmsg."""
    for path in (ROOT / "firmware_bridge").rglob("*.py"):
        assert {n for n in imported(path) if n.startswith("rtsysid")} <= CONTRACT


@pytest.mark.parametrize("package", ["rtsysid", "export", "firmware_bridge"])
def test_nothing_unpickles(package: str) -> None:
    """No module imports pickle, and every np.load and np.savez says that it does not either."""
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & {"pickle", "marshal", "shelve"}
        for node in nodes_of(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "np.load":
                assert any(k.arg == "allow_pickle" and ast.unparse(k.value) == "False" for k in node.keywords), path


@pytest.mark.parametrize("folder", ["tests", "hil"])
def test_no_test_uses_another_test(folder: str) -> None:
    """Tests share helpers: none imports a test module or a conftest, nor changes one through monkeypatch."""
    for path in (ROOT / folder).rglob("*.py"):
        calls = [node for node in nodes_of(path) if isinstance(node, ast.Call) and node.args]
        changed = {
            str(call.args[0].value)
            for call in calls
            if ast.unparse(call.func) == "monkeypatch.setattr" and isinstance(call.args[0], ast.Constant)
        }
        parts = {part for name in imported(path) | changed for part in name.split(".")}
        assert not {part for part in parts if part == "conftest" or part.startswith("test_")}, path
