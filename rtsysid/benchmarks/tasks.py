"""Define the benchmarks of nonlinearbenchmark.org: files, splits and published results.

Splits are those of `nonlinear_benchmarks` (PyPI, 1.0.1). Published results are free-run RMSE from the literature of
each benchmark. Each reader raises TraceError where its recordings are absent.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from rtsysid.benchmarks.score import Score, published
from rtsysid.benchmarks.simulation import Record, Simulation, Split
from rtsysid.errors import TraceError
from rtsysid.recordings.home import recordings
from rtsysid.spec import Channel, Doubles


def wh2009() -> Split:
    """Read the Wiener-Hammerstein circuit. Ref: J. Schoukens, J. Suykens, L. Ljung, IFAC SYSID 2009.

    Raises TraceError where the file is absent or has other columns.
    """
    u, y = _csv(recordings("wh2009", "WienerHammerBenchmark.csv.gz"), "uBenchMark", "yBenchMark")
    u, y = u[5200:184000], y[5200:184000]  # the rest is the switching on and off
    return Split((Record("train", u[:100000], y[:100000]),), (Record("test", u[100000:], y[100000:]),))


def silverbox() -> Split:
    """Read the electronic Duffing oscillator. Ref: T. Wigren, J. Schoukens, ECC 2013.

    Raises TraceError where the file is absent or has other columns.
    """
    u, y = _csv(recordings("silverbox", "SNLS80mV.csv.gz"), "V1", "V2")

    def record(name: str, start: int, stop: int) -> Record:
        return Record(name, u[start:stop], y[start:stop])

    middle = 40650 + int(0.75 * (127400 - 40650))
    test = (record("multisine", middle, 127400), record("arrow", 100, 40575), record("arrow_inside", 100, 32100))
    return Split((record("train", 40650, middle),), test)


def emps() -> Split:
    """Read the controlled positioning axis. Ref: A. Janot, M. Gautier, M. Brunot, Eindhoven workshop 2019."""
    train, test = (_mat(recordings("emps", f"{name}.mat"), "vir", "qm") for name in ("DATA_EMPS", "DATA_EMPS_PULSES"))
    return Split((Record("train", *train),), (Record("test", *test),))


def cascaded_tanks() -> Split:
    """Read the two cascaded tanks with overflow. Ref: M. Schoukens et al., Eindhoven workshop 2016.

    Raises TraceError where the file is absent or has other columns.
    """
    path = recordings("cascaded_tanks", "dataBenchmark.csv")
    u, u_test, y, y_test = _csv(path, "uEst", "uVal", "yEst", "yVal")
    return Split((Record("train", u, y),), (Record("test", u_test, y_test),))


def ced() -> Split:
    """Read the coupled electric drives, at low and high amplitude. Ref: T. Wigren, M. Schoukens, Uppsala 2017.

    Raises TraceError where the file is absent or has other columns.
    """
    u1, u2, y1, y2 = _csv(recordings("ced", "DATAUNIF.csv"), "u11", "u12", "z11", "z12")
    both = (("low", u1, y1), ("high", u2, y2))
    return Split(
        tuple(Record(name, u[:400], y[:400]) for name, u, y in both),
        tuple(Record(name, u[400:], y[400:]) for name, u, y in both),
    )


def _literature(
    measures: tuple[str, ...], initial: int, figures: dict[str, tuple[float | None, ...]]
) -> tuple[Score, ...]:
    return tuple(published(model, f"{initial} samples", measures, *each) for model, each in figures.items())


def _csv(path: Path, *names: str) -> tuple[Doubles, ...]:
    """Read columns by name. Cells after them may be empty."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        header = [cell.strip().strip('"') for cell in stream.readline().split(",")]
        missing = [name for name in names if name not in header]
        if missing:
            raise TraceError(f"recording {path.name}", f"no column {', '.join(missing)}", "get the original file")
        table = np.loadtxt(stream, delimiter=",", usecols=[header.index(name) for name in names])
    return tuple(np.ascontiguousarray(column) for column in table.T)


def _mat(path: Path, *names: str) -> tuple[Doubles, ...]:
    from scipy.io import loadmat

    stored = loadmat(path, variable_names=names)
    return tuple(np.asarray(stored[name][:, 0], np.float64) for name in names)


_WH, _SB = ("test mV",), ("multisine mV", "arrow mV", "arrow inside mV")
_EMPS, _TANKS, _CED = ("test mm",), ("test V",), ("low ticks/s", "high ticks/s")

SIMULATIONS = (
    Simulation(
        "wh2009",
        51200.0,
        Channel("uBenchMark", "V", "input"),
        Channel("yBenchMark", "V"),
        initial=50,
        unit="mV",
        scale=1e3,
        quick=0.06,  # one epoch
        read=wh2009,
        feedthrough=True,
        measures=_WH,
        published=_literature(
            _WH,
            50,
            {
                "SUBNET (more than 4 days of CPU)": (0.241,),
                "output-lag LSTM": (1.52,),
                "LSTM": (1.54,),
                "dynoNet (untuned)": (1.753,),
                "GRU": (1.77,),
                "quadratic BLA (before the official split)": (0.279,),
                "NL-LFR (before the official split)": (0.30,),
                "pole-zero (before the official split)": (0.30,),
                "PNLSS (before the official split)": (0.42,),
                "dynoNet (before the official split)": (0.45,),
                "generalised WH (before the official split)": (0.49,),
                "tsfast LSTM-64 (before the official split)": (1.66,),
            },
        ),
    ),
    Simulation(
        "silverbox",
        610.35,
        Channel("V1", "V", "input"),
        Channel("V2", "V"),
        initial=50,
        unit="mV",
        scale=1e3,
        quick=0.3,
        read=silverbox,
        feedthrough=True,
        measures=_SB,
        published=_literature(
            _SB,
            50,
            {
                "NL-LFR (told: a cubic nonlinearity)": (0.289, 0.334, 0.257),
                "GP-NARX": (0.345, 0.721, 0.286),
                "SUBNET": (0.36, 1.4, 0.32),
                "PNARX": (0.641, 2.25, 0.572),
                "LSTM": (1.05, 6.13, 1.35),
                "GRU": (1.07, 4.37, 1.17),
                "dynoNet (untuned)": (1.218, 5.609, 1.348),
                "LTI": (6.96, 14.4, 6.58),
                "PNLSS (before the official split)": (None, 0.26, None),
                "sigmoid network (before the official split)": (None, 0.30, None),
            },
        ),
    ),
    Simulation(
        "emps",
        1000.0,
        Channel("vir", "V", "input"),
        Channel("qm", "m"),
        initial=20,
        unit="mm",
        scale=1e3,
        quick=0.3,
        read=emps,
        measures=_EMPS,
        published=_literature(
            _EMPS,
            20,
            {
                "CT-SUBNET": (4.61,),
                "dynoNet": (5.011,),
                "PNARX": (5.18,),
                "ARX": (12.6,),
                "GRU": (17.6,),
                "LSTM": (86.2,),
                "dynoNet (before the official split)": (2.64,),
                "IO-stable CT-ANN (before the official split)": (3.68,),
                "TSEM (before the official split)": (4.73,),
            },
        ),
    ),
    Simulation(
        "cascaded-tanks",
        0.25,
        Channel("u", "V", "input"),
        Channel("y", "V"),
        initial=50,
        unit="V",
        scale=1.0,
        quick=0.5,
        read=cascaded_tanks,
        measures=_TANKS,
        published=_literature(
            _TANKS,
            50,
            {
                "normalised grey-box state-space network (told the structure)": (0.221,),
                "CT-SUBNET": (0.306,),
                "PNARX": (0.416,),
                "dynoNet": (0.421,),
                "output-lag LSTM": (0.427,),
                "LSTM": (0.452,),
                "GRU": (0.568,),
                "grey box with overflow (told the structure; not official)": (0.18,),
                "GRU ensemble found by an agent (not official)": (0.300,),
                "tensor B-splines (not official)": (0.30,),
            },
        ),
    ),
    Simulation(
        "ced",
        50.0,
        Channel("u", "V", "input"),
        Channel("z", "ticks/s"),
        initial=10,
        unit="ticks/s",
        scale=1.0,
        quick=0.5,
        read=ced,
        measures=_CED,
        published=_literature(
            _CED,
            10,
            {
                "dynoNet (untuned)": (0.062, 0.047),
                "GP-NARX": (0.0870, 0.0696),
                "CT-SUBNET": (0.115, 0.074),
                "RNN": (0.114, 0.138),
                "LSTM": (0.139, 0.111),
                "sparse Bayesian LSTM (before the official split)": (0.121, 0.097),
            },
        ),
    ),
)
