"""The document of the configuration says what the code reads."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rtsysid.alignment.source import ChannelSource
from rtsysid.config import Data, Model, NoiseLevels, Symmetry, Training, parse_config, read_config, with_settings
from rtsysid.errors import ConfigError
from rtsysid.schedule import Corruption, Loss, Stage, TeacherForcing
from rtsysid.spec import RigidBody, Rotors

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
SECTIONS: dict[str, Any] = {
    "[data]": Data,
    "[data.sources]": ChannelSource,
    "[model]": Model,
    "[model.rigid_body]": RigidBody,
    "[model.rigid_body.rotors]": Rotors,
    "[train]": Training,
    "[[train.symmetry]]": Symmetry,
    "[train.sensor_noise]": NoiseLevels,
    "[[stage]]": Stage,
    "loss": Loss,
    "loss.corruption": Corruption,
    "teacher_forcing": TeacherForcing,
}


def written(field: msgspec.structs.FieldInfo) -> str:
    """The default of a field as the document shows it."""
    if field.default_factory is not msgspec.NODEFAULT:
        return f"`{json.dumps(field.default_factory())}`"
    if field.default is msgspec.NODEFAULT:
        return "required"
    if field.default is None or isinstance(field.default, msgspec.Struct):
        return "none"
    return f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    """Each section of docs/configuration.md lists the keys of its struct, in order, with their defaults."""
    _, _, rest = DOCUMENT.partition(f"\n## {section}\n")
    found = re.findall(r"^\| `(\w+)` \| (required|none|`[^`]*`) \| .+ \|$", rest.partition("\n## ")[0], re.MULTILINE)
    assert found == [(field.name, written(field)) for field in msgspec.structs.fields(SECTIONS[section])]


def test_the_example_is_a_configuration() -> None:
    """The file that the document begins with is read without complaint."""
    example = DOCUMENT.partition("```toml\n")[2].partition("```")[0]
    assert parse_config(example).model.friction == (("qm", 1e-3),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = " + "[" * 100_000, "nested too deeply"),
        ("a = " + "9" * 5_000, "not TOML"),
        (".".join(["a"] * 2_000) + " = 1", "more than 1000 dots"),
        ("#" * (257 << 10), "limit config_bytes"),
    ],
    ids=range(4),
)
def test_a_hostile_configuration_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    """Nesting without end, an endless number, a key of many parts, and a file beyond the limit."""
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        read_config(tmp_path / "c.toml")


def test_the_limit_that_a_refusal_names_reads_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size that the remedy states is that of the whole file."""
    (tmp_path / "c.toml").write_text('[data]\nrate_hz = 1\ninputs = []\noutputs = ["y"]\n' + "#" * (300 << 10))
    with pytest.raises(ConfigError) as refused:
        read_config(tmp_path / "c.toml")
    monkeypatch.setenv("RTSYSID_LIMITS", refused.value.remedy.rpartition("LIMITS=")[2])
    assert read_config(tmp_path / "c.toml").data.rate_hz == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[data]\nrate_hz = 0", "data.rate_hz = 0: Expected `float` >= 1e-06; correct the value"),
        ('[data]\nrate_hz = 9\nvalidation = ["a", 3]', "data.validation[1] = 3: Expected `str`, got `int`"),
        ("[data]\nrate_hz = 9", "missing required field `inputs` - at `$.data`; add the key"),
        ("[data]\nrate_hs = 9", "unknown field `rate_hs` - at `$.data`; did you mean 'rate_hz'?"),
    ],
)
def test_a_wrong_value_is_quoted(text: str, says: str) -> None:
    """The error has key, value, what is expected, and a remedy."""
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_config(text)


def test_settings_replace_values_of_the_file() -> None:
    """KEY=VALUE sets a key as if the file said so, a word without quotes included."""
    text = '[data]\nrate_hz = 100\ninputs = ["u"]\noutputs = ["y"]\n[train]\nstride = 10\n'
    config = with_settings(text, ("train.stride=20", "model.hidden = 16", "train.preset=two-stage", "data.nan='split'"))
    assert (config.train.stride, config.model.hidden, config.train.preset) == (20, 16, "two-stage")
    assert config.data.nan == "split"


@pytest.mark.parametrize(
    "setting", ["train.stride", "=3", "stride=3", "train.strid=3", "train.stride=0", "data.rate_hz.x=1"]
)
def test_settings_that_are_none(setting: str) -> None:
    """A setting without key or value, an unknown key, and a value out of range are one line."""
    with pytest.raises(ConfigError):
        with_settings('[data]\nrate_hz = 100\ninputs = ["u"]\noutputs = ["y"]\n', (setting,))
