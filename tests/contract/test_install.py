"""What a user installs: wheel and sdist, on every Python of this release that this machine has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.shared import made_once

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
USES_IT = """
import sys, rtsysid
from rtsysid.model.bundle import Bundle
from rtsysid.model.predictor import Predictor
assert "site-packages" in rtsysid.__file__, rtsysid.__file__
print(Predictor.load(Bundle.open(sys.argv[1]), "onnx").backend.name)
"""


def interpreter(version: str) -> str | None:
    """A Python of this version: on the path, or one of pyenv."""
    folders = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"), reverse=True)
    for found in (shutil.which(f"python{version}"), *map(str, folders)):
        if found is not None:
            code = "import sys, ensurepip, venv; print(sys.version_info >= (3, 11))"
            done = subprocess.run([found, "-c", code], capture_output=True, text=True, check=False)
            if done.stdout.strip() == "True":
                return found
    return None


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with wheel and sdist of this tree; not to be changed."""

    def build(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True,
                       capture_output=True)  # fmt: skip

    return made_once(tmp_path_factory, "dist", build)


def test_the_sdist_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """From the sdist alone comes a wheel with the same files, each of the same content but for the record of them."""
    (sdist,) = built.glob("*.tar.gz")
    shutil.unpack_archive(sdist, tmp_path)
    (unpacked,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"]
    subprocess.run(build, cwd=unpacked, check=True, capture_output=True)
    (first,), (again,) = built.glob("*.whl"), (tmp_path / "again").glob("*.whl")
    files = [{each.filename: each.CRC for each in zipfile.ZipFile(path).infolist()} for path in (first, again)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_wheel_runs_on_each_python(version: str, built: Path, bundle_folder: Path, tmp_path: Path) -> None:
    """In an environment of that Python, with what pip resolves for it, a bundle is opened and verified, and the command
    line answers."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"wants Python {version}")
    (wheel,) = built.glob("*.whl")
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True, env=environment)
    own = tmp_path / "venv" / "bin"
    pip = [own / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, env=environment, timeout=600)
    if done.returncode and ("No matching distribution" in done.stderr or "Could not find a version" in done.stderr):
        pytest.skip(f"the registry that pip asks has no packages for Python {version}: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    run = [own / "python", "-c", USES_IT, bundle_folder]
    found = subprocess.run(run, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert found.stdout == "onnx\n", found.stderr
    told = subprocess.run([own / "rtsysid", "info", bundle_folder, "--json"], capture_output=True, check=False,
                          env=environment, cwd=tmp_path)  # fmt: skip
    assert told.returncode == 0, told.stderr
