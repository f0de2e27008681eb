"""Name the program that converts a log of a format that is not read here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_SHEET = "save the sheet as CSV"
_PANDAS = "write it as Parquet, for example with pandas"
_CAN = "decode it to CSV with its DBC file, for example with cantools"
CONVERTERS: Mapping[str, str] = MappingProxyType(
    {
        ".xls": _SHEET,
        ".xlsx": _SHEET,
        ".ods": _SHEET,
        ".feather": _PANDAS,
        ".arrow": _PANDAS,
        ".pkl": _PANDAS,
        ".pickle": _PANDAS,
        ".json": _PANDAS,
        ".jsonl": _PANDAS,
        ".tlog": "convert it with mavlogdump.py --format csv, of pymavlink",
        ".log": "name a table .txt; convert a DataFlash log with mavlogdump.py --format csv, of pymavlink",
        ".tdms": "convert it to HDF5 with tdmsinfo, or to Parquet with npTDMS and pandas",
        ".mf4": "convert it with asammdf, to HDF5, MAT or Parquet",
        ".mdf": "convert it with asammdf, to HDF5, MAT or Parquet",
        ".asc": _CAN,
        ".blf": _CAN,
    }
)
