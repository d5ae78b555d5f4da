"""What Python and the kernels have to agree on: where numbers lie, and how much room a block takes."""

from __future__ import annotations

from .._kernels.sums import ANGLES, CONTENT, PAIR

__all__ = ["COLUMNS", "FACTS", "LARGEST", "THREADS", "flat", "shared_bytes", "width"]

#: threads of a block
THREADS = 128
#: largest n and d of a system that a block holds
LARGEST = 64
#: what a kernel is told of a system beside its matrices (``Facts`` of parts.cuh)
FACTS = (
    "lam", "mu", "length_u", "length_v", "length_w", "length_z", "condition", "constant", "coupled", "has_z",
    "any_mean", "preserves",
)  # fmt: skip
#: what is written of each state (the enumeration of measure.cuh), before its singular values
COLUMNS = (*(f"noise_{k}" for k in range(5)), "top", *CONTENT, *PAIR, *ANGLES)

# bytes of the table of places that a block keeps, in walk.cuh
_TABLE = 856


def flat(n: int, d: int) -> int:
    """Numbers of all parts of a state: R, r, b, mean, a.

    >>> flat(4, 2)
    17
    """
    return n * d + 2 * d + n + 1


def width(n: int, d: int) -> int:
    """Numbers that are written of each state.

    >>> width(4, 2) - len(COLUMNS)
    2
    """
    return len(COLUMNS) + min(n, d)


def shared_bytes(n: int, d: int, itemsize: int, copies: int, with_copies: bool) -> int:
    """Bytes of shared memory of a block (``Held::place`` of walk.cuh); itemsize: 8 or 4, of the states.

    ``copies``: shadows of a state; ``with_copies``: matrices are there in single precision as well.

    >>> shared_bytes(32, 32, 8, 3, True) // 1024, shared_bytes(64, 64, 8, 3, False) // 1024
    (67, 212)
    """
    wide, high = d | 1, n | 1
    numbers, matrices = n * wide, n * high + d * wide

    def room(size: int, *counts: int) -> int:
        return sum(-(-size * count // 16) * 16 for count in counts)

    def parts(size: int) -> int:
        return room(size, numbers, d, n, d, 1) + room(8, 5)

    vectors = (n, n, d, d)
    total = _TABLE + parts(itemsize) + room(itemsize, *vectors, numbers, max(matrices, 2 * numbers))
    total += room(8, d, d, d, n, n, 32)  # between products
    total += room(8, 5, n)  # noise
    # measuring, or what a layer changes
    total += max(room(8, d, d, d, d, n, n, n, n, n, n, min(n, d), 32), room(4, numbers) if copies else 0)
    if copies:
        total += copies * parts(4) + room(4, *vectors)
        total += 2 * room(8, n, n, 5) + room(itemsize, d, n, d) + room(8, d) + room(8, n, n, n, n)
        total += room(4, n * high, d * wide) if with_copies else 0
    return total
