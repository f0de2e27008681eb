"""ROS messages: our bytes are those of another implementation, and nonsense is an error of one kind."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from rtsysid.rosmsg import CDR, ROS1, RULE, TIME, MessageType

RANGES = {"int8": 7, "uint8": 8, "int16": 15, "uint16": 16, "int32": 31, "uint32": 32, "int64": 63, "uint64": 64}
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
INNER = [("uint8", "a"), ("float64", "b"), ("string", "c"), ("int16[]", "d")]


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type, in the form in which `MessageType` takes and gives them."""
    base, _, size = kind.removesuffix("]").partition("[")
    if kind.endswith("]"):
        count = {"min_size": int(size), "max_size": int(size)} if size else {"max_size": 4}
        return st.binary(**count) if base == "uint8" else st.lists(values_of(base), **count)
    if base == "Inner":
        return st.tuples(*(values_of(inner) for inner, _ in INNER))
    if base == "string":
        return TEXT
    if base == "bool":
        return st.booleans()
    if base.startswith("float"):
        return st.floats(width=int(base[5:]), allow_nan=False)
    low = -(2 ** RANGES[base]) if base.startswith("int") else 0
    return st.integers(low, 2 ** RANGES[base] - 1)


KINDS = st.sampled_from([*RANGES, "bool", "float32", "float64", "string", "Inner"])
FIELDS = st.lists(st.tuples(KINDS, st.sampled_from(["", "", "[]", "[3]", "[70]"])).map("".join), min_size=1, max_size=6)


def definition(kinds: list[str]) -> str:
    inner = "".join(f"{kind} {name}\n" for kind, name in INNER)
    return "".join(f"{kind} f{i}\n" for i, kind in enumerate(kinds)) + f"{RULE}MSG: test/Inner\n{inner}"


def flat(kind: str, value: Any) -> list[Any]:
    """The values under the names of `MessageType`: short arrays and messages in messages lie flat."""
    base, _, size = kind.removesuffix("]").partition("[")
    if size and int(size) <= 64:
        return [each for item in value for each in flat(base, item)]
    return list(value) if kind == "Inner" else [value]


def plain(found: Any) -> Any:
    """What rosbags gives, in our form."""
    if hasattr(found, "__msgtype__"):
        return tuple(plain(getattr(found, name)) for _, name in INNER)
    if hasattr(found, "dtype"):
        return bytes(found) if found.dtype == "u1" else found.tolist()
    return [plain(each) for each in found] if isinstance(found, list) else found


@pytest.mark.parametrize("wire", [CDR, ROS1], ids=["ros2", "ros1"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), kinds=FIELDS)
def test_another_implementation_reads_and_writes_the_same_bytes(wire, data, kinds):
    """For any definition and values rosbags reads our bytes as the same values, and writes what we read back."""
    kind = MessageType("test/msg/Outer", definition(kinds), wire)
    fields = [data.draw(values_of(each)) for each in kinds]
    values = [each for k, value in zip(kinds, fields, strict=True) for each in flat(k, value)]
    payload = kind.pack(*values)
    assert kind.unpack(payload) == tuple(values)
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition(kinds), "test/msg/Outer"))
    read, write = (
        (store.deserialize_cdr, store.serialize_cdr) if wire is CDR else (store.deserialize_ros1, store.serialize_ros1)
    )
    theirs = read(payload, "test/msg/Outer")
    assert [plain(getattr(theirs, f"f{i}")) for i in range(len(kinds))] == fields
    assert kind.unpack(bytes(write(theirs, "test/msg/Outer"))) == tuple(values)


@settings(max_examples=200, deadline=None)
@given(kinds=FIELDS, payload=st.binary(max_size=60))
def test_foreign_bytes_are_values_or_one_error(kinds, payload):
    """Whatever the bytes are, they unpack, or a ValueError says that they do not; none asks for endless memory."""
    kind = MessageType("test/Outer", definition(kinds))
    for raw in (payload, b"\0\1\0\0" + payload):
        with suppress(ValueError):
            assert len(kind.unpack(raw)) == len(kind.names)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kinds=FIELDS)
def test_a_message_that_ends_early_is_refused(data, kinds):
    """Cut anywhere, a message is a ValueError, and never a shorter text or array."""
    kind = MessageType("test/Outer", definition(kinds))
    values = [each for k in kinds for each in flat(k, data.draw(values_of(k)))]
    payload = kind.pack(*values)
    with pytest.raises(ValueError, match=r"ends early|not little-endian"):
        kind.unpack(payload[: data.draw(st.integers(0, len(payload) - 1))])


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(st.text(max_size=80), st.text("int8 floatMSG:=[]<>/_x#@\n1 ", max_size=60)))
def test_foreign_definitions_are_understood_or_one_error(text):
    """Whatever a definition says, it is a message type, or a ValueError."""
    with suppress(ValueError):
        MessageType("test/Outer", text)


def test_numbers_lie_flat_under_dotted_names():
    """Nested messages have dotted names, elements of short arrays an index; constants and bounds are known."""
    text = (
        "# a comment\nuint8 KIND=3\nstring<=8 name 'x = 1'  # bounded\nstd_msgs/Header head\nfloat64[3] cov\n"
        "int8 z -5\nbuiltin_interfaces/Time[] times\nfloat32[<=4] few\n"
        f"{RULE}MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n{TIME}"
    )
    kind = MessageType("test/msg/A", text)
    stamp = ("head.stamp.sec", "head.stamp.nanosec")
    assert kind.names == ("name", *stamp, "head.frame_id", "cov[0]", "cov[1]", "cov[2]", "z", "times", "few")
    assert kind.numbers == (*stamp, "cov[0]", "cov[1]", "cov[2]", "z")
    assert {name: instant.kind for name, instant in kind.instants.items()} == {"head.stamp": "time", "times[]": "time"}
    values = ("drone", 1, 2, "map", 0.5, 1.5, 2.5, -5, [(1, 2), (3, 4)], [1.0])
    assert kind.unpack(kind.pack(*values)) == values


def test_a_message_without_fields_is_one_byte():
    """ROS 2 gives a message of constants alone, or of nothing, one byte, wherever it stands."""
    kind = MessageType("test/A", f"uint8 X=1\ntest/B b\nuint8 c\n{RULE}MSG: test/B\nuint8 Y=2\n")
    assert kind.names == ("b.structure_needs_at_least_one_member", "c")
    assert MessageType("std_msgs/msg/Empty", "").pack(0) == b"\0\1\0\0\0"


def test_the_text_of_ros_1_is_understood():
    """`Header`, `time`, `duration` and `byte` are types of their own in ROS 1, and an empty message has no byte."""
    text = (
        f"Header header\ntime t\nduration d\nbyte b\nE e\n{RULE}MSG: std_msgs/Header\nuint32 seq\ntime stamp\n"
        f"string frame_id\n{RULE}MSG: test/E\n"
    )
    kind = MessageType("test/A", text, ROS1)
    head = ("header.seq", "header.stamp.sec", "header.stamp.nanosec", "header.frame_id")
    assert kind.names == (*head, "t.sec", "t.nanosec", "d.sec", "d.nanosec", "b")
    assert {name: each.kind for name, each in kind.instants.items()} == {
        "header.stamp": "time", "t": "time", "d": "duration"
    }  # fmt: skip
    assert kind.unmeasured == {"header.seq"}
    values = (1, 2, 3, "map", 4, 5, -6, -7, -8)
    assert kind.unpack(kind.pack(*values)) == values


def test_nan_and_infinity_pass():
    """Values that are not finite come back as they were."""
    kind = MessageType("test/A", "float32 a\nfloat64 b\nfloat32 c\n")
    back = kind.unpack(kind.pack(math.nan, math.nan, -math.inf))
    assert math.isnan(back[0])
    assert math.isnan(back[1])
    assert back[2] == -math.inf


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wstring a\n", "type wstring of a is not known"),
        ("other/Thing a\n", "type other/Thing of a is not known"),
        (f"B b\n{RULE}MSG: test/B\ntest/A a\n", "type test/A"),  # a message in itself
        ("int8\n", "'int8' is not a field"),
        ("\n".join(f"int8[64] a{i}" for i in range(65)), "above the limit message_fields = 4096"),
        ("".join(f"{RULE}MSG: test/L{i}\nL{i + 1}[9] a\n" for i in range(9)), "type"),
    ],
)
def test_definitions_that_are_refused(text, words):
    """A type that is not known, that holds itself or that is too large is refused by name."""
    with pytest.raises(ValueError, match=r"test/|type|field") as caught:
        MessageType("test/A", text if "L0" not in text else f"L0 a\n{text}")
    assert words in str(caught.value)
