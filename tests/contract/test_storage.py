"""A new output replaces an older one of rtsysid in one step, whatever happens meanwhile; no other file changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from pathlib import Path

import pytest
from support.outputs import fill_index, put_index, tree

from rtsysid.errors import StorageError
from rtsysid.storage import claim, replacing, require_output
from rtsysid.storage.products import BUNDLE, INDEX, MOMENTS, RECORDING, REPORT, html_head

ROOT = Path(__file__).parents[2]

MORTAL = """
import os, signal, sys
sys.path.insert(0, "tests")
from rtsysid.storage import claim, replacing, require_output
from rtsysid.storage.products import INDEX
from support.outputs import fill_index

def dying(call):
    def called(*args, **options):
        global left
        done = call(*args, **options)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    return called

path = sys.argv[1]
if sys.argv[2] == "twice":
    claim.exchange = lambda first, second: False
claim.exchange = dying(claim.exchange)
for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync", "write", "ftruncate"):
    setattr(os, name, dying(getattr(os, name)))
for line in sys.stdin:
    left = int(line)
    child = os.fork()
    if not child:
        with replacing(path, INDEX) as folder:
            fill_index(folder, "new")
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@contextmanager
def mortal(path: Path, renames: str) -> Iterator[Callable[[int], bool]]:
    """Yield a function that replaces an index in a process that is killed after its n-th call that changes a file.

    It returns whether the process was killed, or ended before.
    """
    command, pipe = [sys.executable, "-c", MORTAL, path, renames], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def killed_at(step: int) -> bool:
            print(step, file=stdin, flush=True)
            status = int(stdout.readline())
            assert status in (0, signal.SIGKILL)
            return status != 0

        yield killed_at


@pytest.fixture(params=["once", "twice"])
def renames(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether the system exchanges two folders in one step, or renames twice."""
    if request.param == "twice":
        monkeypatch.setattr(claim, "exchange", lambda first, second: False)
    return str(request.param)


@pytest.mark.parametrize("renames", ["once", "twice"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, renames: str) -> None:
    """After SIGKILL at each step the folder is the old or the new one, and the next run leaves nothing but its own."""
    path, states = tmp_path / "index", set()
    put_index(tmp_path / "sample", "new")
    put_index(path, "old")
    before, after = tree(path), tree(tmp_path / "sample")
    with mortal(path, renames) as killed_at:
        for step in takewhile(killed_at, count(1)):
            half = renames == "twice" and not path.exists()
            assert half or tree(path) in (before, after), step
            states.add("half" if half else "old" if tree(path) == before else "new")
            with replacing(path, INDEX) as folder:
                put_index(folder, "old")
            assert tree(path) == before
            assert sorted(each.name for each in tmp_path.iterdir()) == ["index", "sample"]
    assert states == ({"old", "new", "half"} if renames == "twice" else {"old", "new"})


def test_the_next_run_puts_back_what_was_half_replaced(tmp_path: Path) -> None:
    """Killed between two renames, the old folder is back before the next run begins, and stays if that fails."""
    put_index(tmp_path / "index", "old")
    before = tree(tmp_path / "index")
    with mortal(tmp_path / "index", "twice") as killed_at:
        for _ in takewhile(lambda step: killed_at(step) and (tmp_path / "index").exists(), count(1)):
            assert tree(tmp_path / "index") == before
    assert not (tmp_path / "index").exists()
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path / "index", lambda _: tree(tmp_path / "index") == before)
    assert tree(tmp_path / "index") == before
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


def test_many_kills_in_a_row_leave_one_folder(tmp_path: Path) -> None:
    """What killed processes leave does not pile up, and the first run that ends removes all of it."""
    put_index(tmp_path / "index", "old")
    with mortal(tmp_path / "index", "twice") as killed_at:
        for step in takewhile(killed_at, count(1)):
            names = {each.name for each in tmp_path.iterdir()}
            assert names <= {"index", ".writing-index"}, step
    assert [each.name for each in tmp_path.iterdir()] == ["index"]
    assert (tmp_path / "index" / "codes.u8").read_text() == "new"


def failing(path: Path, work: Callable[[Path], bool | None]) -> None:
    """Begin to replace an index, do some work, and fail."""
    with replacing(path, INDEX) as folder:
        assert work(folder) is not False
        _ = 1 / 0


def test_a_failure_leaves_what_was_there(tmp_path: Path, renames: str) -> None:
    """An error while writing, or in the last rename, changes nothing and leaves no other file."""
    put_index(tmp_path / "index", "old")
    before = tree(tmp_path)
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path / "index", lambda folder: fill_index(folder, "new"))
    with pytest.raises(StorageError, match="No such file"), replacing(tmp_path / "index", INDEX) as folder:
        folder.rmdir()
    assert tree(tmp_path) == before


def test_both_ways_replace(tmp_path: Path, renames: str) -> None:
    """With and without an exchange by the system the new folder takes the place of the old one."""
    put_index(tmp_path / "index", "old")
    with replacing(tmp_path / "index", INDEX) as folder:
        put_index(folder, "new")
    assert (tmp_path / "index" / "codes.u8").read_text() == "new"
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is writing the index and waits."""
    code = "import sys\nfrom rtsysid.storage import replacing\nfrom rtsysid.storage.products import INDEX\n"
    code += "with replacing(sys.argv[1], INDEX):\n    print(flush=True)\n    sys.stdin.read()"
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "index"], stdin=pipe, stdout=pipe, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_second_process_is_refused_with_the_id_of_the_first(
    tmp_path: Path, other_process: subprocess.Popen[bytes]
) -> None:
    """While one process writes, another is refused and touches nothing; after a kill the lock is free by itself."""
    before = tree(tmp_path)
    with (
        pytest.raises(StorageError, match=f"process {other_process.pid} is writing it"),
        replacing(tmp_path / "index", INDEX),
    ):
        pytest.fail("entered")
    assert tree(tmp_path) == before
    other_process.kill()
    other_process.wait()
    with replacing(tmp_path / "index", INDEX) as folder:
        put_index(folder, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


def test_a_process_id_that_was_given_again_refuses_nothing(tmp_path: Path) -> None:
    """A lock file that names a living process, without its lock, is a leftover."""
    leftover = tmp_path / ".writing-index"
    leftover.mkdir()
    (leftover / "lock").write_bytes(claim._HEADER + b"1\n")
    with replacing(tmp_path / "index", INDEX) as folder:
        put_index(folder, "new")
    assert [each.name for each in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("name", ["file", "folder", "link", "notes and a lock"])
def test_what_only_looks_like_a_leftover_stays(tmp_path: Path, name: str) -> None:
    """A file, a folder or a link of the user with the name of our folder is left alone, and writing goes on."""
    alike = tmp_path / ".writing-index"
    if name == "file":
        alike.write_text("mine")
    elif name == "link":
        (tmp_path / "elsewhere").mkdir()
        alike.symlink_to(tmp_path / "elsewhere")
    else:
        (alike / "new").mkdir(parents=True)
        (alike / "new" / "thesis.txt").write_text("mine")
    if name == "notes and a lock":
        (alike / "lock").write_bytes(claim._HEADER + b"1\n")
        (alike / "notes.md").write_text("mine")
    before = tree(tmp_path)
    with replacing(tmp_path / "index", INDEX) as folder:
        put_index(folder, "new")
    assert {k: v for k, v in tree(tmp_path).items() if not k.startswith("index")} == before


def test_a_child_of_a_writer_does_not_clean_up_for_it(tmp_path: Path) -> None:
    """A process that was forked off while its parent writes ends without removing the parent's work."""
    with replacing(tmp_path / "index", INDEX) as folder:
        put_index(folder, "new")
        code = f"import os, sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        code += "from rtsysid.storage.claim import Claim\nfrom pathlib import Path\nclaim = Claim(Path(sys.argv[1]))\n"
        code += "claim.new.write_text('x')\nif os.fork():\n    os.wait()\n    sys.exit(not claim.new.exists())\n"
        done = subprocess.run([sys.executable, "-c", code, tmp_path / "other"], check=False)
        assert done.returncode == 0


def test_a_place_that_takes_nothing_is_an_error(tmp_path: Path) -> None:
    """Where no folder can be made, writing ends at once; a path through a missing folder is refused, a new one made."""
    for path in (Path("/proc/index"), tmp_path / "missing" / ".." / "index"):
        with pytest.raises(StorageError), replacing(path, INDEX):
            pytest.fail("entered")
    assert not any(tmp_path.iterdir())
    with replacing(tmp_path / ".." / tmp_path.name / "new" / "index", INDEX) as folder:
        put_index(folder, "new")
    assert (tmp_path / "new" / "index" / "codes.u8").exists()


def test_a_long_name_is_written(tmp_path: Path) -> None:
    """A name of 250 bytes leaves no room for a longer one next to it, and is written all the same."""
    path = tmp_path / ("x" * 245 + ".html")
    with replacing(path, REPORT) as new:
        new.write_text(html_head("report"))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_link_stays_and_its_target_is_judged(tmp_path: Path) -> None:
    """Through a link the target is replaced if it is ours, made if it is not there, and refused if it is foreign."""
    link, target = tmp_path / "latest.html", tmp_path / "pages" / "1.html"
    link.symlink_to(target)
    for text in ("first", "second"):
        with replacing(link, REPORT) as new:
            new.write_text(html_head("report") + text)
        assert link.is_symlink()
        assert target.read_text().endswith(text)
    target.write_text("mine")
    with pytest.raises(StorageError, match="did not write it"):
        require_output(link, REPORT)
    assert target.read_text() == "mine"


def test_a_page_of_another_kind_is_foreign(tmp_path: Path) -> None:
    """Ours is what is of the same kind: a report does not take the place of the moments of a search."""
    (tmp_path / "a.html").write_text(html_head("moments"))
    with replacing(tmp_path / "a.html", MOMENTS) as new:
        new.write_text(html_head("moments") + "again")
    with pytest.raises(StorageError, match="did not write it"):
        require_output(tmp_path / "a.html", REPORT)


def test_what_appears_while_the_output_is_written_stays(tmp_path: Path) -> None:
    """The rule is asked again before the replacement: a file that came meanwhile is not lost."""
    with pytest.raises(StorageError, match="exists already"):
        written_next_to(tmp_path / "a.csv", "theirs")
    assert (tmp_path / "a.csv").read_text() == "theirs"


def written_next_to(path: Path, text: str) -> None:
    """Write a recording while another file comes to its place."""
    with replacing(path, RECORDING) as new:
        new.write_text("ours")
        path.write_text(text)


@pytest.mark.parametrize("where", ["current", "above current", "home", "root"])
def test_where_the_user_is_or_lives_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The current folder, the home and what holds them are refused, even where they are empty or a bundle of ours."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside if "current" in where else "/")
    monkeypatch.setenv("HOME", str(inside))
    path = {"current": Path("."), "above current": tmp_path, "home": inside, "root": Path("/")}[where]
    with pytest.raises(StorageError):
        require_output(path, BUNDLE)
    assert inside.exists()


def test_overwriting_takes_any_plain_file_and_nothing_else(tmp_path: Path) -> None:
    """`overwrite` replaces a foreign file; a folder, a pipe, a device and a file that is being written stay."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file.csv").write_text("foreign")
    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(StorageError):
            require_output(tmp_path / name, RECORDING, overwrite=True)
    with open(tmp_path / "file.csv", "rb") as file:
        assert claim.try_lock(file.fileno())
        with pytest.raises(StorageError, match="another process"):
            require_output(tmp_path / "file.csv", RECORDING, overwrite=True)
    with replacing(tmp_path / "file.csv", RECORDING, overwrite=True) as new:
        new.write_text("ours")
    assert (tmp_path / "file.csv").read_text() == "ours"
    with pytest.raises(StorageError, match="not a plain file"):
        require_output("/dev/null", RECORDING, overwrite=True)
