"""Which array library an input belongs to, and the few things libraries lack.

Functions here take arrays of any library that follows the array API standard
(NumPy, CuPy, array-api-strict) and answer in the same library.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import array_api_compat
import numpy as np

from .errors import BackendError

# Arrays of many libraries pass through one code path; their common type has no
# name that a type checker could hold on to.
Array = Any

__all__ = [
    "Array",
    "cupy_status",
    "erfc",
    "exponent_of",
    "namespace",
    "on_device_of",
    "power_of_two",
    "to_backend",
    "to_host",
]


def namespace(*arrays: Array) -> Any:
    """Return the array API namespace that all ``arrays`` share."""
    if all(type(x) is np.ndarray for x in arrays):  # asked hundreds of times a layer
        return np  # from 2.1 on NumPy follows the standard by itself
    return array_api_compat.array_namespace(*arrays)


def on_device_of(value: Any, like: Array, dtype: Any = None) -> Array:
    """Return ``value`` (host array or scalar) in the library, and on the device, of ``like``."""
    xp = namespace(like)
    return xp.asarray(value, dtype=dtype, device=array_api_compat.device(like))


def to_host(x: Array) -> np.ndarray[Any, Any]:
    """Return ``x`` as a NumPy array: one transfer if it lives on a device."""
    if array_api_compat.is_cupy_array(x):
        return np.asarray(x.get())
    if array_api_compat.is_numpy_array(x):
        return np.asarray(x)
    # Other libraries (array-api-strict) hand over through DLPack on their host
    # device only, so ask for the copy explicitly.
    xp = namespace(x)
    return np.from_dlpack(xp.asarray(x, device=xp.Device("CPU_DEVICE"), copy=True)).copy()


@cache
def cupy_status() -> str | None:
    """Return None if CuPy can allocate on a GPU, else the reason why not.

    "Importable" is not "usable": CuPy imports without a driver and fails at
    the first array, so the probe allocates, once.
    """
    try:
        import cupy
    except ImportError:
        return "CuPy is not installed"
    try:
        cupy.zeros(1).get()
    except Exception as error:  # CuPy raises driver errors of many classes
        return f"CuPy is installed but no GPU answers ({type(error).__name__}: {error})"
    return None


def to_backend(x: Array, backend: str | None) -> Array:
    """Move ``x`` to ``backend`` ("numpy" or "cupy"); None leaves it where it is."""
    if backend is None:
        return x
    if backend == "numpy":
        return to_host(x)
    reason = cupy_status()
    if reason is not None:
        raise BackendError(
            f"backend: found 'cupy', but {reason}; expected a usable CUDA GPU. "
            "Install 'linsim[cuda12]' or 'linsim[cuda13]' on a machine with a driver, "
            "or leave backend out to compute on the CPU."
        )
    import cupy

    return cupy.asarray(x)


def power_of_two(exponent: Array) -> Array:
    """Return 2**exponent exactly, for integer-valued float64 ``exponent`` <= 1023.

    Underflows to 0 far below -1074, and passes -infinity as 0.
    """
    xp = namespace(exponent)
    exponent = xp.minimum(xp.maximum(exponent, -1100.0), 1023.0)
    if hasattr(xp, "ldexp"):  # NumPy and CuPy; exp2 and pow promise no exactness
        return xp.ldexp(xp.ones_like(exponent), xp.astype(exponent, xp.int32))
    return xp.pow(xp.asarray(2.0, dtype=exponent.dtype, device=array_api_compat.device(exponent)), exponent)


def exponent_of(x: Array) -> Array:
    """Return the integer-valued float64 e with 2**e <= x < 2**(e+1) up to rounding; -inf at 0."""
    xp = namespace(x)
    x = xp.astype(x, xp.float64, copy=False)
    positive = x > 0
    e = xp.floor(xp.log2(xp.where(positive, x, xp.ones_like(x))))
    return xp.where(positive, e, xp.full_like(e, -xp.inf))


def erfc(x: Array) -> Array:
    """1 - error function, which the array API lacks; libraries without one go through the host."""
    if array_api_compat.is_cupy_array(x):
        from cupyx.scipy.special import erfc as on_device

        return on_device(x)
    from scipy.special import erfc as on_host

    if array_api_compat.is_numpy_array(x):
        return on_host(x)
    return on_device_of(on_host(to_host(x)), x)
