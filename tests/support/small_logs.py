"""Write small logs of other programs: ULog, DataFlash, HDF5, MAT and LeRobot; and find those that are shared."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rtsysid.recordings.home import data_folder

ROWS = 40
T = np.arange(ROWS) / 100
GYRO = np.sin(np.arange(3 * ROWS)).reshape(ROWS, 3).astype(np.float32).astype(float)


def shared_log(*parts: str) -> Path:
    """Return a shared recording, or skip the test that wants it."""
    folder = data_folder()
    if folder is None or not folder.joinpath("logs", *parts).exists():
        pytest.skip(f"wants recordings logs/{'/'.join(parts)} under RTSYSID_DATA")
    return folder.joinpath("logs", *parts)


def ulog_message(kind: str, body: bytes) -> bytes:
    return struct.pack("<HB", len(body), ord(kind)) + body


def ulog_setting(kind: str, key: str, value: bytes) -> bytes:
    return ulog_message(kind, bytes([len(key)]) + key.encode() + value)


def subscription(number: int, name: str, instance: int = 0) -> bytes:
    return ulog_message("A", struct.pack("<BH", instance, number) + name.encode())


def imu_message(k: int, number: int = 0) -> bytes:
    """Return message k of the topic `imu`: two times, three floats, a text, a byte in front of padding."""
    stamp = 5_000_000 + 10_000 * k
    body = struct.pack("<HQQ3f4sB", number, stamp, stamp - 2_000, *GYRO[k], b"text", k)
    return ulog_message("D", body)


ULOG_START = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 5_000_000)
ULOG_DEFINITIONS = (
    ulog_message("B", bytes(40))
    + ulog_setting("I", "char[3] sys_name", b"PX4")
    + ulog_message("F", b"imu:uint64_t timestamp;uint64_t timestamp_sample;float[3] xyz;char[4] note;uint8_t n;"
                        b"uint8_t[3] _padding0;")
    + ulog_message("F", b"esc_status:uint64_t timestamp;uint8_t[2] _padding0;esc[2] esc;")
    + ulog_message("F", b"esc:float rpm;uint64_t timestamp;")
    + ulog_setting("P", "float MC_ROLL_P", struct.pack("<f", 6.5))
    + ulog_setting("P", "int32_t SYS_ID", struct.pack("<i", 7))
)  # fmt: skip


def ulog(rows: int = ROWS) -> bytes:
    """Return a log of the topic `imu` at 100 Hz, and of two instances of `esc_status`, every tenth time."""
    out = ULOG_START + ULOG_DEFINITIONS + subscription(0, "imu") + subscription(3, "esc_status", 0)
    out += subscription(9, "esc_status", 1)
    for k in range(rows):
        out += imu_message(k)
        if k % 10 == 0:
            for number in (3, 9):
                escs = (100.0 * number + k, 77, 200.0 * number + k, 78)
                out += ulog_message("D", struct.pack("<HQ2xfQfQ", number, 5_000_500 + 10_000 * k, *escs))
    return out


def plain_ulog(rows: int = ROWS) -> bytes:
    """Return a log of one topic at 100 Hz."""
    return ULOG_START + ULOG_DEFINITIONS + subscription(0, "imu") + b"".join(imu_message(k) for k in range(rows))


def dataflash_format(number: int, length: int, name: str, letters: str, columns: str) -> bytes:
    texts = [each.encode().ljust(size, b"\0") for each, size in ((name, 4), (letters, 16), (columns, 64))]
    return b"\xa3\x95\x80" + bytes([number, length]) + b"".join(texts)


def dataflash_message(number: int, layout: str, *values: object) -> bytes:
    return b"\xa3\x95" + bytes([number]) + struct.pack("<" + layout, *values)


DATAFLASH_FORMATS = (
    dataflash_format(128, 89, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns")
    + dataflash_format(40, 3 + 8 + 1 + 4 + 2 + 4, "IMU", "QBfcI", "TimeUS,I,GyrX,Temp,GMS")
    + dataflash_format(41, 3 + 16 + 4, "PARM", "Nf", "Name,Value")
    + dataflash_format(42, 3 + 8 + 64, "MSG", "QZ", "TimeUS,Message")
    + dataflash_format(43, 3 + 8 + 1 + 64, "UNIT", "QbZ", "TimeUS,Id,Label")
    + dataflash_format(44, 3 + 8 + 1 + 8, "MULT", "Qbd", "TimeUS,Id,Mult")
    + dataflash_format(45, 3 + 8 + 1 + 16 + 16, "FMTU", "QBNN", "TimeUS,FmtType,UnitIds,MultIds")
    + dataflash_format(46, 3 + 1, "EV", "B", "Id")
    + dataflash_format(47, 3 + 8 + 64 + 4, "ARR", "QaL", "TimeUS,x,Lat")
)
DATAFLASH_UNITS = (
    dataflash_message(43, "Qb64s", 1, ord("s"), b"s")
    + dataflash_message(43, "Qb64s", 1, ord("E"), b"rad/s")
    + dataflash_message(43, "Qb64s", 1, ord("O"), b"degC")
    + dataflash_message(43, "Qb64s", 1, ord("#"), b"instance")
    + dataflash_message(44, "Qbd", 1, ord("F"), 1e-6)
    + dataflash_message(44, "Qbd", 1, ord("C"), float(np.float32(1e-3)))
    + dataflash_message(44, "Qbd", 1, ord("B"), float(np.float32(1e-2)))
    + dataflash_message(45, "QB16s16s", 1, 40, b"s#EOs", b"F--BC")
)


def dataflash(rows: int = ROWS) -> bytes:
    """Return a log of two gyroscopes, an event, a text, an array and parameters, with units as since 2018."""
    out = DATAFLASH_FORMATS + DATAFLASH_UNITS + dataflash_message(41, "16sf", b"ATC_RAT_RLL_P", 0.135)
    out += dataflash_message(42, "Q64s", 5_000_000, b"ArduCopter V4.5")
    for k in range(rows):
        for sensor in (0, 1):
            value = GYRO[k, sensor]
            out += dataflash_message(40, "QBfhI", 5_000_000 + 10_000 * k, sensor, value, 2500 + k, 7 * k)
    out += dataflash_message(46, "B", 10) + dataflash_message(47, "Q32hi", 6_000_000, *range(32), 473_977_420)
    return out


def plain_dataflash(rows: int = ROWS) -> bytes:
    """Return a log of one type of message at 100 Hz, as ArduPilot wrote it in 2014."""
    out = dataflash_format(128, 89, "FMT", "BBnNZ", "Type,Length,Name,Format,Columns")
    out += dataflash_format(9, 3 + 4 + 4 + 2, "ATT", "Ifc", "TimeMS,Rate,Roll")
    for k in range(rows):
        out += dataflash_message(9, "Ifh", 5_000 + 10 * k, GYRO[k, 0], 100 + k)
    return out


def hdf5(path: Path, compression: str | None = None) -> None:
    """Write arrays at 100 Hz with their times."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("imu/gyro", data=GYRO, compression=compression)
        file["imu/gyro"].attrs["unit"] = np.bytes_(b"rad/s")
        file["imu/time"] = T
        file["name"] = "robot"


def mat5(path: Path, compressed: bool = True) -> None:
    """Write arrays at 100 Hz with their times, in a structure."""
    from scipy.io import savemat

    savemat(path, {"imu": {"gyro": GYRO, "time": T[:, np.newaxis]}, "note": "text"}, do_compression=compressed)


def mat73(path: Path) -> None:
    """Write the same as MATLAB writes version 7.3: HDF5 behind 512 bytes of text, the last index first."""
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        file["imu/gyro"] = GYRO.T
        file["imu/time"] = T[np.newaxis, :]
        file["note"] = np.frombuffer("text".encode("utf-16-le"), np.uint16)
        file["note"].attrs["MATLAB_class"] = np.bytes_(b"char")
        file["#refs#/a"] = np.zeros(ROWS)
    with path.open("r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM")


def lerobot(folder: Path, lengths: Sequence[Sequence[int]] = ((20, 10), (15,)), **changed: object) -> None:
    """Write a dataset: a file of episodes of these lengths for each item."""
    import pyarrow
    from pyarrow import parquet

    (folder / "meta").mkdir(parents=True)
    (folder / "data" / "chunk-000").mkdir(parents=True)
    total, episode = sum(map(sum, lengths)), 0
    info = {"codebase_version": "v3.0", "fps": 30, "total_frames": total, "features": {}} | changed
    (folder / "meta" / "info.json").write_text(json.dumps(info))
    for k, episodes in enumerate(lengths):
        frames = np.concatenate([np.arange(n) for n in episodes])
        number = np.repeat(np.arange(episode, episode + len(episodes)), episodes)
        episode += len(episodes)
        action = np.arange(6.0 * len(frames)).reshape(-1, 6) + 1000 * k
        table = {
            "action": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(action.ravel(), pyarrow.float32()), 6),
            "timestamp": pyarrow.array(frames / 30, pyarrow.float32()),
            "frame_index": pyarrow.array(frames), "episode_index": pyarrow.array(number), "task": ["a"] * len(frames),
        }  # fmt: skip
        parquet.write_table(pyarrow.table(table), folder / "data" / "chunk-000" / f"file-{k:03d}.parquet")
