"""Test retrieval: distances, binary codes, search, and checks of an index and its bundle."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.robots import make_angle_spec, make_body_spec, make_braked_spec, make_driven_spec, make_turret_spec, plant

from rtsysid.benchmarks.nanodrone import INPUTS, STATES
from rtsysid.errors import BundleError, SpecError, StorageError, TraceError
from rtsysid.model.backends.numpy_backend import NumpyBackend
from rtsysid.model.bundle import Bundle
from rtsysid.recordings.home import data_folder
from rtsysid.recordings.simulate import CHANNELS, fly
from rtsysid.recordings.trace import Episode, Trace
from rtsysid.retrieval import hashing, search
from rtsysid.retrieval.build import build, building
from rtsysid.retrieval.descriptors import CodeDescriptor, WindowDescriptor, series, weights_of
from rtsysid.retrieval.hashing import Hyperplanes, by_faiss, by_numpy, hamming
from rtsysid.retrieval.index import Index
from rtsysid.spec import ModelSpec, RigidBody

BODY = RigidBody(("qx", "qy", "qz", "qw"), ("wx", "wy", "wz"), ("vx", "vy", "vz"), ("x", "y", "z"))
FLYING = ModelSpec(channels=CHANNELS, rate_hz=100.0, taps=1, encoder=(), rigid_body=BODY)


@pytest.fixture(scope="module")
def flights() -> Trace:
    return fly(8, 20.0, seed=3)


@pytest.fixture(scope="module")
def archive(flights: Trace, tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Build an index of all flights except the last one, in body coordinates."""
    return build([Trace(CHANNELS, flights.episodes[:-1])], tmp_path_factory.mktemp("archive") / "index", spec=FLYING)


def asked(index: Index, flight: Episode, every: int) -> list[search.Query]:
    starts = range(0, len(flight) - index.span, every)
    return [search.query_of(index, flight.values[start : start + index.span]) for start in starts]


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 400))
@settings(deadline=None, max_examples=30)
def test_scans_find_the_nearest_codes(seed: int, count: int, asked_for: int) -> None:
    """NumPy and faiss return codes with the smallest distances, as counted bit by bit."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (count, 32), np.uint8)
    query = np.where(rng.random(32) < 0.5, codes[0], ~codes[0]).astype(np.uint8)
    counted = np.unpackbits(codes ^ query, axis=1).sum(1)
    assert hamming(codes, query).tolist() == counted.tolist()
    least = sorted(counted.tolist())[:asked_for]
    for scan in (by_numpy, by_faiss):
        assert counted[scan(codes, query, asked_for)].tolist() == least


def test_a_scan_goes_on_over_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan covers all blocks. The complement of a code has distance 256, not 0."""
    monkeypatch.setattr(hashing, "BLOCK", 7)
    codes = np.random.default_rng(0).integers(0, 256, (50, 32), np.uint8)
    assert by_numpy(codes, codes[41], 1).tolist() == [41]
    assert hamming(codes, ~codes[41])[41] == 256


def test_near_vectors_have_near_codes() -> None:
    """The share of hyperplanes between two vectors increases with their distance."""
    rng = np.random.default_rng(0)
    sample = rng.standard_normal((2000, 30)).astype(np.float32)
    hyperplanes, origin = Hyperplanes.fit(sample), np.zeros((1, 30), np.float32)
    direction = rng.standard_normal(30).astype(np.float32)
    steps = np.array([0.02, 0.1, 0.3, 1.0], np.float32)[:, None] * direction
    parted = hamming(hyperplanes.codes(steps), hyperplanes.codes(origin)[0])
    assert parted.tolist() == sorted(parted.tolist())
    assert 0 < parted[1] < parted[3] < 256


@given(st.lists(st.integers(10, 40), min_size=1, max_size=6), st.integers(2, 10))
@settings(deadline=None, max_examples=20)
def test_moments_lie_within_segments(tmp_path_factory: pytest.TempPathFactory, lengths: list[int], span: int) -> None:
    """Every window without a gap is one moment, with the recording and the time of its centre."""
    rng = np.random.default_rng(0)
    episodes = tuple(
        Episode(f"e{k}", np.arange(n) / 10 + 100 * k, rng.standard_normal((n, 3)).astype(np.float32))
        for k, n in enumerate(lengths)
    )
    recordings = [Trace(plant(1, 10).channels, (episode,)) for episode in episodes]
    index = build(recordings, tmp_path_factory.mktemp("any") / "index", seconds=span / 10)
    wanted = [(e.name, float(e.t[i + span - 1 - span // 2])) for e in episodes for i in range(len(e) - span + 1)]
    newest = index.newest(np.arange(len(index)))
    places = [index.place(int(row)) for row in newest]
    assert [(place.recording, place.time_s) for place in places] == wanted
    own = [row for row in newest.tolist() if row in index.windows(row - span, row + span + 1)]
    assert own == newest.tolist()


def test_a_gap_is_in_no_moment(tmp_path: Path) -> None:
    """No moment spans a missing sample."""
    episode = plant(1, 200).episodes[0]
    keep = np.arange(200) != 100
    index = build(
        [Trace(plant(1, 10).channels, (Episode("e", episode.t[keep], episode.values[keep]),))], tmp_path / "i"
    )
    assert len(index) == (100 - 49) + (99 - 49)


def turned(values: np.ndarray, angle: float) -> np.ndarray:
    """Rotate a flight about the vertical, and shift it."""
    s, c = np.sin(angle), np.cos(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    out = values.copy()
    out[:, 4:7] = values[:, 4:7] @ turn.T + (3.0, -7.0, 2.0)
    out[:, 7:10] = values[:, 7:10] @ turn.T
    x, y, z, w = values[:, 10:14].T
    sz, cz = np.sin(angle / 2), np.cos(angle / 2)
    out[:, 10:14] = np.stack((cz * x - sz * y, cz * y + sz * x, cz * z + sz * w, cz * w - sz * z), 1)
    return out


def test_the_same_manoeuvre_elsewhere_is_the_same(archive: Index, flights: Trace, tmp_path: Path) -> None:
    """In body coordinates a rotated and shifted flight matches itself; in recorded coordinates it does not."""
    flight = flights.episodes[2]
    elsewhere = turned(flight.values, 2.0)[1000 : 1000 + archive.span]
    best = search.find(archive, search.query_of(archive, elsewhere), 1)[0]
    assert (best.recording, round(best.time_s, 3)) == (flight.name, round(flight.t[1000 + 49], 3))
    assert best.distance < 1e-3
    assert min(best.alike.values()) > 0.99
    plain = build([Trace(CHANNELS, flights.episodes[:-1])], tmp_path / "plain")
    assert search.find(plain, search.query_of(plain, elsewhere), 1)[0].distance > 0.1


def test_two_random_moments_are_one_apart(archive: Index) -> None:
    """With the weights the mean squared distance of random moments is 1, over all groups and in each."""
    newest = archive.newest(np.random.default_rng(0).integers(0, len(archive), 4000))
    apart = archive.vectors(newest[:2000]) - archive.vectors(newest[2000:])
    assert np.mean((apart**2).sum(1)) == pytest.approx(1.0, abs=0.1)
    names = {group.name for group in archive.descriptor.groups}
    assert names == {"inputs", "velocity", "displacement", "rotation", "rate", "vertical"}
    for name in names:
        squares = [(apart[:, group.columns] ** 2).sum(1) for group in archive.descriptor.groups if group.name == name]
        assert len(names) * np.mean(np.sum(squares, axis=0)) == pytest.approx(1.0, abs=0.15)


def test_a_channel_that_never_moves_has_no_weight() -> None:
    """A channel that is constant except for its last bit has weight 0, without a division by zero."""
    spec = make_body_spec()
    descriptor = WindowDescriptor(spec, 8)
    rng = np.random.default_rng(0)
    values = np.tile(np.float32([0] * 2 + [0] * 3 + [7.3] + [0] * 3 + [0, 0, 0, 1] + [0] * 3), (300, 1))
    values[:, 0] = rng.standard_normal(300)
    values[::2, 5] = np.nextafter(np.float32(7.3), np.float32(8))  # its last bit flickers
    weights = weights_of(descriptor.groups, descriptor.vectors(values, np.arange(7, 300)))
    assert np.isfinite(weights).all()
    moving = np.concatenate([group.columns[weights[group.columns] > 0] for group in descriptor.groups])
    assert len(moving) == 8  # the one input, at each of the eight rows


def test_every_feature_of_a_window_is_in_one_group() -> None:
    """The groups partition the vector, for every kind of coordinates and any order of the channels."""
    braked = make_braked_spec(degree=3, feedback=("y1", "y2"))
    for spec in (make_body_spec(), FLYING, make_angle_spec(), make_turret_spec(), make_driven_spec(), braked):
        descriptor = WindowDescriptor(spec, 30)
        size = descriptor.vectors(np.ones((30, spec.width), np.float32), np.array([29])).shape[1]
        assert sorted(itertools.chain(*(group.columns.tolist() for group in descriptor.groups))) == list(range(size))
        assert len(series(spec, np.ones((30, spec.width), np.float32))) == spec.n_features


def test_codes_are_those_of_the_stream(bundle_folder: Path) -> None:
    """The vector of a moment by code holds the codes of the live backend at its ticks."""
    bundle = Bundle.open(bundle_folder)
    values = plant(1, 60).episodes[0].values
    backend, codes = NumpyBackend(bundle.spec, bundle.arrays("weights.npz")), []
    for row in values:
        backend.step(row)
        codes.append(backend.code.copy())
    descriptor = CodeDescriptor(bundle.spec, 25, bundle.arrays("weights.npz"))
    newest = np.array([24, 25, 40, 59])
    wanted = [np.concatenate([codes[row - lag] for lag in (20, 15, 10, 5, 0)]) for row in newest]
    np.testing.assert_allclose(descriptor.vectors(values, newest), wanted, atol=1e-6)


def test_few_candidates_find_nearly_all(archive: Index, flights: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a tenth of the codes and a fiftieth of the windows, recall at 10 is above 0.9."""
    monkeypatch.setattr(search, "CANDIDATES", len(archive) // 10)
    monkeypatch.setattr(search, "WINDOWS", len(archive) // 50)
    queries = asked(archive, flights.episodes[-1], 60)
    truth = search.exact_rows(archive, queries, 10)
    matches = [{f.row for f in search.find(archive, query, 10)} for query in queries]
    assert np.mean([len(got & set(true)) / 10 for got, true in zip(matches, truth, strict=True)]) > 0.9


def test_without_faiss_the_same_is_found(archive: Index, flights: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without faiss NumPy scans, and finds the same moments."""
    monkeypatch.setattr(search, "CANDIDATES", len(archive) // 10)
    queries = asked(archive, flights.episodes[-1], 300)
    assert archive.scan is by_faiss
    by_library = [[f.row for f in search.find(archive, query, 5)] for query in queries]
    monkeypatch.setitem(sys.modules, "faiss", None)
    plain = Index.open(archive.folder)
    assert plain.scan is by_numpy
    assert [[f.row for f in search.find(plain, query, 5)] for query in queries] == by_library


def test_moments_are_distinct_and_the_nearest_around(archive: Index, flights: Trace) -> None:
    """Every match is the nearest row within half a span, compared with every window."""
    query = asked(archive, flights.episodes[-1], 700)[1]
    every = archive.newest(np.arange(len(archive)))
    distance = np.linalg.norm(archive.vectors(every) - query.vector, axis=1)
    matches = search.find(archive, query, 10)
    assert len(matches) == 10
    assert [f.distance for f in matches] == sorted(f.distance for f in matches)
    for f in matches:
        around = np.abs(every - f.row) < archive.span // 2
        assert every[around][distance[around].argmin()] == f.row
        assert f.distance == pytest.approx(float(distance[every == f.row][0]), rel=1e-4)


def test_the_query_is_not_its_own_match(tmp_path: Path) -> None:
    """A moment of an indexed file matches others, not itself. A moment of a copied file matches the original."""
    for episode in plant(3, 300).episodes:
        Trace(plant().channels, (episode,)).write(tmp_path / "logs" / f"{episode.name}.csv")
    index = build(Trace.read_each([tmp_path / "logs"]), tmp_path / "index")
    asked_for = tmp_path / "logs" / "run2.csv"
    query = search.query_at(index, Trace.read(asked_for), 3.0)
    for matches in (search.find(index, query, 8), search.find_exactly(index, query, 8)):
        assert matches
        assert all(f.recording != "run2" or abs(f.time_s - 3.0) >= 1.0 for f in matches)
    Trace.read(asked_for).write(tmp_path / "copy.npz")
    copy = search.find(index, search.query_at(index, Trace.read(tmp_path / "copy.npz"), 3.0), 1)[0]
    assert (copy.recording, copy.distance) == ("run2", 0.0)
    assert copy.time_s == pytest.approx(3.0)


@pytest.mark.parametrize("span", [2, 50])
@pytest.mark.parametrize("at", [-5.0, 2.0, 99.0, float("nan")])
def test_a_moment_outside_is_refused(tmp_path: Path, span: int, at: float) -> None:
    """A moment before the recording, in a gap, after the end, or at NaN raises TraceError."""
    episode = plant(1, 300).episodes[0]
    keep = (episode.t < 1.5) | (episode.t > 2.5)
    trace = Trace(plant(1, 10).channels, (Episode("e", episode.t[keep], episode.values[keep]),))
    index = build([trace], tmp_path / "index", seconds=span / 50)
    assert search.query_at(index, trace, 0.8).vector.shape == index.weights.shape
    with pytest.raises(TraceError, match="must fit around it"):
        search.query_at(index, trace, at)


def test_a_build_that_breaks_off_leaves_the_old_index(tmp_path: Path, tiny_trace: Trace) -> None:
    """A build that is stopped or fails leaves the old index unchanged, and no temporary files."""
    build([tiny_trace], tmp_path / "index")
    steps = building([tiny_trace], tmp_path / "index", seconds=0.5)
    next(steps)
    steps.close()
    with pytest.raises(TraceError, match="no segment of 1000 s"):
        build([tiny_trace], tmp_path / "index", seconds=1000.0)
    assert Index.open(tmp_path / "index").span == 50
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("seconds", [0.0, 0.02, -1.0, float("nan"), float("inf")])
def test_a_moment_has_rows(tmp_path: Path, tiny_trace: Trace, seconds: float) -> None:
    """A moment of fewer than two rows, of NaN or of infinite length raises TraceError."""
    with pytest.raises(TraceError, match="a moment needs two rows or more"):
        build([tiny_trace], tmp_path / "index", seconds=seconds)


def test_an_index_takes_no_other_folder(tmp_path: Path, tiny_trace: Trace) -> None:
    """A folder that is not an index is never replaced."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "flight.csv").write_text("t,y\n")
    with pytest.raises(StorageError, match="not an index"):
        build([tiny_trace], tmp_path / "logs")
    assert (tmp_path / "logs" / "flight.csv").exists()


@pytest.mark.parametrize("damage", ["cut", "missing", "changed", "none"])
def test_an_index_that_is_not_whole_is_refused(tmp_path: Path, tiny_trace: Trace, damage: str) -> None:
    """A truncated or missing file, an edited manifest, and a missing index raise TraceError."""
    build([tiny_trace], tmp_path / "index")
    codes, manifest = tmp_path / "index" / "codes.u8", tmp_path / "index" / "index.json"
    if damage == "cut":
        codes.write_bytes(codes.read_bytes()[:-1])
    elif damage == "missing":
        codes.unlink()
    elif damage == "changed":
        manifest.write_text(manifest.read_text().replace('"span": 50', '"span": 51'))
    else:
        manifest.unlink()
    with pytest.raises(TraceError, match="index"):
        Index.open(tmp_path / "index")


def test_other_bundles_and_codes_without_one_are_refused(
    bundle_folder: Path, tiny_trace: Trace, tmp_path: Path
) -> None:
    """An index accepts only its own bundle. An index by code needs a bundle, and moments of one window or more."""
    bundle = Bundle.open(bundle_folder)
    build([tiny_trace], tmp_path / "coded", bundle=bundle, by="code")
    assert len(Index.open(tmp_path / "coded", bundle)) > 0
    with pytest.raises(BundleError, match="--bundle"):
        Index.open(tmp_path / "coded")
    build([tiny_trace], tmp_path / "plain")
    with pytest.raises(BundleError, match="made with no bundle"):
        Index.open(tmp_path / "plain", bundle)
    with pytest.raises(BundleError, match="--bundle"):
        build([tiny_trace], tmp_path / "none", by="code")
    with pytest.raises(SpecError, match="the encoder needs 5"):
        build([tiny_trace], tmp_path / "short", bundle=bundle, by="code", seconds=0.06)


@pytest.mark.recordings
def test_squares_are_found_among_squares(tmp_path: Path) -> None:
    """A corner of a real square flight, repeated every ten seconds, matches the same corner at other times."""
    folder = data_folder()
    flights = [] if folder is None else sorted((folder / "nanodrone" / "train").glob("*_run[12].csv.gz"))
    if not flights:
        pytest.skip("wants the recordings nanodrone/train")
    spec = ModelSpec(channels=(*INPUTS, *STATES), rate_hz=100.0, taps=1, encoder=(), rigid_body=BODY)
    index = build(Trace.read_each(flights, spec.channels), tmp_path / "index", spec=spec)
    square = next(path for path in flights if path.name.startswith("square"))
    matches = search.find(index, search.query_at(index, Trace.read(square, index.spec.channels), 12.3), 3)
    assert all(f.recording.startswith("square") for f in matches)
    assert all(min(abs(f.time_s - 2.3), abs(f.time_s - 12.3)) < 0.1 for f in matches)


def test_a_recording_shorter_than_a_moment_is_said_to_be(tmp_path: Path) -> None:
    """No range of times is named where no piece of a recording holds a moment."""
    build([plant(1, 200)], tmp_path / "index", seconds=1.0)
    index = Index.open(tmp_path / "index")
    with pytest.raises(TraceError, match="the longest of 1 pieces without a gap has 20 rows, a moment has 50"):
        search.query_at(index, plant(1, 20), 0.2)
    with pytest.raises(TraceError, match=r"9 s is outside 0\.5 to 1\.48 s"):
        search.query_at(index, plant(1, 100), 9.0)
