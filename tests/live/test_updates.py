"""Bundles are replaced while a real board streams: every tick is answered, and a broken bundle never takes over."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.fast_bundle import RATE_HZ, make_fast_bundle
from support.hostile import rehashed
from support.live_parts import until
from support.robots import plant
from support.shell import command

from export.compile import find_compiler
from firmware_bridge.device import SimulatedDevice
from firmware_bridge.link import Link
from firmware_bridge.schema import Schema
from rtsysid.errors import BundleError, StorageError
from rtsysid.live.loop import Answer, LiveLoop
from rtsysid.live.service import StopSignal
from rtsysid.live.session import Session, SessionSettings
from rtsysid.live.updates import BundleUpdates, BundleWatch
from rtsysid.model import linked
from rtsysid.model.backends import c_backend
from rtsysid.model.bundle import Bundle
from rtsysid.model.npz import write_npz
from rtsysid.model.predictor import Predictor

pytestmark = pytest.mark.skipif(
    not c_backend.machines() or find_compiler(c_backend.machines()[0]) is None, reason="wants a C compiler"
)
UPDATES = 100


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The tiny model at 500 Hz, hardly trained; not to be changed."""
    return make_fast_bundle(tmp_path_factory.mktemp("fast"))


@pytest.fixture
def link(first: Bundle, tmp_path: Path) -> Path:
    """A link to a copy of the bundle."""
    shutil.copytree(first.folder, tmp_path / "bundle-0")
    linked.point(tmp_path / "live", tmp_path / "bundle-0")
    return tmp_path / "live"


@pytest.fixture
def board(first: Bundle) -> Iterator[SimulatedDevice]:
    rows = plant(1, 5000, seed=5).episodes[0].values
    with SimulatedDevice(Schema.of(first.spec.channels, RATE_HZ), rows, repeat=True) as device:
        yield device


class Notes:
    """Keeps the flags and the outputs of every answer, and what became of bundles."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.updates: list[Any] = []

    def sample(self, arrival: Any) -> None: ...
    def health(self, figures: Any) -> None: ...
    def prediction(self, answer: Answer) -> None:
        self.answers.append(answer)

    def update(self, note: Any) -> None:
        self.updates.append(note)


class Live:
    """A session with updates of a link, on a board: `step(updates)` is called about fifty times a second."""

    def __init__(self, link: Path, board: SimulatedDevice, patience_s: float) -> None:
        self.link, self.board, self.patience_s = link, board, patience_s
        self.notes = Notes()
        self.lines: list[str] = []

    def run(self, step: Callable[[BundleUpdates], bool]) -> BundleUpdates:
        """Run until `step` returns whether it is over."""
        bundle = Bundle.open(self.link)
        settings = SessionSettings(budget_s=1000.0)
        watch = BundleWatch(self.link, bundle, "c", settings, poll_s=0.005)
        with StopSignal(self.patience_s) as stop, watch, Link(self.board.port, spec=bundle.spec) as source:
            updates = BundleUpdates(watch, bundle, trial_s=0.02, recorder=self.notes)
            session = Session(Predictor.load(bundle, "c"), settings)
            loop = LiveLoop(source, session, recorder=self.notes, follower=updates)
            for _ in loop.run(stop, every_s=0.01):
                self.lines += updates.events()
                stop.requested |= step(updates)
            assert not stop.interrupted
            self.health = source.health()
        return updates

    def require_whole(self) -> None:
        """Every sample that the board gave to the stream was fed and answered, and only the first are a warm-up."""
        answered = len(self.notes.answers)
        health = self.health
        assert (health.gaps, health.dropped, health.corrupt, health.refused, health.losses) == (0, 0, 0, 0, 0)
        assert answered + self.health.lost_at_end == self.board.captured()
        usable = [each.prediction.usable for each in self.notes.answers]
        assert all(usable[usable.index(True) :])


@pytest.mark.slow
def test_a_hundred_updates_leave_no_tick_without_an_answer(
    link: Path, first: Bundle, board: SimulatedDevice, tmp_path: Path
) -> None:
    """At 500 Hz through a pty a hundred bundles take over, one after the other; every sample is answered, none of them
    by a model in its warm-up, and the link to the bundle before is the last but one."""
    bundles = [first.rewritten(tmp_path / f"bundle-{k}", {"card.md": f"{k}\n".encode()}) for k in (1, 2)]

    def step(updates: BundleUpdates) -> bool:
        taken = updates.counts["taken"]
        if taken < UPDATES and updates.bundle.id == Bundle.open(link).id:
            linked.point(link, bundles[taken % 2].folder)
        return taken == UPDATES

    live = Live(link, board, 800.0)  # on a machine that others keep busy
    updates = live.run(step)
    assert updates.counts == {"taken": UPDATES, "refused": 0, "taken back": 0}
    live.require_whole()
    assert [note.outcome for note in live.notes.updates] == ["trial", "taken"] * UPDATES
    until(lambda: linked.previous(link) == bundles[0].folder, "the note of the bundle before")


def other_golden(folder: Path, content: dict[str, Any]) -> None:
    arrays = dict(np.load(folder / "golden.npz"))
    arrays["y"][-1] += 1.0
    (folder / "golden.npz").write_bytes(write_npz(arrays))


def other_rate(folder: Path, content: dict[str, Any]) -> None:
    content["spec"]["rate_hz"] = 250.0


def no_library(folder: Path, content: dict[str, Any]) -> None:
    (library,) = folder.glob("model-*.so")
    library.unlink()


CRASHES = "#include <signal.h>\n__attribute__((constructor)) static void run(void) { raise(SIGSEGV); }\n"


def crashing(folder: Path, content: dict[str, Any]) -> None:
    (library,) = folder.glob("model-*.so")
    (folder.parent / "crash.c").write_text(CRASHES)
    compiler = find_compiler(c_backend.machines()[0]) or []
    subprocess.run([*compiler, "-shared", "-fPIC", "-o", library, folder.parent / "crash.c"], check=True)


BROKEN: dict[str, tuple[Callable[[Path, dict[str, Any]], None], bool, str]] = {
    "another golden trace": (other_golden, True, "step error"),
    "another rate": (other_rate, True, "its channels or its rate are others"),
    "without a library": (no_library, True, "backend c"),
    "not signed": (lambda folder, _: (folder / "card.md").write_text("new\n") and None, False, "rtsysid trust sign"),
    "crashes": (crashing, True, "the process that verifies it ended with status -11"),
}


def test_a_broken_bundle_never_takes_over(link: Path, first: Bundle, board: SimulatedDevice, tmp_path: Path) -> None:
    """One broken bundle after the other is refused with its reason, one is damaged after it was signed, one is absent;
    the running model answers every tick, and a good bundle still takes over at the end."""
    folders = {name: rehashed(first.folder, tmp_path / name.replace(" ", "-"), change, signed=signed)
               for name, (change, signed, _) in BROKEN.items()}  # fmt: skip
    damaged = Path(shutil.copytree(first.folder, tmp_path / "damaged"))
    (damaged / "golden.npz").write_bytes(b"PK")
    good = first.rewritten(tmp_path / "good", {"card.md": b"good\n"})
    wanted = [
        *((folders[name], reason) for name, (_, _, reason) in BROKEN.items()),
        (damaged, "golden.npz was changed"),
    ]
    targets = iter([*(folder for folder, _ in wanted), good.folder])
    pointed = 0

    def step(updates: BundleUpdates) -> bool:
        nonlocal pointed
        if updates.counts["refused"] == pointed and (folder := next(targets, None)) is not None:
            pointed += 1
            link.unlink()
            link.symlink_to(folder)
        return updates.counts["taken"] == 1

    live = Live(link, board, 800.0)
    updates = live.run(step)
    assert updates.counts == {"taken": 1, "refused": len(wanted), "taken back": 0}
    live.require_whole()
    refusals = [line for line in live.lines if "refused" in line]
    for (_, reason), line in zip(wanted, refusals, strict=True):
        assert reason in line
        assert len(line.splitlines()) == 1


def test_a_link_leads_back_to_the_bundle_before(link: Path, first: Bundle, tmp_path: Path) -> None:
    """`rollback` points a link to the bundle before, twice leads back, --to names another; nothing else is moved."""
    new = first.rewritten(tmp_path / "new", {"card.md": b"new\n"})
    command("rollback", link, check=2)
    command("rollback", link, "--to", new.folder)
    assert Bundle.open(link).id == new.id
    command("rollback", link)
    assert Bundle.open(link).id == first.id
    command("rollback", link)
    assert Bundle.open(link).id == new.id
    assert os.readlink(link) == "new"
    command("rollback", link, "--to", tmp_path / "none", check=2)
    command("rollback", new.folder, "--to", first.folder, check=5)
    assert Bundle.open(link).id == Bundle.open(new.folder).id == new.id


def test_only_links_are_replaced(link: Path, first: Bundle, tmp_path: Path) -> None:
    """A file with the name of the note, or of the link, stays, and the link leads where it led."""
    new = first.rewritten(tmp_path / "new", {"card.md": b"new\n"})
    (tmp_path / "live.before").write_text("mine")
    with pytest.raises(StorageError, match="something else has this name"):
        linked.note_previous(link, new.folder)
    assert (tmp_path / "live.before").read_text() == "mine"
    with pytest.raises(BundleError):
        linked.roll_back(link)
