"""Name the program that converts a recording of a format that is not read here."""

from __future__ import annotations

from pathlib import Path

# By the end of the file's name: what it is, and what to do with it.
_ADVICE = {
    ".tlog": ("MAVLink", "use the .bin log, or run `mavlogdump.py --format csv --types ATTITUDE` of pymavlink"),
    ".log": ("a log as text", "of ArduPilot: use the .bin log; a table: rename it .txt"),
    ".px4log": ("a log of PX4 before 2016", "run `sdlog2_dump.py` of PX4, which writes CSV"),
    ".wpilog": ("a log of WPILib", "export CSV with its DataLogTool or with AdvantageScope"),
    ".hoot": ("a log of CTRE Phoenix 6", "run `owlet -f mcap`"),
    ".rrd": ("a recording of Rerun", "read it with rerun.dataframe and write Parquet"),
    ".lcmlog": ("a log of LCM", "run `lcm-log2smat` of libbot2, which writes MAT"),
    ".mf4": ("a measurement of ASAM", "run `asammdf`, which exports CSV, Parquet and MAT"),
    ".mdf": ("a measurement of ASAM", "run `asammdf`, which exports CSV, Parquet and MAT"),
    ".tdms": ("a measurement of LabVIEW", "write HDF5 with npTDMS: `TdmsFile.read(name).as_hdf(target)`"),
    ".blf": ("frames of a CAN bus", "decode them with cantools and a .dbc file, and write CSV"),
    ".asc": ("frames of a CAN bus", "decode them with cantools and a .dbc file, and write CSV"),
    ".pcap": ("packets of a network", "run `tshark -T fields -E separator=,`, which writes CSV"),
    ".tfrecord": ("records of TensorFlow", "convert the dataset to LeRobot, or write Parquet"),
    ".feather": ("a table of Arrow", "write Parquet with pyarrow"),
    ".arrow": ("a table of Arrow", "write Parquet with pyarrow"),
    ".zarr": ("arrays of Zarr", "write HDF5 or npz"),
    ".npy": ("one array", "write named arrays: `numpy.savez(target, t=..., u=..., y=...)`"),
    ".pkl": ("a pickle, which can run any program", "write CSV, npz or Parquet where you trust it"),
    ".pickle": ("a pickle, which can run any program", "write CSV, npz or Parquet where you trust it"),
    ".json": ("JSON", "write CSV"),
    ".jsonl": ("JSON", "write CSV"),
    ".xls": ("a spreadsheet", "save it as CSV"),
    ".xlsx": ("a spreadsheet", "save it as CSV"),
    ".ods": ("a spreadsheet", "save it as CSV"),
    ".zip": ("an archive", "unpack it"),
    ".tar": ("an archive", "unpack it"),
    ".gz": ("compressed", "unpack it; only .csv.gz, .tsv.gz and .txt.gz are read as they are"),
    ".zst": ("compressed", "unpack it"),
    ".bz2": ("compressed", "unpack it"),
    ".xz": ("compressed", "unpack it"),
    ".lz4": ("compressed", "unpack it"),
    ".rar": ("an archive", "unpack it"),
    ".dat": ("a file of no known kind", "a table as text: rename it .txt"),
    ".zstd": ("compressed", "unpack it, or name the folder that holds it and its metadata.yaml"),
    ".7z": ("an archive", "unpack it"),
}  # fmt: skip


def advice_for(path: Path) -> tuple[str, str] | None:
    """Return what a file is and how to convert it, None where no advice is known."""
    name = path.name.lower()
    return next((advice for suffix, advice in _ADVICE.items() if name.endswith(suffix)), None)
