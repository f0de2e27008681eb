"""Read tensors by name from a file that may be damaged or made to harm."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from rtsysid.model.untrusted import Refusal, open_regular

Tensors = dict[str, Tensor]
Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


def read_tensors(path: Path, wanted: Shapes, optional: Shapes, refusal: Refusal) -> tuple[Tensors, dict[str, str]]:
    """Read tensors of float32 and metadata of a safetensors file; shapes are checked before anything is allocated.

    Raises the error of `refusal` where it cannot be read, where a name of `wanted` is missing, where it has a name that
    is in neither table, and for another shape and a value that is not finite.
    """
    open_regular(path, refusal).close()
    try:
        with safe_open(path, "pt") as stored:
            names = set(stored.keys())
            if not wanted.keys() <= names or not names <= wanted.keys() | optional.keys():
                raise refusal(f"{path.name} has other tensors than the specification")
            for name in names:
                part, shape = stored.get_slice(name), wanted.get(name, optional.get(name))
                if part.get_dtype() != "F32" or tuple(part.get_shape()) != shape:
                    raise refusal(f"{path.name}: {name} is of another shape or type")
            tensors = {name: stored.get_tensor(name) for name in sorted(names)}
            metadata = stored.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise refusal(f"{path.name} is damaged ({error})") from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise refusal(f"{path.name}: {name} has a value that is not finite")
    return tensors, metadata
