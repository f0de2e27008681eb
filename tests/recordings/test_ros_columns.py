"""Columns of ROS messages: what is decoded for many messages at once is what each message holds."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtsysid.recordings.ros.decoder import Decoder, Offer, offer_of
from rtsysid.rosmsg import CDR, ROS1, RULE, MessageType

SIZES = {"int8": 8, "uint8": 8, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32, "int64": 53, "uint64": 53}
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
INNER = [("uint8", "a"), ("float64", "b"), ("string", "c"), ("int16[]", "d"), ("builtin_interfaces/Time", "e")]
POINT = [("float64", "x"), ("float64", "y")]
NESTED = {"Inner": INNER, "Point": POINT}


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of a type, in the form in which `MessageType` takes and gives them."""
    base, _, size = kind.removesuffix("]").partition("[")
    if kind.endswith("]"):
        count = {"min_size": int(size), "max_size": int(size)} if size else {"max_size": 4}
        return st.binary(**count) if base == "uint8" else st.lists(values_of(base), **count)
    if base in NESTED:
        return st.tuples(*(values_of(inner) for inner, _ in NESTED[base])).map(flat)
    if base == "builtin_interfaces/Time":
        return st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 999_999_999))
    if base in ("string", "bool"):
        return TEXT if base == "string" else st.booleans()
    if base.startswith("float"):
        return st.floats(width=int(base[5:]))
    low = -(2 ** (SIZES[base] - 1)) if base.startswith("int") else 0
    return st.integers(low, 2 ** (SIZES[base] - (base[0] == "i")) - 1)


def flat(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lay the time stamp in `Inner` flat."""
    return tuple(each for value in values for each in (value if isinstance(value, tuple) else (value,)))


KINDS = st.sampled_from([*SIZES, "bool", "float32", "float64", "string", "Inner", "Point", "builtin_interfaces/Time"])
LONG = st.sampled_from(["uint8[70]", "float32[70]", "string[70]"])
FIELDS = st.lists(st.tuples(KINDS, st.sampled_from(["", "", "[]", "[3]"])).map("".join) | LONG, min_size=1, max_size=6)


def message_kind(kinds: list[str], wire: Any) -> MessageType:
    time = "time" if wire is ROS1 else "builtin_interfaces/Time"
    nested = "".join(
        f"{RULE}MSG: test/{name}\n" + "".join(f"{kind} {inner}\n" for kind, inner in fields)
        for name, fields in NESTED.items()
    )
    text = "".join(f"{kind} f{i}\n" for i, kind in enumerate(kinds)) + nested
    return MessageType("test/msg/Outer", text.replace("builtin_interfaces/Time", time), wire)


def drawn(data: st.DataObject, kinds: list[str]) -> list[Any]:
    """Values of a message, under the names of `MessageType`: short arrays and messages in messages lie flat."""
    values: list[Any] = []
    for kind in kinds:
        size = kind.removesuffix("]").partition("[")[2]
        value = data.draw(values_of(kind))
        items = value if size and int(size) <= 64 else [value]
        for each in items:
            values += each if isinstance(each, tuple) and (not kind.endswith("]") or size) else [each]
    return values


def expected(kind: MessageType, payload: bytes, name: str, labels: Mapping[str, str]) -> float:
    """A number by name, from the message decoded alone. `labels`: arrays of names by the arrays that they name."""
    values = dict(zip(kind.names, kind.unpack(payload), strict=True))
    if name in kind.instants:
        us = values[f"{name}.sec"] * 10**6 + values[f"{name}.nanosec"] // 1000
        return us * 1e-6
    if name in values:
        return float(values[name])
    array = max((each for each in values if name.startswith(f"{each}[")), key=len)
    label, inner = re.fullmatch(r"(.*)\]\.?([xy]?)", name[len(array) + 1 :], re.DOTALL).groups()
    items, texts = values[array], values[labels[array]] if array in labels else [*map(str, range(len(values[array])))]
    index = texts.index(label) if label in texts else len(items)
    if index >= len(items):
        return math.nan
    return float(items[index]["xy".index(inner)] if inner else items[index])


@pytest.mark.parametrize("wire", [CDR, ROS1], ids=["ros2", "ros1"])
@settings(max_examples=80, deadline=None)
@given(data=st.data(), kinds=FIELDS, count=st.integers(1, 5))
def test_columns_are_what_each_message_holds(wire, data, kinds, count):
    """For any definition and values all numbers, times and elements of arrays are those of the messages."""
    kind = message_kind(kinds, wire)
    payloads = [kind.pack(*drawn(data, kinds)) for _ in range(count)]
    offer = offer_of(kind, payloads)
    names = data.draw(st.permutations([*(each.name for each in offer.fields), *offer.stamps]))
    columns = Decoder(kind, names, offer.labels).decode(payloads)
    table = np.array([[expected(kind, payload, name, offer.labels) for name in names] for payload in payloads])
    np.testing.assert_array_equal(columns, table.reshape(columns.shape))
    numbers = {
        name for name in kind.numbers if name not in kind.unmeasured and name.rpartition(".")[0] not in kind.instants
    }
    assert numbers <= set(names)
    assert set(offer.stamps) == {name for name in kind.instants if "[]" not in name}


@pytest.mark.parametrize("wire", [CDR, ROS1], ids=["ros2", "ros1"])
def test_names_in_an_array_of_fixed_length_have_no_count_before_them(wire):
    """Seventy names label seventy numbers; the length of the first name is not taken for their number."""
    kind = message_kind(["string[70]", "int8[]"], wire)
    names = [f"joint_{k}" for k in range(70)]
    payload = kind.pack(names, list(range(70)))
    offer = offer_of(kind, [payload])
    assert [each.name for each in offer.fields] == [f"f1[{name}]" for name in names]
    columns = Decoder(kind, [each.name for each in offer.fields], offer.labels).decode([payload])
    assert columns.tolist() == [list(range(70))]


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(), kinds=FIELDS, wire=st.sampled_from([CDR, ROS1]), noise=st.lists(st.binary(max_size=60), max_size=3)
)
def test_foreign_bytes_are_numbers_or_one_error(data, kinds, wire, noise):
    """Whatever the bytes are, they are columns, or a ValueError says that they are not."""
    kind = message_kind(kinds, wire)
    good = kind.pack(*drawn(data, kinds))
    cut = good[: data.draw(st.integers(0, len(good)))]
    payloads = [good, cut, *(wire.header + each for each in noise)]
    offer = offer_of(kind, payloads)
    names = [each.name for each in offer.fields] or list(kind.numbers)
    with suppress(ValueError):
        assert Decoder(kind, names, offer.labels).decode(payloads).shape == (len(payloads), len(names))


@settings(max_examples=80, deadline=None)
@given(data=st.data(), kinds=FIELDS, wire=st.sampled_from([CDR, ROS1]))
def test_a_cut_message_never_gives_another_number(data, kinds, wire):
    """Cut anywhere, a message gives the same numbers, where they lie before the cut, or a ValueError."""
    kind = message_kind(kinds, wire)
    payload = kind.pack(*drawn(data, kinds))
    names = [*kind.numbers]
    whole = Decoder(kind, names, {}).decode([payload])
    with suppress(ValueError):
        cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
        np.testing.assert_array_equal(Decoder(kind, names, {}).decode([payload, cut]), np.vstack([whole, whole]))


def offered(text: str, *messages: tuple[Any, ...], name: str = "test/A") -> tuple[MessageType, list[bytes], Offer]:
    kind = MessageType(name, text)
    payloads = [kind.pack(*each) for each in messages]
    return kind, payloads, offer_of(kind, payloads)


def names_in(offer: Offer) -> list[str]:
    return [each.name for each in offer.fields]


JOINTS = "string[] name\nfloat64[] position\nfloat32[] effort\nuint8[] blob\nfloat64[] many\n"


def test_elements_have_the_names_that_their_message_gives():
    """Each value is found by its name, wherever it lies in that message; where the name is missing it is NaN."""
    kind, payloads, offer = offered(
        JOINTS,
        (["left", "right"], [1.0, 2.0], [], b"", [0.0] * 70),
        (["right", "left"], [4.0, 3.0], [8.0, 7.0], b"xyz", [0.0] * 70),
        (["left", "grip"], [5.0, 6.0], [], b"", []),
        ([], [], [], b"", []),
    )
    joints = ("left", "right", "grip")
    assert names_in(offer) == [f"{array}[{each}]" for array in ("position", "effort") for each in joints]
    assert offer.left_out == ("blob", "many of 70 elements")
    columns = Decoder(kind, names_in(offer)[:4], offer.labels).decode(payloads)
    nan = math.nan
    np.testing.assert_array_equal(columns, [[1, 2, nan, nan], [3, 4, nan, 7], [5, nan, 6, nan], [nan, nan, nan, nan]])


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], ["a", ""]])
def test_names_that_name_nothing_are_no_names(names):
    """Where there are too few names, equal or empty ones, the elements have an index."""
    _, _, offer = offered("string[] name\nfloat64[] position\n", (names, [1.0, 2.0]))
    assert names_in(offer) == ["position[0]", "position[1]"]
    assert offer.labels == {}


def test_names_inside_a_nested_message_and_of_points():
    """The names of a state of a controller name the arrays of a nested message, and those of models their poses."""
    nested = f"{RULE}MSG: test/S\nfloat64[] q\n{RULE}MSG: test/P\nfloat64 x\nfloat64 y\n"
    text = f"string[] names\nS desired\nP[] pose\n{nested}"
    kind, payloads, offer = offered(text, (["a", "b]"], [1.0, 2.0], [(3.0, 4.0), (5.0, 6.0)]))
    names = ["desired.q[a]", "desired.q[b]]", "pose[a].x", "pose[a].y", "pose[b]].x", "pose[b]].y"]
    assert names_in(offer) == names
    np.testing.assert_array_equal(Decoder(kind, names, offer.labels).decode(payloads), [[1, 2, 3, 4, 5, 6]])


def test_only_measurements_are_fields():
    """No stamp, no counter of a publisher, no layout of an array and no filling byte is a field; a duration is."""
    text = (
        "std_msgs/Header header\nstd_msgs/MultiArrayLayout layout\nE e\nbuiltin_interfaces/Duration d\n"
        f"bool on\n{RULE}MSG: std_msgs/Header\nuint32 seq\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
        f"{RULE}MSG: std_msgs/MultiArrayLayout\nstd_msgs/D[] dim\nuint32 data_offset\n{RULE}MSG: std_msgs/D\nstring l\n"
        f"{RULE}MSG: test/E\n"
    )
    kind, payloads, offer = offered(text, (7, 1, 2, "f", ["x", "y"], 0, 0, -1, 500_000_000, True))
    assert [(each.name, each.unit) for each in offer.fields] == [("d", "s"), ("on", "")]
    assert offer.stamps == ("header.stamp",)
    assert offer.left_out == ()
    columns = Decoder(kind, ["d", "on", "header.stamp", "not there"], {}).decode(payloads)
    np.testing.assert_array_equal(columns, [[-0.5, 1, 1.0, math.nan]])


def test_an_array_of_2_32_elements_is_refused():
    """A message that claims more than it holds is an error before anything is allocated or looped."""
    for text in (
        "float64[] x\nint32 y",
        "string[] x\nint32 y",
        "test/E[] x\nint32 y\n" + RULE + "MSG: test/E\nuint8 X=1",
    ):
        for wire in (CDR, ROS1):
            kind = MessageType("test/A", text, wire)
            with pytest.raises(ValueError, match=r"message_values|ends early"):
                Decoder(kind, ["y"], {}).decode([wire.header + b"\xff" * 4 + bytes(2)])
