"""The definition of all messages between host and device; `docs/wire.md` describes the protocol.

`python -m firmware_bridge.generate` writes `firmware/messages.h` and the tables of the document from it. The protocol
version is derived, too: `MAJOR` is a digest of everything that is not listed in `SINCE`, so that every change changes
it. `SINCE` lists what a minor version appended; both sides understand each other without it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar

from firmware_bridge.layout import U8, U16, U32, U64, Bytes, Direction, F32s, Message, Text, lay_out
from rtsysid import statuses
from rtsysid.spec import digest

MAGIC = 0x49535452  # "RTSI", little-endian
MAX_PAYLOAD = 240  # bytes; with header, CRC and COBS a frame is at most 253 bytes and its delimiter
HEADER = (("type", "B"), ("session", "B"), ("seq", "H"), ("t_us", "I"))
SCHEMA_PIECE = 200  # bytes of the compressed channel table in one SCHEMA_DATA
SILENCE_US = 100_000  # after this time without sending, a frame begins with an extra delimiter
HEARTBEAT_US = 500_000
HEARTBEATS_MISSED = 3  # in a row: the link is lost

# "MESSAGE", "MESSAGE.field" or "Enum.member" -> the minor version that appended it
SINCE: dict[str, int] = {
    **{f"Status.{each.name}": each.since for each in statuses.Status if each.since},
    "ACK.samples": 2,
    "BYE.samples": 2,
}

Status = IntEnum("Status", {each.name: each.code for each in statuses.BY_CODE})  # type: ignore[misc]
Status.__doc__ = "The worth of a prediction: the codes of `rtsysid.statuses.Status`."


class State(IntEnum):
    """State of a device."""

    idle = 0  # waits for a HELLO
    ready = 1  # has a session
    streaming = 2
    safe = 3  # the host is lost: outputs are safe, predictions are ignored


class Reason(IntEnum):
    """Reason of a restart, or of a BYE."""

    unknown = 0
    power_on = 1
    reset = 2
    watchdog = 3
    software = 4
    finished = 5  # BYE: nothing more to send


class Fault(IntEnum):
    """Reason of a refusal."""

    version = 1  # other major version; detail: the sender's
    schema = 2  # START for other channels; detail: the sender's schema hash
    request = 3  # not possible now, or out of range


class Level(IntEnum):
    """Level of a LOG."""

    debug = 0
    info = 1
    warning = 2
    error = 3


class Hello(Message, frozen=True):
    """Begin a session, and end the one before. Repeated each 100 ms until answered."""

    CODE: ClassVar[int] = 0x01
    DIRECTION: ClassVar[Direction] = "host>device"
    magic: U32
    major: U32
    minor: U8
    session: U8  # chosen by the host, never 0; both sides put it into every header
    max_payload: U8  # bytes that the sender can receive


class HelloAck(Message, frozen=True):
    """Description of the board. Also sent once at boot, with session 0."""

    CODE: ClassVar[int] = 0x02
    DIRECTION: ClassVar[Direction] = "device>host"
    magic: U32
    major: U32
    minor: U8
    session: U8
    max_payload: U8
    receive_window: U16  # bytes that the device can hold before it reads
    timer_hz: U32  # resolution of its clock; times on the wire are microseconds all the same
    uid: U64
    boot_id: U32  # another one after each reset
    reset_reason: U8
    channels: U8
    sample_size: U8  # bytes of a SAMPLE's payload
    period_us: U32
    schema_hash: U32
    schema_size: U16  # bytes of the compressed channel table
    model_hash: U32  # of the model that runs on the device; 0: none
    firmware: Text


class SchemaGet(Message, frozen=True):
    """Request a piece of the compressed channel table."""

    CODE: ClassVar[int] = 0x03
    DIRECTION: ClassVar[Direction] = "host>device"
    offset: U16


class SchemaData(Message, frozen=True):
    """At most 200 bytes of the channel table (zlib, JSON) from `offset` on; none at its end."""

    CODE: ClassVar[int] = 0x04
    DIRECTION: ClassVar[Direction] = "device>host"
    offset: U16
    data: Bytes


class Start(Message, frozen=True):
    """Start the stream. Repeated each 100 ms until answered, 5 times; a second START changes nothing."""

    CODE: ClassVar[int] = 0x05
    DIRECTION: ClassVar[Direction] = "host>device"
    streams: U8  # bit 0: SAMPLE; bit 1: PREDICTION of a model on the device
    divider: U16  # send every divider-th sample
    schema_hash: U32


class Stop(Message, frozen=True):
    """Stop the stream; answered by ACK."""

    CODE: ClassVar[int] = 0x06
    DIRECTION: ClassVar[Direction] = "host>device"


class Ack(Message, frozen=True):
    """START or STOP was executed; the settings in force."""

    CODE: ClassVar[int] = 0x07
    DIRECTION: ClassVar[Direction] = "device>host"
    ref_type: U8
    ref_seq: U16
    streams: U8
    divider: U16
    samples: U32 = 0  # captured for the host since boot, lost ones too: when the stream began, or ended; 0: not known


class Sample(Message, frozen=True):
    """Values as the channel table lays them out; `t_us` of the header is the instant of capture. Never repeated."""

    CODE: ClassVar[int] = 0x10
    DIRECTION: ClassVar[Direction] = "device>host"
    SEEDED: ClassVar[bool] = True


class Prediction(Message, frozen=True):
    """Outputs predicted from the sample `ref_seq`; the latest one counts."""

    CODE: ClassVar[int] = 0x12
    DIRECTION: ClassVar[Direction] = "both"
    SEEDED: ClassVar[bool] = True
    ref_seq: U16
    status: U8
    age_us: U32  # of the sample, when the prediction was sent
    horizon_us: U32  # from the sample to the instant that is predicted
    y: F32s


class TimeReq(Message, frozen=True):
    """Request the time; `t0` is the host's clock in nanoseconds, which the device returns unchanged."""

    CODE: ClassVar[int] = 0x20
    DIRECTION: ClassVar[Direction] = "host>device"
    t0: U64


class TimeRsp(Message, frozen=True):
    """The device's clock when the request was decoded (`t1_us`) and when the answer was queued (`t2_us`)."""

    CODE: ClassVar[int] = 0x21
    DIRECTION: ClassVar[Direction] = "device>host"
    t0: U64
    t1_us: U32
    t2_us: U32


class Heartbeat(Message, frozen=True):
    """The sender runs; its counters of the link. Each 500 ms; after 3 missed ones the link is lost."""

    CODE: ClassVar[int] = 0x30
    DIRECTION: ClassVar[Direction] = "both"
    uptime_ms: U32
    state: U8
    schema_hash: U32  # 0: none known
    rx_ok: U32  # the rx_ counters are those of `wire.WireCounters`
    rx_crc: U32
    rx_cobs: U32
    rx_oversize: U32
    rx_runt: U32
    rx_schema: U32
    rx_unverified: U32
    rx_foreign: U32
    rx_unknown: U32
    rx_malformed: U32
    rx_duplicate: U32
    rx_lost: U32
    rx_reordered: U32
    rx_overrun: U32  # bytes that came faster than they were read
    tx_frames: U32
    tx_drop: U32  # frames that found no room in the transmit ring
    tx_high_water: U16  # most bytes ever waiting in it
    missed_samples: U32  # captured, but overwritten before they were framed
    predictions: U32  # taken into the mailbox
    predictions_ignored: U32  # came while the device was in its safe state, or not streaming
    loop_max_us: U32  # since the heartbeat before
    infer_max_us: U32
    stack_free: U32  # bytes; 0: not known


class Log(Message, frozen=True):
    """A line of text for the operator; at most 10 a second."""

    CODE: ClassVar[int] = 0x40
    DIRECTION: ClassVar[Direction] = "both"
    level: U8
    text: Text


class Error(Message, frozen=True):
    """A request was refused: the reason, the request, and a detail of the reason."""

    CODE: ClassVar[int] = 0x41
    DIRECTION: ClassVar[Direction] = "both"
    fault: U8
    ref_type: U8
    ref_seq: U16
    detail: U32
    text: Text


class Echo(Message, frozen=True):
    """Reserved for test rigs: returned unchanged."""

    CODE: ClassVar[int] = 0x50
    DIRECTION: ClassVar[Direction] = "both"
    index: U32
    data: Bytes


class TraceSample(Message, frozen=True):
    """For test rigs: a sample for the model on the device, answered by PREDICTION with its seq."""

    CODE: ClassVar[int] = 0x51
    DIRECTION: ClassVar[Direction] = "host>device"
    SEEDED: ClassVar[bool] = True
    index: U32
    values: F32s


class Bye(Message, frozen=True):
    """The sender ends the session."""

    CODE: ClassVar[int] = 0x7E
    DIRECTION: ClassVar[Direction] = "both"
    reason: U8
    samples: U32 = 0  # as in ACK: of a device, captured for the host since boot


ENUMS: tuple[type[IntEnum], ...] = (Status, State, Reason, Fault, Level)
MESSAGES: dict[int, type[Message]] = {
    message.CODE: message
    for message in (
        Hello, HelloAck, SchemaGet, SchemaData, Start, Stop, Ack, Sample, Prediction, TimeReq, TimeRsp, Heartbeat, Log,
        Error, Echo, TraceSample, Bye,
    )
}  # fmt: skip


def definition(minor: int = 0) -> dict[str, Any]:
    """Return the definition that two sides must share, as plain values, without parts appended after `minor`."""

    def known(name: str) -> bool:
        return SINCE.get(name, 0) <= minor

    messages = {}
    for message in filter(lambda m: known(m.wire_name()), MESSAGES.values()):
        name, layout = message.wire_name(), message.LAYOUT
        fields = [[f.name, f.code] for f in layout.fields if known(f"{name}.{f.name}")]
        tail = list(layout.tail[:2]) if layout.tail else []
        messages[name] = [message.CODE, message.DIRECTION, message.SEEDED, fields, tail]
    enums = {e.__name__: {m.name: m.value for m in e if known(f"{e.__name__}.{m.name}")} for e in ENUMS}
    return {"header": HEADER, "max_payload": MAX_PAYLOAD, "messages": messages, "enums": enums}


for _message in MESSAGES.values():
    _prefix = _message.wire_name() + "."
    lay_out(_message, frozenset(name.removeprefix(_prefix) for name in SINCE if name.startswith(_prefix)))

MAJOR = int(digest(definition())[:8], 16)
MINOR = max(SINCE.values(), default=0)


def version(major: int = MAJOR, minor: int = MINOR) -> str:
    """Format a protocol version: ``5a1f0c2e.0``."""
    return f"{major:08x}.{minor}"
