"""Change a few bytes of a file, as damage and as malice do."""

from __future__ import annotations

import random

EDGES = (0, 1, 2, 7, 127, 128, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    b"shape",
    b"'<f8'",
    b"'|O'",
    b"(1,)",
    b"(-1,)",
    b"(99999999999,)",
    b"()",
    b"True",
    b"'<U9'",
    b"(" * 90,
    b"'V0'",
)


def mutated_bytes(raw: bytes, chance: random.Random) -> bytes:
    """Change, insert, remove, repeat or swap a few places of `raw`."""
    out = bytearray(raw)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(7)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            size = chance.choice((1, 2, 4, 8))
            out[at : at + size] = (chance.choice(EDGES) % 2 ** (8 * size)).to_bytes(
                size, chance.choice(("little", "big"))
            )
        elif kind == 2:
            out[at:at] = chance.randbytes(chance.choice((1, 3, 40)))
        elif kind == 3:
            del out[at : at + chance.choice((1, 4, 100))]
        elif kind == 4:
            out[at:at] = out[at : at + chance.choice((4, 50, 500))]
        elif kind == 5:
            del out[at:]
        else:
            word = chance.choice(WORDS)
            out[at : at + len(word)] = word
    return bytes(out)
