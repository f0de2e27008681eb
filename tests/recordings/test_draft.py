"""Test drafts of configurations: known logs, tables, and what is unsure."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

from rtsysid.config import parse_config
from rtsysid.errors import TraceError
from rtsysid.recordings.draft.choose import draft_of
from rtsysid.recordings.draft.known import candidates, knowledge
from rtsysid.recordings.draft.log import draft_for
from rtsysid.recordings.draft.text import draft_text
from rtsysid.recordings.home import home
from rtsysid.recordings.topics import Series, Topic, TopicField


class FakeLog:
    """A log of topics with moving numbers at given rates."""

    path, missing = Path("flight.ulg"), ""

    def __init__(self, fields: dict[str, tuple[float, str, tuple[str, ...]]], still: tuple[str, ...] = ()) -> None:
        self._fields, self._still = fields, still

    @property
    def topics(self) -> tuple[Topic, ...]:
        return tuple(
            Topic(name, kind, tuple(TopicField(each) for each in fields))
            for name, (_, kind, fields) in self._fields.items()
        )

    def read(self, topic, fields, stamp="") -> Series:
        rate = self._fields[topic][0]
        t = np.arange(round(20 * rate)) / rate
        columns = [np.zeros_like(t) if each in self._still else np.sin(t * (k + 1)) for k, each in enumerate(fields)]
        return Series(t, t, np.column_stack(columns) if columns else np.empty((len(t), 0)))


PX4 = {
    "actuator_motors": (10.0, "actuator_motors", tuple(f"control[{k}]" for k in range(6))),
    "vehicle_attitude": (20.0, "vehicle_attitude", ("q[0]", "q[1]", "q[2]", "q[3]")),
    "vehicle_angular_velocity": (50.0, "vehicle_angular_velocity", ("xyz[0]", "xyz[1]", "xyz[2]")),
    "sensor_combined": (200.0, "sensor_combined", ("gyro_rad[0]", "gyro_rad[1]", "gyro_rad[2]")),
}


def drafted(log, table=False):
    draft = draft_of(log, table)
    text = draft_text(draft, ["flight.ulg"], True)
    return draft, parse_config(text), text


def test_a_known_log_becomes_a_configuration_with_its_conventions():
    """Motors that move are inputs, an attitude has its order and frames, and one source of a part is enough."""
    draft, config, text = drafted(FakeLog(PX4, still=("control[4]", "control[5]")))
    assert config.data.inputs == ("motor0", "motor1", "motor2", "motor3")
    assert config.data.sources["attitude"].order == "wxyz"
    assert config.data.sources["attitude"].frames == "ned-frd"
    assert config.data.sources["rate"].topic == "vehicle_angular_velocity"
    assert config.data.groups["attitude"] == ("qx", "qy", "qz", "qw")
    assert "(guessed)" in text
    assert "# [model.rigid_body]" in text
    assert draft.rate_hz == 25  # 2.5 times the slowest source
    assert any("motors comes at 10 Hz" in each for each in draft.unsure)


def test_arrays_of_joints_have_the_names_of_their_elements():
    """Joint states become channels by joint, with effort as input."""
    fields = ("position[left]", "position[right]", "effort[left]", "effort[right]")
    config = drafted(FakeLog({"/joint_states": (100.0, "sensor_msgs/msg/JointState", fields)}))[1]
    assert config.data.inputs == ("effort_left", "effort_right")
    assert config.data.outputs == ("q_left [rad]", "q_right [rad]")
    assert config.data.rate_hz == 100


def test_an_unknown_topic_is_drafted_by_names():
    """Without a known part the names of fields decide, and the file says so."""
    log = FakeLog({"/plant": (50.0, "my/Plant", ("cmd_voltage", "speed", "counter", "status_code"))})
    draft, config, _ = drafted(log)
    assert (config.data.inputs, config.data.outputs) == (("cmd_voltage",), ("speed",))
    assert draft.unsure == ("inputs and outputs are guessed from names",)


def test_a_log_without_an_output_is_one_line():
    """Nothing that moves: the error names the command that lists the fields."""
    with pytest.raises(TraceError, match="no field that moves and could be an output"):
        draft_of(FakeLog({"/plant": (50.0, "my/Plant", ("speed",))}, still=("speed",)), False)


def test_a_table_keeps_its_columns(tmp_path):
    """A CSV needs no map: channels are columns with their units, and the time column is found."""
    t = np.arange(200) * 0.02
    rows = [f"{a!r},{float(np.sin(a))!r},{float(np.cos(a))!r}" for a in t.tolist()]
    (tmp_path / "log.csv").write_text("\n".join(["time [s],torque [N m],angle [rad]", *rows]) + "\n")
    text = draft_text(draft_for([tmp_path / "log.csv"], None), ["log.csv"], True)
    config = parse_config(text)
    assert (config.data.inputs, config.data.outputs, config.data.time) == (("torque [N m]",), ("angle [rad]",), "time")
    assert not config.data.sources
    assert config.data.rate_hz == 50


def test_every_entry_of_the_table_is_complete():
    """Each known part names its fields, as many channels, and a topic, a type or an array."""
    for part in knowledge().known:
        assert part.topic or part.type or "*" in part.fields[0]
        assert len(part.channels) == len(part.fields)
        topic = Topic(part.topic or "x", part.type or "x", tuple(TopicField(f.replace("*", "0")) for f in part.fields))
        assert part.found_in(topic)
    assert candidates([]) == []


LOGS = ["auterion_quadrotor_local.ulg", "auterion_esc_status_log.ulg", "px4/pyulog_sample_auav_x21.ulg"]
LOGS += ["betaflight/btfl_005.bbl", "ardupilot/pxf_copter_31-3-2015_83.BIN", "lerobot/so101_record_test"]


@pytest.mark.parametrize("log", LOGS)
def test_shared_logs_are_drafted(log):
    """Each shared log gives a configuration with inputs and outputs."""
    path = home() / "logs" / log
    if not path.exists():
        pytest.skip(f"no recording {log}")
    built = tomllib.loads(draft_text(draft_for([path], None), [log], True))
    assert built["data"]["inputs"]
    assert len(built["data"]["outputs"]) >= 3
