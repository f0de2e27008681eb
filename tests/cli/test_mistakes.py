"""Typical mistakes: each answer says what was found and what to do, and the command accepts the remedy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support.robots import TINY, plant
from support.shell import command, refused_here

from rtsysid.cli.sections import spread
from rtsysid.recordings.trace import Trace

Arguments = tuple[object, ...]


class Desk:
    """What a user has: recordings, a configuration and copies of it with a mistake, a run and a bundle."""

    def __init__(self, folder: Path, run: Path, bundle: Path) -> None:
        self.folder, self.run, self.bundle = folder, run, bundle
        self.logs, self.empty = folder / "logs", folder / "empty"
        self.empty.mkdir()
        for episode in plant().episodes:
            Trace(plant().channels, (episode,)).write(self.logs / f"{episode.name}.csv")
        self.log = self.logs / "run1.csv"
        self.config = self.written(TINY)

    def written(self, text: str) -> Path:
        """A configuration with this text."""
        path = self.folder / f"{len(list(self.folder.glob('*.toml')))}.toml"
        path.write_text(text)
        return path

    def changed(self, old: str, new: str) -> Path:
        """The configuration with a mistake."""
        return self.written(TINY.replace(old, new))

    def long_csv(self) -> Path:
        """A recording that is longer than any configuration."""
        path = self.folder / "long.csv"
        path.write_text("t,u\n" + "0,0\n" * 100_000)
        return path

    def foreign_csv(self) -> Path:
        """A recording of a robot with other channels, and with another time column."""
        path = self.folder / "foreign.csv"
        path.write_text("stamp,a,b\n" + "".join(f"{k / 50},{k % 7},{k % 5}\n" for k in range(100)))
        return path

    def bursts(self) -> Path:
        """A recording of ten rows within a millisecond, each 0.2 s, as a host stamps what came in one packet."""
        path = self.folder / "bursts.csv"
        rows = [line.split(",", 1)[1] for line in self.log.read_text().splitlines()[1:]]
        stamped = (f"{k // 10 * 0.2 + k % 10 * 1e-4:.4f},{row}" for k, row in enumerate(rows))
        path.write_text("\n".join(["t [s],u [V],y [m],v [m/s]", *stamped, ""]))
        return path

    def stamped(self) -> Path:
        """A recording of the same robot with another time column."""
        path = self.folder / "stamped.csv"
        path.write_text(self.log.read_text().replace("t [s]", "stamp", 1))
        return path

    def old_bundle(self) -> Path:
        """A bundle of an earlier format."""
        from rtsysid.model.manifest import manifest_digest

        copy = Path(shutil.copytree(self.bundle, self.folder / "old"))
        plain = json.loads((copy / "manifest.json").read_text()) | {"format": 2}
        (copy / "manifest.json").write_text(json.dumps(plain | {"digest": manifest_digest(plain)}))
        return copy


@pytest.fixture
def desk(tmp_path: Path, run_folder: Path, bundle_folder: Path) -> Desk:
    return Desk(tmp_path, run_folder, bundle_folder)


class Mistake(NamedTuple):
    """A command with a mistake, its exit code, words of the answer, and the command after a short remedy."""

    wrong: Callable[[Desk], Arguments]
    code: int
    words: tuple[str, ...]
    right: Callable[[Desk], Arguments] | None = None


def train(config: Callable[[Desk], object], *more: object) -> Callable[[Desk], Arguments]:
    return lambda d: ("train", config(d), "--data", d.logs, "-o", d.folder / "new", *more)


MISTAKES = {
    "a wrong column": Mistake(
        lambda d: ("check", d.log, d.changed("u [V]", "U [V]")), 1, ("missing column 'U'", "did you mean 'u'?"),
        lambda d: ("check", d.log, d.config)),
    "a wrong unit": Mistake(
        lambda d: ("check", d.log, d.changed("y [m]", "y [mm]")), 1, ("unit of 'y': 'm' instead of 'mm'", "'y [m]'"),
        lambda d: ("check", d.log, d.config)),
    "a wrong rate": Mistake(
        train(lambda d: d.changed("rate_hz = 50", "rate_hz = 100"), "--force"), 1,
        ("at 50 Hz, the model at 100 Hz", "rate_hz = 50")),
    "a configuration of another robot": Mistake(
        train(lambda d: "quadrotor"), 1, ("missing column 'm1'", "another robot", "rtsysid init"),
        lambda d: ("init", d.log, "--yes", "-o", d.folder / "own.toml")),
    "a typing error in a key": Mistake(
        train(lambda d: d.changed("hidden", "hiden")), 1, ("`hiden`", "did you mean 'hidden'?")),
    "a typing error in --set": Mistake(
        train(lambda d: d.config, "--set", "model.hiden=3"), 1, ("`hiden`", "did you mean 'hidden'?")),
    "a key without its table": Mistake(train(lambda d: d.config, "--set", "hidden=3"), 1, ("as train.stride",)),
    "a word for a number": Mistake(
        train(lambda d: d.config, "--set", "model.hidden=many"), 1, ("model.hidden = many", "Expected `int")),
    "a typing error in a configuration": Mistake(train(lambda d: "quadrotr"), 1, ("did you mean 'quadrotor'?",)),
    "a typing error in a command": Mistake(lambda d: ("trian", d.config), 1, ("did you mean 'train'?",)),
    "no shell named": Mistake(lambda d: ("completion",), 1, ("Choose from: bash, zsh, fish; see rtsysid completion",)),
    "a typing error in an option": Mistake(lambda d: ("info", d.log, "--jsn"), 1, ("--jsn", "--json")),
    "an empty pattern": Mistake(
        lambda d: ("evaluate", d.bundle, d.logs / "none*.csv"), 1, ("no file matches this pattern",),
        lambda d: ("evaluate", d.bundle, d.log, "--stride", 50)),
    "an empty folder": Mistake(lambda d: ("evaluate", d.bundle, d.empty), 1, ("no recording in it",)),
    "no such file": Mistake(lambda d: ("info", d.folder / "none"), 1, ("no such file",)),
    "a typing error in a folder": Mistake(
        lambda d: ("evaluate", d.bundle, d.folder / "lgs", "--stride", 50), 1,
        ("no such file or folder", "did you mean {logs}?"), lambda d: ("evaluate", d.bundle, d.logs, "--stride", 50)),
    "a typing error in a file": Mistake(
        lambda d: ("evaluate", d.bundle, d.logs / "runn1.csv"), 1, ("did you mean {logs}/run1.csv?",)),
    "stamps in bursts, aligned": Mistake(
        lambda d: ("train", d.changed("rate_hz = 50", "rate_hz = 50\nresample = true"), "--data", d.bursts(), "-o",
                   d.folder / "new"), 1,
        ("too short", "see burst of stamps", "device's own time stamps")),
    "another time column": Mistake(
        lambda d: ("report", d.bundle, "--data", d.stamped(), "-o", d.folder / "r.html"), 1,
        ("no time column 't'", '--time "stamp"'),
        lambda d: ("report", d.bundle, "--data", d.stamped(), "-o", d.folder / "r.html", "--time", "stamp")),
    "a recording of another robot with another time column": Mistake(
        lambda d: ("evaluate", d.bundle, d.foreign_csv()), 1, ("missing column", "another robot")),
    "swapped arguments": Mistake(
        lambda d: ("evaluate", d.log, d.bundle), 2, ("a file, not a bundle", "the bundle comes first"),
        lambda d: ("evaluate", d.bundle, d.log, "--stride", 50)),
    "recordings as the configuration": Mistake(
        lambda d: ("train", d.logs, "--data", d.config, "-o", d.folder / "new"), 1,
        ("a folder, not a configuration", "recordings after --data")),
    "a long recording as the configuration": Mistake(
        train(lambda d: d.long_csv()), 1, ("a file, not a configuration", "recordings after --data")),
    "a short recording as the configuration": Mistake(
        train(lambda d: d.log), 1, ("not TOML", "the configuration comes first, recordings after --data")),
    "a key of another table": Mistake(
        train(lambda d: d.changed("[model]", "[model]\nrate_hz = 9")), 1, ("move it: rate_hz belongs in [data]",)),
    "a key that was renamed": Mistake(
        train(lambda d: d.changed("[model]", "[model]\ndirect = true")), 1, ("it is called linear_path now",)),
    "a typing error in a word": Mistake(
        train(lambda d: d.changed("rate_hz = 50", 'rate_hz = 50\nnan = "spilt"')), 1,
        ("data.nan = spilt", "did you mean 'split'?")),
    "a word for a list": Mistake(
        train(lambda d: d.changed('inputs = ["u [V]"]', 'inputs = "u [V]"')), 1,
        ("data.inputs", 'write a list: [".."]')),
    "no output at all": Mistake(
        train(lambda d: d.changed('["y [m]", "v [m/s]"]', "[]")), 1, ("data.outputs", "name at least one")),
    "a device that is no serial line": Mistake(
        lambda d: ("run", d.bundle, "/dev/null"), 3, ("port /dev/null: it is no serial line",)),
    "a configuration as a recording": Mistake(
        lambda d: ("evaluate", d.bundle, d.config), 1, ("a configuration, not a recording",)),
    "swapped index and recording": Mistake(
        lambda d: ("find", d.log, d.log, "--at", 1), 1, ("a file, not an index", "the index comes first")),
    "a folder for a file": Mistake(
        lambda d: ("replay", d.bundle, d.logs), 1, ("a folder of 4 recordings, not one", "run1.csv"),
        lambda d: ("replay", d.bundle, d.log)),
    "a run for a bundle": Mistake(
        lambda d: ("replay", d.run, d.log), 2, ("a run, not a bundle", "rtsysid export {run} -o BUNDLE"),
        lambda d: ("replay", d.bundle, d.log)),
    "a bundle for a run": Mistake(
        lambda d: ("export", d.bundle, "-o", d.folder / "new"), 1, ("a bundle, not a run", "exported already")),
    "a bundle for recordings": Mistake(lambda d: ("evaluate", d.bundle, d.bundle), 1, ("a bundle, not a recording",)),
    "a run for recordings": Mistake(lambda d: ("replay", d.bundle, d.run), 1, ("a run, not a recording",)),
    "a run for a configuration": Mistake(
        lambda d: ("train", d.run, "--data", d.logs, "-o", d.folder / "new"), 1,
        ("a run, not a configuration", "{run}/config.toml"), lambda d: ("config", "show", d.run / "config.toml")),
    "a bundle for a configuration": Mistake(
        lambda d: ("train", d.bundle, "--data", d.logs, "-o", d.folder / "new"), 1,
        ("a bundle, not a configuration", "rtsysid config show {bundle}"), lambda d: ("config", "show", d.bundle)),
    "a file of a bundle for the bundle": Mistake(
        lambda d: ("verify", d.bundle / "manifest.json"), 2, ("a file of a bundle", "give its folder: {bundle}"),
        lambda d: ("verify", d.bundle, "--backend", "numpy")),
    "a recording for a port": Mistake(
        lambda d: ("run", d.bundle, d.log), 3, ("a file, not a port", "log:{logs}/run1.csv"),
        lambda d: ("run", d.bundle, f"log:{d.log}")),
    "a folder for a port": Mistake(
        lambda d: ("record", d.logs, "-o", d.folder / "new.mcap"), 3, ("a folder, not a port", "path of a device")),
    "a typing error in an address": Mistake(
        lambda d: ("run", d.bundle, "mavlnk:udp://:14550"), 3, ("mavlnk:", "did you mean mavlink:?")),
    "an unknown kind of address": Mistake(
        lambda d: ("run", d.bundle, "gopher://robot"), 3, ("gopher:", "udp:, ws:")),
    "no such device": Mistake(
        lambda d: ("run", d.bundle, "/dev/ttyNONE7"), 3,
        ("port /dev/ttyNONE7: No such file or directory; check the path",)),
    "a number that is no port": Mistake(lambda d: ("run", d.bundle, "udp://:99999"), 3, ("a port up to 65535",)),
    "swapped recordings and bundle": Mistake(
        lambda d: ("evaluate", d.logs, d.bundle), 2, ("a folder, not a bundle", "the bundle comes first"),
        lambda d: ("evaluate", d.bundle, d.logs, "--stride", 50)),
    "a recording for an option of a bundle": Mistake(
        lambda d: ("sim-device", d.bundle, "--like", d.log), 2, ("a file, not a bundle", "after --like")),
    "a bundle for the link to one": Mistake(
        lambda d: ("rollback", d.bundle), 5, ("it is a folder, and no link to one", "ln -s BUNDLE LINK")),
    "an old bundle": Mistake(
        lambda d: ("verify", d.old_bundle()), 2, ("format 2, this release reads 3", "export again")),
    "another seed for a run": Mistake(
        lambda d: ("train", d.config, "--data", d.logs, "-o", d.run, "--seed", 1), 1,
        ("holds another run (differs in train.seed", "choose another -o")),
    "a page of another kind": Mistake(
        lambda d: ("report", d.bundle, "--data", d.log, "-o", d.folder / "r.pdf"), 5, ("name a .html file",)),
    "an unknown target": Mistake(
        lambda d: ("export", d.run, "-o", d.folder / "new", "--target", "onx"), 1, ("choose among onnx, c",)),
    "no configuration of this name": Mistake(lambda d: ("config", "show", "tiny"), 1, ("quadrotor, nanodrone",)),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gets_one_line_with_a_remedy(name: str, desk: Desk) -> None:
    """One line with the words that help; where the remedy is a short command, that command succeeds."""
    mistake = MISTAKES[name]
    line = refused_here(*mistake.wrong(desk), code=mistake.code)
    for words in mistake.words:
        assert words.format(run=desk.run, bundle=desk.bundle, logs=desk.logs) in line
    assert not (desk.folder / "new").exists()
    if mistake.right is not None:
        command(*mistake.right(desk))


def test_a_missing_extra_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a package is missing, the answer is the command that installs it."""
    import sys

    monkeypatch.setitem(sys.modules, "export.bundle", None)
    monkeypatch.setitem(sys.modules, "torch", None)
    line = refused_here("train", desk.config, "--data", desk.log, "-o", desk.folder / "new", "--force", code=1)
    assert "pip install 'rtsysid[train]'" in line


def test_a_list_of_files_follows_one_option() -> None:
    """`--data a b` is `--data a --data b`, and what the command needs as an argument stays one, wherever it stands."""
    from rtsysid.cli import cli

    train_, compare = cli.commands["train"], cli.commands["compare"]
    long = ["--data", "a", "--data", "b"]
    assert spread(train_, ["c.toml", "--data", "a", "b", "-o", "run"]) == ["c.toml", *long, "-o", "run"]
    assert spread(train_, ["--data", "a", "b", "c.toml"]) == [*long, "c.toml"]
    assert spread(train_, ["--data", "a", "b", "-o", "run", "c.toml"]) == [*long, "-o", "run", "c.toml"]
    assert spread(train_, ["--data", "a", "c.toml", "-o", "run"]) == ["--data", "a", "c.toml", "-o", "run"]
    assert spread(train_, ["c.toml", *long, "--seed", "3"]) == ["c.toml", *long, "--seed", "3"]
    assert spread(compare, ["--data", "a", "b", "c.toml", "d.toml"]) == [*long, "c.toml", "d.toml"]
    assert spread(compare, ["c.toml", "--data", "a", "b"]) == ["c.toml", *long]


def test_a_list_of_files_is_read(desk: Desk) -> None:
    """What a shell makes of `--data logs/*.csv` reaches the command: here with an option that it refuses last."""
    files = sorted(desk.logs.iterdir())
    line = refused_here("train", desk.config, "--data", *files, "-o", desk.folder / "new", "--linear", code=1)
    assert "--linear: the configuration has a schedule of its own" in line
