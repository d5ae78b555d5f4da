"""What a layer should take on a GPU that nobody has measured yet: from operations, bytes, and launches.

A prediction, to be confronted with the first measurement; :data:`H100` holds every number that it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass

from linsim import gpu

__all__ = ["H100", "Card", "blocks_of", "layer_seconds", "peer_seconds", "record_seconds", "table"]

# blocks that find their registers on a multiprocessor
_BY_REGISTERS = 3
# barriers that a layer passes in the kernel, of the state and of three shadows, and clocks between two
_PHASES, _PHASE = 48, 220
# of singular values: sweeps until no pair turns (9 to 13, counted for states of n = 32 after 1 to 64 layers),
# clocks of a round (dot products, one quotient, a barrier)
_SWEEPS, _ROUND = 11, 650
# other barriers of a recorded state, and clocks between two
_MEASURED, _MEASURE = 70, 260
# calls of whole arrays for a layer and for a recorded state, and how often a layer reads or writes something
# of the size of states and errors beside its products: counted on a CuPy that only pretends
_CALLS, _CALLS_OF_RECORD, _PASSES = 380, 500, 16.5
# rows of two columns that a thread works out at a time: operands a warp fetches for 256 products
_FETCHED = {8: 8, 4: 6}


@dataclass(frozen=True)
class Card:
    """What is assumed of a GPU.

    Attributes
    ----------
    processors, clock : number of multiprocessors, and their clocks per second
    shared : bytes of shared memory of a multiprocessor; a block may have 1 KiB less
    products_64, products_32 : fused products and sums per clock of a multiprocessor
    gemm_64, gemm_32 : flops per second of large matrix products, of float64 and float32
    memory, cache : bytes per second, of the memory and of the cache that all multiprocessors share
    launch, small : seconds of a call of whole arrays, as Python and driver take them, and of the device for
        one that has next to nothing to do
    """

    processors: int
    clock: float
    shared: int
    products_64: int
    products_32: int
    gemm_64: float
    gemm_32: float
    memory: float
    cache: float
    launch: float
    small: float


#: an H100 SXM: rates of its data sheet, GEMM at nine tenths of them (tensor cores); the last three: guesses
H100 = Card(132, 1.7e9, 228 * 1024, 64, 128, 0.9 * 67e12, 0.9 * 67e12, 3.35e12, 5.5e12, 8e-6, 3e-6)


def blocks_of(n: int, d: int, card: Card = H100) -> int:
    """Return how many systems a multiprocessor holds at a time, float64; 0 where the kernel takes none.

    128 threads of at most 168 registers each leave room for three.

    >>> blocks_of(32, 32), blocks_of(64, 64), blocks_of(256, 256)
    (3, 1, 0)
    """
    if max(n, d) > gpu.LARGEST:
        return 0
    needed = gpu.room(n, d, 8, 3, limit=card.shared - 1024)[0] + 1024
    return min(_BY_REGISTERS, card.shared // needed)


def layer_seconds(n: int, d: int, systems: int, card: Card = H100) -> tuple[float, float]:
    """Return seconds of a layer of all systems together: by the kernel (NaN where it takes none), by arrays.

    The kernel: products of the state and of three shadows, bounded by operands from shared memory, or by the
    chain of barriers, which as many blocks hide as fit.  Whole arrays: products at the rate of GEMM, passes
    over the states, and calls that have little to do; or Python, where that takes longer: it runs ahead.
    """
    products = float(n * d * (n + d))
    fetched = products / 256 * (_FETCHED[8] + 3 * _FETCHED[4])
    arithmetic = products / card.products_64 + 3 * products / card.products_32
    if max(n, d) > 64:  # matrices come through the cache: once for each tile of 32, and for a dozen passes
        moved = (2 * products / 32 + 12.0 * n * d) * (8 + 3 * 4)
        fetched += moved * card.processors * card.clock / card.cache
    blocks = blocks_of(n, d, card)
    kernel = float("nan")
    if blocks:
        chain = max(fetched, arithmetic) + _PHASES * _PHASE
        kernel = _waves(systems, blocks, card) * max(max(fetched, arithmetic) * blocks, chain) / card.clock
    flops = 2 * products * systems
    passes = _PASSES * systems * n * d * (8 + 3 * 4) / card.memory
    device = flops / card.gemm_64 + 3 * flops / card.gemm_32 + passes + _CALLS * card.small
    return kernel, max(device, _CALLS * card.launch)


def record_seconds(n: int, d: int, systems: int, card: Card = H100) -> tuple[float, float]:
    """Return seconds of measuring all metrics of a layer of all systems, likewise.

    Singular values by arrays are cuSOLVER's, at the pace of its batched Jacobi: taken to be the kernel's own
    up to 32 x 32, and one matrix after the other beyond, 1 ms and 1e-9 s for each n d min(n, d).
    """
    jacobi = _jacobi(n, d)
    clocks = jacobi + _MEASURED * _MEASURE + n * n * d / 16
    blocks = blocks_of(n, d, card)
    kernel = _waves(systems, blocks, card) * clocks / card.clock if blocks else float("nan")
    passes = 200.0 * systems * n * d * 8 / card.memory
    return kernel, _values(n, d, systems, card) + passes + _CALLS_OF_RECORD * card.launch


def peer_seconds(n: int, d: int, systems: int, card: Card = H100) -> float:
    """Return seconds of a layer of all systems, and of its singular values, by torch.bmm and svdvals.

    float64, and nothing else: no metric of these values, no error, no part kept apart.
    """
    return 4.0 * n * d * (n + d) / 2 * systems / card.gemm_64 + _values(n, d, systems, card)


def _jacobi(n: int, d: int) -> float:
    """Clocks of the singular values of one matrix."""
    least = min(n, d)
    return _SWEEPS * max(least - 1, 0) * _ROUND * max(1.0, least * max(n, d) / 2048)


def _values(n: int, d: int, systems: int, card: Card) -> float:
    """Seconds of the singular values of all systems by cuSOLVER."""
    if max(n, d) <= 32:
        return -(-systems // (card.processors * 4)) * _jacobi(n, d) / card.clock
    return systems * (1e-3 + 1e-9 * n * d * min(n, d))


def _waves(systems: int, blocks: int, card: Card) -> int:
    return -(-systems // (blocks * card.processors))


def table(card: Card = H100) -> str:
    """Return the predictions as a table: microseconds of a layer, and of a recorded one."""
    lines = ["n = d  systems  blocks  layer: kernel    arrays  record: kernel     arrays   (microseconds)"]
    for n in (16, 32, 64, 128, 256, 512, 1024):
        for systems in (1, 64, 4096) if n <= 64 else (1, 64):
            layer, record = layer_seconds(n, n, systems, card), record_seconds(n, n, systems, card)
            kernel, arrays, measured, by_arrays = (
                "-" if x != x else f"{1e6 * x:,.0f}" for x in (*layer, *record)
            )
            lines.append(
                f"{n:5}  {systems:7}  {blocks_of(n, n, card) or '-':>6}  {kernel:>13}  {arrays:>8}"
                f"  {measured:>14}  {by_arrays:>9}"
            )
    return "\n".join(lines)
