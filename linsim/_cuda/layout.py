"""What Python and the kernels have to agree on: where numbers lie, and how much room a block takes."""

from __future__ import annotations

from .._kernels.slots import ANGLES, CONTENT, PAIR

__all__ = ["COLUMNS", "FACTS", "LARGEST", "LEAST", "THREADS", "added", "flat", "room", "width"]

#: threads of a block
THREADS = 128
#: largest n and d of a system that a block takes
LARGEST = 128
#: shared memory that a block may have on every card
LEAST = 48 * 1024
#: what a kernel is told of a system beside its matrices (``Facts`` of parts.cuh)
FACTS = (
    "lam", "mu", "length_u", "length_v", "length_w", "length_z", "condition", "constant", "coupled", "has_z",
    "any_mean", "means", "preserves",
)  # fmt: skip
#: what is written of each state (the enumeration of measure.cuh), before its singular values
COLUMNS = (*(f"noise_{k}" for k in range(5)), "top", *CONTENT, *PAIR, *ANGLES)

# bytes of the table of places that a block keeps, in walk.cuh
_TABLE = 1344
# above this n or d matrices are read in tiles, of so many numbers
_WHOLE, _TILES = 64, 2 * 32 * 17


def flat(n: int, d: int) -> int:
    """Numbers of all parts of a state: R, r, b, mean, a.

    >>> flat(4, 2)
    17
    """
    return n * d + 2 * d + n + 1


def added(n: int, d: int) -> int:
    """Numbers of what a layer adds to every token: r, b, a, mean, and its rest as a column and a row.

    >>> added(4, 2)
    15
    """
    return 3 * d + 2 * n + 1


def width(n: int, d: int) -> int:
    """Numbers that are written of each state.

    >>> width(4, 2) - len(COLUMNS)
    2
    """
    return len(COLUMNS) + min(n, d)


def room(
    n: int, d: int, itemsize: int, copies: int, heads: int = 1, limit: int | None = None
) -> tuple[int, int]:
    """Bytes of a block in shared memory, and elsewhere (``Held::place`` of walk.cuh).

    ``itemsize``: 8 or 4, of the states; ``copies``: shadows of a state; ``limit``: the most shared memory
    that a block may have, None for as much as there is to hold.

    >>> room(32, 32, 8, 3), room(128, 128, 8, 3, limit=227 * 1024)
    ((72288, 0), (186592, 792576))
    """
    wide, high = d | 1, n | 1
    numbers, matrices = n * wide, heads * (n * high + d * wide)
    used, far = _TABLE, 0

    def fits(size: int, count: int) -> bool:
        return limit is None or used + -(-size * count // 16) * 16 <= limit

    def take(size: int, *counts: int) -> None:
        nonlocal used, far
        for count in counts:
            own = -(-size * count // 16) * 16
            if fits(size, count):
                used += own
            else:
                far += own

    def parts(size: int) -> None:  # all but R
        take(size, d, n, d, 1)
        take(8, 5)

    vectors = (n, n, d, d)
    parts(itemsize)
    take(itemsize, *vectors)
    take(8, d, d, d, n, n, 32)  # between products
    take(8, 5, 2 * n)  # noise, and which tokens came near the end of the range
    take(8, d, d, d, d, n, n, n, n, n, min(n, d), 32)  # measuring
    if copies:
        for _ in range(copies):
            parts(4)
        take(4, *vectors)
        take(8, n, n, 5, n, n, 5)
        take(itemsize, d, n, d)
        take(8, heads * d, heads, n, n, heads * n, n)
    tiled = max(n, d) > _WHOLE
    take(itemsize, *([_TILES] if tiled else []), numbers, numbers)
    most = max(matrices, 2 * numbers)
    take(itemsize, most if not tiled and fits(itemsize, most) else 2 * numbers)
    take(itemsize, *([numbers] if heads > 1 else []))
    if copies:
        take(4, *copies * [numbers], numbers, heads * n * high, heads * d * wide)
    return used, far
