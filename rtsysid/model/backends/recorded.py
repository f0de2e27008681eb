"""Record what NumPy computes, so that a gradient can be taken back through it.

A `RecordedArray` array stands where NumPy's own would, as NEP 13 and NEP 18 allow: the network, the cells and the
coordinates are recorded as they are written, and no formula exists twice. Only what they use can be recorded. Ref: A.
Griewank, A. Walther, Evaluating Derivatives, 2nd edition, section 3.2: reverse mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
Back: TypeAlias = Callable[[Array], Array]  # from the gradient of a result to that of one of its parts


class Recording:
    """All arrays that were computed since the beginning, in order."""

    def __init__(self) -> None:
        self.arrays: list[RecordedArray] = []

    def array(self, value: Array, parts: Sequence[tuple[RecordedArray, Back]] = ()) -> RecordedArray:
        """Record an array [...], and the arrays that it was computed from."""
        self.arrays.append(RecordedArray(self, value, parts))
        return self.arrays[-1]

    def forget_gradients(self) -> None:
        """Go back to where nothing was passed back yet."""
        for array in self.arrays:
            array.gradient = None

    def go_back(self) -> None:
        """Add to the gradient of every array what its results pass back, the last result first."""
        for array in reversed(self.arrays):
            if array.gradient is not None:
                for part, back in array.parts:
                    part.add(back(array.gradient))


class RecordedArray(NDArrayOperatorsMixin):
    """An array [...] of a `Recording`. ``gradient``: None where nothing was passed back to it."""

    def __init__(self, recording: Recording, value: Array, parts: Sequence[tuple[RecordedArray, Back]]) -> None:
        self.recording, self.value, self.parts = recording, value, parts
        self.gradient: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape."""
        return self.value.shape

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[RecordedArray]:
        return (self[k] for k in range(len(self.value)))

    def add(self, gradient: Array) -> None:
        """Add a gradient [...] to what was passed back so far."""
        self.gradient = gradient if self.gradient is None else self.gradient + gradient

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        values = [each.value if isinstance(each, RecordedArray) else each for each in inputs]
        result = getattr(ufunc, method)(*values, **kwargs)
        if ufunc not in _BACK:  # as floor, whose gradient is zero
            return result
        backs = _BACK[ufunc](result, *values)
        pairs = zip(inputs, values, backs, strict=True)
        parts = [(each, _summed_to(np.shape(v), back)) for each, v, back in pairs if isinstance(each, RecordedArray)]
        return self.recording.array(result, parts)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Mapping[str, Any]) -> RecordedArray:
        return _FUNCTIONS[function](self.recording, *args, **kwargs)

    def __getitem__(self, key: Any) -> RecordedArray:
        def back(gradient: Array) -> Array:
            whole = np.zeros_like(self.value)
            np.add.at(whole, key, gradient) if _repeats(key) else whole.__setitem__(key, gradient)
            return whole

        return self.recording.array(self.value[key], [(self, back)])

    def sum(self, axis: int) -> RecordedArray:
        """Sum over an axis."""

        def back(gradient: Array) -> Array:
            return np.broadcast_to(np.expand_dims(gradient, axis), self.shape)

        return self.recording.array(self.value.sum(axis), [(self, back)])

    def reshape(self, *shape: int) -> RecordedArray:
        """Return the same values in another shape."""
        return self.recording.array(self.value.reshape(*shape), [(self, lambda g: g.reshape(self.shape))])

    def transpose(self, *axes: int) -> RecordedArray:
        """Return the same values with their axes in another order."""
        order = np.argsort(axes)
        return self.recording.array(self.value.transpose(*axes), [(self, lambda g: g.transpose(order))])


class _JoinedPart(NamedTuple):
    """One of the arrays that a function joins, with the way back to it."""

    given: Any
    back: Back


def _join_recorded(recording: Recording, value: Array, parts: Sequence[_JoinedPart]) -> RecordedArray:
    return recording.array(value, [(given, back) for given, back in parts if isinstance(given, RecordedArray)])


def _concatenate(recording: Recording, parts: Sequence[Any], axis: int) -> RecordedArray:
    values = [_value_of(part) for part in parts]
    ends = np.cumsum([value.shape[axis] for value in values])
    cut = [_slice_back(slice(end - value.shape[axis], end), axis) for end, value in zip(ends, values, strict=True)]
    return _join_recorded(recording, np.concatenate(values, axis), list(map(_JoinedPart, parts, cut)))


def _stack(recording: Recording, parts: Sequence[Any], axis: int) -> RecordedArray:
    value = np.stack([_value_of(part) for part in parts], axis)
    return _join_recorded(recording, value, [_JoinedPart(part, _slice_back(k, axis)) for k, part in enumerate(parts)])


def _slice_back(at: int | slice, axis: int) -> Back:
    """Make the way back to what lies at an index of an axis: the first, the second or the last."""
    before = (slice(None),) * axis if axis >= 0 else (...,)
    after = (slice(None),) * (-1 - axis) if axis < 0 else ()
    key = (*before, at, *after)
    return lambda gradient: gradient[key]


def _clip(recording: Recording, of: RecordedArray, low: float, high: float) -> RecordedArray:
    inside = (of.value > low) & (of.value < high)
    return recording.array(np.clip(of.value, low, high), [(of, lambda gradient: gradient * inside)])


def _where(recording: Recording, condition: Any, yes: Any, no: Any) -> RecordedArray:
    value = np.where(condition, _value_of(yes), _value_of(no))
    parts = [
        _JoinedPart(yes, lambda gradient: gradient * condition),
        _JoinedPart(no, lambda gradient: gradient * ~condition),
    ]
    return _join_recorded(recording, value, parts)


def _value_of(array: Any) -> Array:
    value: Array = array.value if isinstance(array, RecordedArray) else array
    return value


def _repeats(key: Any) -> bool:
    """Tell whether an index may name an element twice."""
    return any(isinstance(each, list) for each in (key if isinstance(key, tuple) else (key,)))


def _summed_to(shape: tuple[int, ...], back: Back) -> Back:
    """Sum what a broadcast repeated."""

    def summed(gradient: Array) -> Array:
        whole = back(gradient)
        leading = tuple(range(whole.ndim - len(shape)))
        sizes = zip(shape, whole.shape[len(leading) :], strict=True)
        repeated = tuple(k for k, (own, now) in enumerate(sizes, len(leading)) if own < now)
        return whole.sum(leading + repeated, keepdims=True).reshape(shape) if leading or repeated else whole

    return summed


_FUNCTIONS: Mapping[Any, Callable[..., RecordedArray]] = {
    np.concatenate: _concatenate, np.stack: _stack, np.clip: _clip, np.where: _where,
}  # fmt: skip
_BACK: Mapping[np.ufunc, Callable[..., Sequence[Back]]] = {
    np.add: lambda y, a, b: (lambda g: g, lambda g: g),
    np.subtract: lambda y, a, b: (lambda g: g, lambda g: -g),
    np.multiply: lambda y, a, b: (lambda g: g * b, lambda g: g * a),
    np.divide: lambda y, a, b: (lambda g: g / b, lambda g: -g * y / b),
    np.negative: lambda y, a: (lambda g: -g,),
    np.tanh: lambda y, a: (lambda g: g * (1 - y * y),),
    np.sqrt: lambda y, a: (lambda g: g / (2 * y),),
    np.matmul: lambda y, a, b: (lambda g: g @ np.swapaxes(b, -1, -2), lambda g: np.swapaxes(a, -1, -2) @ g),
}
