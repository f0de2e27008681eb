"""Every name, path, link and option that the documents mention exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rtsysid.cli import cli

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
PACKAGES = "rtsysid|export|firmware_bridge|bench"
FOLDERS = f"{PACKAGES}|docs|hil|packaging|tests"
DOTTED = re.compile(rf"(?<![\w./-])(?:{PACKAGES})(?:\.[A-Za-z_]\w*)+(?!\w|/)")
PATHS = re.compile(rf"(?<![\w./~<-])(?:{FOLDERS})/(?:[\w.{{}}*-]|,(?! )|/)*")
# Names inside a recording and of a logger, not modules.
METADATA = {"rtsysid.board", "rtsysid.recording", "rtsysid.session", "rtsysid.stage"}
LINKS = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def quoted(text: str) -> str:
    """Everything between backticks, and every fenced block."""
    return "\n".join(re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL))


def members(nodes: list[ast.stmt]) -> Iterator[tuple[str, list[ast.stmt]]]:
    """Names that statements define, each with the statements inside it."""
    for node in nodes:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, [*node.body, *inherited(node, nodes)] if isinstance(node, ast.ClassDef) else []
        elif isinstance(node, ast.If):  # what is imported for the type checker alone, and found on first use
            yield from members(node.body)
        elif isinstance(node, ast.AnnAssign):
            yield ast.unparse(node.target), []
        elif isinstance(node, ast.Assign):
            yield from ((ast.unparse(target), []) for target in node.targets)
        elif isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, defined(node.module or "", alias.name)) for alias in node.names)


def inherited(node: ast.ClassDef, nodes: list[ast.stmt]) -> list[ast.stmt]:
    """Statements of the bases of a class that its module imports from the repository."""
    bases = {ast.unparse(base) for base in node.bases}
    imports = (each for each in nodes if isinstance(each, ast.ImportFrom))
    pairs = ((each.module or "", alias.name) for each in imports for alias in each.names)
    return [statement for module, name in pairs if name in bases for statement in defined(module, name)]


def defined(module: str, name: str) -> list[ast.stmt]:
    """Statements inside a class that another module of the repository defines; none for anything else."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    body = ast.parse(path.read_text()).body if path.is_file() else []
    return next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name), [])


def resolves(name: str) -> bool:
    """Whether a dotted name is a package, a module, or something that a module defines. Nothing is imported."""
    path, parts = ROOT, name.split(".")
    while parts and (path / parts[0]).is_dir():
        path /= parts.pop(0)
    is_module = bool(parts) and (path / f"{parts[0]}.py").is_file()
    module = path / f"{parts.pop(0) if is_module else '__init__'}.py"
    inside = ast.parse(module.read_text()).body
    for part in parts:
        found = dict(members(inside))
        if part not in found:
            return False
        inside = found[part]
    return True


def expanded(path: str) -> list[str]:
    """`a/{b,c}.h` as `a/b.h` and `a/c.h`."""
    braces = re.search(r"\{([^{}]*)\}", path)
    if braces is None:
        return [path]
    return [each for part in braces[1].split(",") for each in expanded(path.replace(braces[0], part, 1))]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_dotted_name_exists(document: str) -> None:
    """Each `rtsysid.…`, `export.…`, `firmware_bridge.…` and `bench.…` is a module or is defined in one."""
    files = re.compile(r"\.(service|toml|mcap|json|py)$")
    names = {name for name in DOTTED.findall(quoted((ROOT / document).read_text())) if not files.search(name)}
    assert [name for name in sorted(names - METADATA) if not resolves(name)] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_exists(document: str) -> None:
    """Each file or folder of the repository that a document names is there."""
    text = (ROOT / document).read_text()
    found = {each.rstrip(".,").replace("NAME", "*") for each in PATHS.findall(text)}
    paths = {path for each in found for path in expanded(each)}
    assert [path for path in sorted(paths) if not any(ROOT.glob(path.rstrip("/")))] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    """Each relative link names a file, as seen from the folder of its document."""
    links = [link for link in LINKS.findall((ROOT / document).read_text()) if "://" not in link]
    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


def commands(group: click.Group, name: str = "rtsysid") -> Iterator[tuple[str, click.Command]]:
    """Every command by the words that call it."""
    for word, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


@pytest.mark.parametrize(("name", "command"), [*commands(cli)])
def test_every_option_is_documented(name: str, command: click.Command) -> None:
    """docs/cli.md has a section for each command, and it names each option of that command and no other."""
    document = (ROOT / "docs" / "cli.md").read_text()
    _, heading, rest = document.partition(f"\n### {name}\n")
    assert heading, f"no section for {name}"
    listed = re.findall(r"^\| `(--?[\w-]+)", re.split(r"\n###? ", rest)[0], re.MULTILINE)
    wanted = [min(p.opts, key=lambda opt: (len(opt) != 2, opt)) for p in command.params if isinstance(p, click.Option)]
    assert sorted(listed) == sorted(option for option in wanted if option not in ("--json", "-q", "-v"))
