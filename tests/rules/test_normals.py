"""Normal numbers of a key and a counter: the law, the tails, the errors, and the same bits every way."""

import os
import subprocess
import sys

import numpy as np
import pytest
from mpmath import mp
from scipy import stats

from linsim import _draws, _kernels
from linsim._kernels import box_muller

KEYS = np.array([1, 2**63 + 5, 2**64 - 1], dtype=np.uint64)
FRACTION = 2**52 - 1

# the known answers that come with the generator (Random123, kat_vectors, philox4x32 10)
KNOWN = [
    (0, 0, 0, (0xE169C58D6627E8D5, 0x9B00DBD8BC57AC4C)),
    (2**64 - 1, 2**64 - 1, 2**64 - 1, (0x41C83B0E408F276D, 0x6D5451FDA20BC7C6)),
    (0x299F31D0A4093822, 0x85A308D3243F6A88, 0x0370734413198A2E, (0x94FDCCEBD16CFE09, 0x24126EA15001E420)),
]


def numbers(count, key=7, stream=9, dtype="float64"):
    out = np.empty((1, count), dtype=dtype)
    box_muller.fill_normals(np.array([key], dtype=np.uint64), stream, np.ones(1), out)
    return out[0]


def test_counters_give_the_known_answers():
    key, counter, stream = (np.array(words, dtype=np.uint64) for words in list(zip(*KNOWN, strict=True))[:3])
    found = np.stack(box_muller.philox(key, counter, stream), axis=1)
    np.testing.assert_array_equal(found, np.array([known for *_, known in KNOWN], dtype=np.uint64))


def test_the_words_are_those_of_the_plain_rounds():
    """Philox as Salmon et al. write it, in whole numbers of Python."""

    def plain(key, counter, stream):
        k0, k1 = key % 2**32, key >> 32
        x = [counter % 2**32, counter >> 32, stream % 2**32, stream >> 32]
        for _ in range(10):
            p, q = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [(q >> 32) ^ x[1] ^ k0, q % 2**32, (p >> 32) ^ x[3] ^ k1, p % 2**32]
            k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
        return x[1] << 32 | x[0], x[3] << 32 | x[2]

    rng = np.random.default_rng(0)
    words = rng.integers(2**64, size=(3, 50), dtype=np.uint64)
    found = np.stack(box_muller.philox(*words), axis=1)
    np.testing.assert_array_equal(
        found, np.array([plain(*map(int, three)) for three in words.T], dtype=np.uint64)
    )


def exactly(one, two):
    """What two words stand for, to forty digits, and sine and cosine of its angle."""
    u = mp.mpf(float(one) * 2.0**-64 + 2.0**-65)
    x = (mp.mpf(two & FRACTION) + mp.mpf(1) / 2) / mp.mpf(2) ** 52 - mp.mpf(1) / 2
    sine, cosine = mp.sin(mp.pi * x / 2), mp.cos(mp.pi * x / 2)
    cosine = -cosine if two >> 63 else cosine
    first, second = (sine, cosine) if two >> 62 & 1 else (cosine, sine)
    radius = mp.sqrt(-2 * mp.log(u))
    return radius * first, radius * second


def edges():
    """Words at which a polynomial or a power of two ends, and words between them."""
    rng = np.random.default_rng(1)
    root = int(np.sqrt(0.5) * 2.0**64)
    ones = [
        0,
        1,
        2,
        3,
        2**11,
        2**52,
        2**53 - 1,
        2**63 - 1,
        2**63,
        2**63 + 2**11,
        2**64 - 2**13,
        2**64 - 2**12,
    ]
    ones += [root + k * 2**11 for k in (-2, -1, 0, 1, 2)] + [(root >> 20) + k for k in (-1, 0, 1)]
    ones += [int(x) for x in rng.integers(2**64, size=400, dtype=np.uint64)]
    ones += [int(x) >> int(k) for x, k in zip(ones[-400:], rng.integers(0, 64, 400), strict=True)]
    twos = [0, FRACTION, 2**51 - 1, 2**51, 2**62, 2**63 + FRACTION, 3 << 62, 2**62 + 2**51]
    twos += [int(x) for x in rng.integers(2**64, size=len(ones) - len(twos), dtype=np.uint64)]
    return ones, twos


def test_each_number_is_what_its_words_stand_for():
    ones, twos = edges()
    with mp.workdps(40):
        found = box_muller.normal_pair(np.array(ones, dtype=np.uint64), np.array(twos, dtype=np.uint64))
        for one, two, *pair in zip(ones, twos, *found, strict=True):
            for value, exact in zip(pair, exactly(one, two), strict=True):
                assert abs(value - exact) <= 6 * 2.0**-53 * abs(exact), (one, two, value)


def test_the_largest_and_the_smallest():
    words = np.array([0, 2**64 - 1], dtype=np.uint64)
    found = np.abs(box_muller.normal_pair(words, np.array([2**51, 2**51], dtype=np.uint64)))
    assert 9.49 < found.max() <= box_muller.MOST
    assert found.max(axis=0)[1] == 0  # u = 1 to rounding
    with mp.workdps(30):
        assert mp.sqrt(130 * mp.log(2)) * (1 + mp.mpf(2) ** -49) < box_muller.MOST


def law(x):
    """Moments, the distribution up to where the sample has ten numbers, and beyond 3 deviations, by side."""
    count = x.size
    for power, (mean, deviation) in enumerate([(0, 1), (1, 2), (0, 15), (3, 96), (0, 945), (15, 10170)], 1):
        assert abs((x**power).mean() - mean) < 5 * np.sqrt(deviation / count), power
    assert stats.kstest(x, "norm").pvalue > 1e-4
    edge = 0.5
    while stats.norm.sf(edge) * count > 10:
        expected = stats.norm.sf(edge) * count
        for side in (x > edge, x < -edge):
            assert abs(np.count_nonzero(side) - expected) < 5 * np.sqrt(expected), edge
        edge += 0.5
    for far in (1, 2, 3, 4):  # of a pair, of a counter and the next
        assert abs(np.mean(x[far:] * x[:-far])) < 5 / np.sqrt(count)
        assert abs(np.mean(x[far:] ** 2 * x[:-far] ** 2) - 1) < 5 * np.sqrt(8 / count)


def test_the_law():
    law(numbers(500_000))


def test_the_law_is_told_apart_from_what_is_nearly_it():
    with pytest.raises(AssertionError):
        law(1.01 * numbers(500_000))
    with pytest.raises(AssertionError):
        law(stats.norm.ppf(stats.t.cdf(numbers(500_000), 40)))


@pytest.mark.full
def test_the_law_of_many():
    for key in range(8):
        law(numbers(20_000_000, key=key))


def test_the_tails_are_right_beyond_eight_deviations():
    """A share of exp(-r^2 / 2) of all words has a radius beyond r, to a few units of 2^-64."""
    for r in (4.0, 6.0, 8.0, 9.0):
        with mp.workdps(40):
            edge = int(mp.exp(-(mp.mpf(r) ** 2) / 2) * 2**64)
        words = np.array([max(edge - 2, 0), edge + 2], dtype=np.uint64)
        a, b = box_muller.normal_pair(words, np.array([2**40, 2**40], dtype=np.uint64))
        inside = np.hypot(a, b)
        # a unit of u moves the radius by 2^-64 / (u r), by as little as that its place is known
        room = 2.0**-64 * 4 / (np.exp(-(r**2) / 2) * r) + 2.0**-49
        assert np.all(np.abs(inside - r) < room)
        assert inside[0] >= inside[1]


def test_no_number_depends_on_how_many_there_are():
    whole = numbers(5000)
    for count in (1, 2, 3, 15, 16, 17, 31, 33, 4097):
        np.testing.assert_array_equal(numbers(count), whole[:count])


def test_streams_and_keys_are_independent():
    x = [numbers(20_000, key, stream) for key in (0, 1, 2**32, 2**63) for stream in (0, 1, 2**8, 2**32)]
    correlations = np.corrcoef(x) - np.eye(len(x))
    assert np.abs(correlations).max() < 5.5 / np.sqrt(20_000)


@pytest.mark.skipif(not _kernels.importable(), reason="numba cannot be imported")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("width", [1, 7, 16, 100, 1025, 9000])
def test_compiled_ones_are_the_same(width, dtype):
    from linsim._kernels.normals import fill_normals

    scales = np.array([1.0, 1e-3, 1e39])
    expected, found = (np.empty((3, width), dtype) for _ in range(2))
    with np.errstate(over="ignore"):
        box_muller.fill_normals(KEYS, 2**40 + 3, scales, expected)
    fill_normals(_kernels.frozen(KEYS), 2**40 + 3, _kernels.frozen(scales), found)
    np.testing.assert_array_equal(found, expected)


SHOWN = """
import hashlib, numpy as np
from linsim import _draws
keys = np.arange(3, dtype=np.uint64)
x = [_draws.normals(keys, 2, "up", (33, 32), dtype) for dtype in ("float64", "float32")]
print([hashlib.sha256(part.tobytes()).hexdigest() for part in x])
"""


@pytest.mark.skipif(not _kernels.importable(), reason="numba cannot be imported")
@pytest.mark.parametrize(
    "surroundings",
    [{"LINSIM_NUMBA": "0"}, {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": ""}],
    ids=["without Numba", "for the plainest processor"],
)
def test_every_way_gives_the_same_bits(surroundings, tmp_path):
    if "NUMBA_CACHE_DIR" in surroundings:
        surroundings = {**surroundings, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN],
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    keys = np.arange(3, dtype=np.uint64)
    own = [_draws.normals(keys, 2, "up", (33, 32), dtype) for dtype in ("float64", "float32")]
    import hashlib

    assert done.stdout.strip() == str([hashlib.sha256(part.tobytes()).hexdigest() for part in own])
