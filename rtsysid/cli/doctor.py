"""The command that says what this machine can do: versions, packages, compilers, backends, real-time rights."""

from __future__ import annotations

import grp
import os
import platform
import re
import resource
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, requires, version
from pathlib import Path
from typing import NamedTuple

import click

from rtsysid import __version__
from rtsysid.cli import console
from rtsysid.cli.options import as_json

CORE = ("numpy", "onnxruntime", "torch", "pyarrow")
FOR_USERS = ("train", "logs", "live", "find", "sweep", "plot", "cross")  # extras; the others are for our own work
TOOLS = {
    "arm-none-eabi-gcc": "builds firmware: apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "emulates a board for rtsysid hil: apt-get install qemu-system-arm",
}
_REQUIREMENT = re.compile(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]")


class Check(NamedTuple):
    """One line: what was looked at, whether it is there (None: no matter), what was found, and what to do."""

    name: str
    good: bool | None
    found: str
    remedy: str = ""


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Say what this machine can do: versions, extras, compilers, backends, real-time rights, recordings.

    Ends with exit code 1 where no backend runs a model here.

    Example: rtsysid doctor
    """
    checks = [*_versions_here(), *_torch_build(), *_extras(), *_compilers(), *_backends(), *_rights(), *_data()]
    if json_:
        console.report({each.name: {"good": each.good, "found": each.found} for each in checks}, True)
    else:
        for each in checks:
            mark = {True: "ok  ", False: "no  ", None: "    "}[each.good]
            remedy = f"; {each.remedy}" if each.remedy and not each.good else ""
            colour = {True: "green", False: "yellow", None: None}[each.good]
            console.echo(f"{mark}{each.name:<22}{each.found}{remedy}", colour=colour)
    if not any(each.good for each in checks if each.name.startswith("backend")):
        raise click.exceptions.Exit(1)


def _versions_here() -> Iterator[Check]:
    yield Check("rtsysid", None, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processors", None, f"{cores}, {platform.machine()}")
    found = {name: _version(name) for name in CORE}
    yield Check("packages", None, ", ".join(f"{name} {each or 'absent'}" for name, each in found.items()))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_build() -> Iterator[Check]:
    """Check that torch does not bring gigabytes for a graphics processor that this machine has not."""
    found = _version("torch")
    if found is None:
        return
    cuda = "+cu" in found or ("+" not in found and _has_cuda_packages())
    if not cuda or any(Path("/dev").glob("nvidia[0-9]*")):
        return
    remedy = "install its CPU build: README.md, Install"
    yield Check("torch build", False, f"{found}, for CUDA, and no GPU of NVIDIA is here", remedy)


def _has_cuda_packages() -> bool:
    """Tell whether the packages that a CUDA build of torch brings are installed."""
    return any(str(each.metadata["Name"]).lower().startswith("nvidia-cuda") for each in distributions())


def _extras() -> Iterator[Check]:
    """Check the packages of each extra that users may want."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for line in requires("rtsysid") or ():
        if match := _REQUIREMENT.match(line):
            wanted[match[2]].append(match[1])
    for extra in FOR_USERS:
        packages = [each for each in wanted[extra] if each != "rtsysid"]
        if not packages:
            continue
        missing = [each for each in packages if _version(each) is None]
        found = f"without {', '.join(missing)}" if missing else "installed"
        yield Check(f"extra {extra}", not missing, found, f"pip install 'rtsysid[{extra}]'")


def _compilers() -> Iterator[Check]:
    from rtsysid.model.backends.c_backend import machines

    try:
        from export.compile import MACHINE, find_compiler
    except ImportError:
        yield Check("C compiler", None, "not looked for: export needs the extra train")
        return
    for machine in MACHINE:
        own = machine in machines()
        command = find_compiler(machine)
        remedy = "apt-get install gcc" if own else f"needed for --target {machine} alone"
        found = " ".join(command) if command else "none"
        yield Check(f"C for {machine}", bool(command) or (None if not own else False), found, remedy)
    for tool, use in TOOLS.items():
        place = shutil.which(tool)
        yield Check(tool, True if place else None, place or f"none; it {use}")


def _backends() -> Iterator[Check]:
    from rtsysid.model.backends.c_backend import machines
    from rtsysid.model.loading import onnx_runs_here

    here = onnx_runs_here()
    yield Check("backend onnx", here, "runs" if here else "onnxruntime is absent", "pip install onnxruntime")
    yield Check(
        "backend c", bool(machines()), "runs bundles with C that a trusted maker signed" if machines() else "no"
    )
    yield Check("backend numpy", True, "runs every bundle, slowest")


def _rights() -> Iterator[Check]:
    """Check what `rtsysid run` may ask of the system."""
    if not sys.platform.startswith("linux"):
        yield Check("real time", None, "rights are known on Linux alone")
        return
    root = os.geteuid() == 0
    priority = resource.getrlimit(resource.RLIMIT_RTPRIO)[1]
    fifo = root or priority != 0
    allowed = "root" if root else f"up to {priority}"
    yield Check("SCHED_FIFO", fifo, allowed if fifo else "refused", "ulimit -r 98, or LimitRTPRIO=98 in the unit")
    lock = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    enough = root or lock == resource.RLIM_INFINITY or lock > 1 << 28
    remedy = "ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit"
    yield Check("locked memory", enough, "allowed" if enough else f"at most {lock >> 20} MB", remedy)
    serial = root or bool({"dialout", "uucp"} & {_group_name(each) for each in os.getgroups()})
    yield Check(
        "serial ports", serial, "allowed" if serial else "refused", "usermod -aG dialout USER, then log in again"
    )


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return ""


def _data() -> Iterator[Check]:
    from rtsysid.recordings.home import home

    folder = home()
    found = folder.is_dir()
    text = f"{folder}" if found else f"none at {folder}"
    yield Check("public recordings", found or None, text, "rtsysid data list")
