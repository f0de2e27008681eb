"""Every place in the code that writes or removes a file keeps to the rule of outputs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
METHODS = {"write_text", "write_bytes", "unlink", "rename", "rmdir", "symlink_to", "hardlink_to", "touch", "tofile"}
FUNCTIONS = {
    "os.replace", "os.rename", "os.remove", "os.unlink", "os.rmdir", "os.symlink", "os.link", "os.truncate",
    "os.mkfifo", "np.savetxt", "shutil.copy2", "shutil.make_archive",
    "shutil.copy", "shutil.copyfile", "shutil.copytree", "shutil.move", "shutil.rmtree", "np.save", "np.savez",
    "np.savez_compressed", "save_file", "parquet.ParquetWriter",
}  # fmt: skip
OPENERS = {"open", "fdopen", "ZipFile", "GzipFile", "BZ2File", "LZMAFile", "TarFile", "memmap"}
FREE = {  # what may write without `replacing`, and why
    "rtsysid.storage": "the mechanics",
    "rtsysid.live.predictions._csv_writer": "to a path from `replacing`",
    "rtsysid.live.predictions._write_npz": "to a path from `replacing`",
    "rtsysid.recordings.formats.csv._text_writer": "to a path from `replacing`",
    "rtsysid.recordings.formats.npz": "to a path from `replacing`",
    "rtsysid.recordings.formats.parquet.write_blocks": "to a path from `replacing`",
    "rtsysid.recordings.formats.ros2folder._unpacked_file": "in a temporary folder",
    "rtsysid.recordings.ros.database._without_torn_page": "in a temporary folder",
    "rtsysid.retrieval.build._encode": "in an index that is being written",
    "rtsysid.retrieval.index.write_index_manifest": "in an index that is being written",
    "export.targets._write_sources": "in a bundle that is being written",
    "export.targets.write_graphs": "in a bundle that is being written",
    "export.bundle": "in a bundle that is being written",
    "rtsysid.model.bundle": "in a bundle that is being written",
    "rtsysid.cli.calibrate.calibrate": "in a bundle that is being written",
    "rtsysid.evaluation.calibrate.calibration_files": "to memory",
    "rtsysid.model.npz.write_npz": "to memory",
    "rtsysid.model.backends.c_backend._library_from": "a temporary file of this process, removed at once",
    "rtsysid.model.backends.c_backend._write_all": "to memory that the kernel gives as a file",
    "rtsysid.model.keys._write_new": "the keys of this program, in the data folder of the user",
    "rtsysid.model.keys._file_opened": "flags of a name: it only reads",
    "rtsysid.model.trust.sign": "in a bundle that is being written",
    "rtsysid.model.linked._replace": "a link that leads to a bundle, in place of another link",
    "rtsysid.model.untrusted.open_regular": "flags of a name: it only reads",
    "rtsysid.cli.link._print_summary": "to /dev/null",
    "export.compile.compile_library": "in a temporary folder",
    "export.hil": "in a temporary folder",
    "firmware_bridge.emulator": "in a temporary folder",
    "firmware_bridge.device.SimulatedDevice": "in a temporary folder, and its own link",
    "firmware_bridge.device._free_name": "a link that the rule knows as ours",
    "firmware_bridge.build.compile_c": "in the cache, under the hash of the content",
    "rtsysid.experiments.sweep.storage": "the journal and the locks of a sweep, in its own folder",
    "rtsysid.experiments.sweep.worker.Worker.run": "a run that this process began, in the folder of its sweep",
    "firmware_bridge.generate": "sources of the project itself",
    "export.c_example.main": "sources of the project itself",
}


def test_nothing_writes_outside_the_rule() -> None:
    """Whatever writes or removes files goes through `replacing`, or is listed with the reason why it is harmless."""
    found = list(writers())
    listed = {free: [name for name in found if f"{name}.".startswith(f"{free}.")] for free in FREE}
    assert sorted(set(found) - {name for names in listed.values() for name in names}) == []
    assert [free for free, names in listed.items() if not names] == []


def writers() -> Iterator[str]:
    """Name every function that calls something that writes or removes, outside `with replacing(..)`."""
    for package in ("rtsysid", "export", "firmware_bridge"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield from calls_in(ast.parse(path.read_text()), module)


def calls_in(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        inner = f"{name}.{child.name}" if isinstance(child, ast.FunctionDef | ast.ClassDef) else name
        managers = [ast.unparse(item.context_expr) for item in child.items] if isinstance(child, ast.With) else []
        if any(each.startswith(("replacing(", "rewriting(")) for each in managers):
            continue
        if isinstance(child, ast.Call) and writes(child):
            yield name
        yield from calls_in(child, inner)


def writes(call: ast.Call) -> bool:
    """Whether a call changes files: by its name, or what opens a file with a mode or a flag that writes."""
    called = ast.unparse(call.func)
    if called == "os.open":
        return "O_RDONLY" not in ast.unparse(call)
    if called.rpartition(".")[2] in OPENERS:
        given = [*call.args, *(each.value for each in call.keywords if each.arg == "mode")]
        modes = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return any(mode and set(mode) <= set("rwxabt+") and set(mode) & set("wxa+") for mode in modes)
    return called in FUNCTIONS or called.rpartition(".")[2] in METHODS
