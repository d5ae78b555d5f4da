"""Which array library an input belongs to, and the few things libraries lack.

Functions here take arrays of any library that follows the array API standard
(NumPy, CuPy, array-api-strict) and answer in the same library.

Tensors of PyTorch and arrays of JAX are *guests*: linsim computes with NumPy in
their place, so that its compiled kernels serve them too (with CuPy for a tensor
on a CUDA device, where CuPy works), and what it answers goes back to where they
came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    "Home",
    "at_home",
    "cupy_status",
    "erfc",
    "exponent_of",
    "home_of",
    "hosted",
    "namespace",
    "native",
    "on_device_of",
    "plain",
    "power_of_two",
    "roundoff",
    "to_backend",
    "to_host",
]


def namespace(*arrays: Array) -> Any:
    """Return the array API namespace that all ``arrays`` share."""
    for x in arrays:  # asked hundreds of times a layer
        if type(x) is not np.ndarray:
            return array_api_compat.array_namespace(*arrays)
    return np  # from 2.1 on NumPy follows the standard by itself


# --- guests: PyTorch and JAX ----------------------------------------------------------------


@dataclass(frozen=True)
class Home:
    """Where a guest came from: its library, and the device it was on (None: the library's own choice)."""

    library: str
    device: Any

    def __str__(self) -> str:
        return f"{self.library} on {self.device}"


def home_of(value: Any) -> Home | None:
    """Return the home of a tensor of PyTorch, of an array of JAX, or of a list of such; else None."""
    if type(value) is np.ndarray:
        return None
    if array_api_compat.is_torch_array(value):
        return Home("torch", value.device)
    if array_api_compat.is_jax_array(value):
        try:
            devices = value.devices()
        except TypeError:  # traced: it is nowhere yet, and will be refused
            devices = set()
        return Home("jax", next(iter(devices)) if len(devices) == 1 else None)
    if isinstance(value, list | tuple) and value:
        return home_of(value[0])
    return None


def native(value: Any) -> Any:
    """Return a guest as the array that linsim computes with, float16 as such; else ``value`` itself.

    Gradients are dropped.  bfloat16 and float8, which NumPy lacks, become float32.
    A TypeError says that there are no numbers to be had (sparse, traced, without values).
    """
    home = home_of(value)
    if home is None:
        return value
    if isinstance(value, list | tuple):
        return [native(part) if home_of(part) else part for part in value]
    return _from_torch(value) if home.library == "torch" else _from_jax(value)


def _from_torch(value: Any) -> Array:
    import torch

    value = value.detach()
    if value.dtype.is_floating_point and value.dtype not in (torch.float16, torch.float32, torch.float64):
        value = value.to(torch.float32)
    if value.dtype == torch.complex32:
        value = value.to(torch.complex64)
    value = value.resolve_conj().resolve_neg()
    if value.is_cuda and cupy_status() is None:
        import cupy

        return cupy.from_dlpack(value)  # the same memory
    return value.cpu().contiguous().numpy()


def _from_jax(value: Any) -> np.ndarray[Any, Any]:
    return plain(np.asarray(value))


def plain(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return ``x`` with the floating dtypes that other packages add to NumPy as float32."""
    if x.dtype.isbuiltin == 1:  # NumPy's own; names are slow to ask for
        return x
    return x.astype(np.float32) if str(x.dtype).startswith(("bfloat16", "float8")) else x


def at_home(x: Any, home: Home | None) -> Any:
    """Bring arrays (also those in a mapping) to ``home``; what is no number stays where it is.

    Without ``jax_enable_x64`` JAX holds float64 as float32 and int64 as int32.
    """
    if home is None:
        return x
    if isinstance(x, Mapping):
        return {name: at_home(value, home) for name, value in x.items()}
    if array_api_compat.is_cupy_array(x) and home.library == "torch" and home.device.type == "cuda":
        import torch

        return torch.from_dlpack(x).to(home.device)
    if array_api_compat.is_cupy_array(x):
        x = x.get()
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biufc":
        return x
    if home.library == "jax":
        import jax

        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, as for JAX itself
            return jax.device_put(x.copy(), home.device)  # a view could change under what never should
    import torch

    # PyTorch takes neither memory that is read-only nor steps backwards
    usable = x.flags.c_contiguous and x.flags.writeable
    tensor = torch.from_numpy(x if usable else x.copy())
    if home.device.type == "mps" and tensor.dtype == torch.float64:
        tensor = tensor.to(torch.float32)  # all that such a device holds
    return tensor.to(home.device)


def hosted(x: Any) -> Any:
    """Return arrays (also those in a mapping) as NumPy's; what is no array stays what it is."""
    if isinstance(x, Mapping):
        return {name: hosted(value) for name, value in x.items()}
    return to_host(x) if array_api_compat.is_array_api_obj(x) and not isinstance(x, np.generic) else x


# 2**-p of significands of p + 1 bits
_ROUNDOFF = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def roundoff(value: Any) -> float:
    """Return the relative spacing of numbers in the dtype that an input came in; float64's for the rest."""
    if type(value) is np.ndarray and value.dtype == np.float64:
        return 2.0**-52
    while isinstance(value, list | tuple) and value:
        value = value[0]
    name = str(getattr(value, "dtype", "float64")).rpartition(".")[-1]
    if name.startswith("float8"):
        return 2.0**-2 if "e5m2" in name else 2.0**-3
    return _ROUNDOFF.get(name, 2.0**-52)


# --- what libraries lack ------------------------------------------------------------------


def on_device_of(value: Any, like: Array, dtype: Any = None) -> Array:
    """Return ``value`` (host array or scalar) in the library, and on the device, of ``like``."""
    if type(like) is np.ndarray:
        return np.asarray(value, dtype=dtype)
    xp = namespace(like)
    return xp.asarray(value, dtype=dtype, device=array_api_compat.device(like))


def to_host(x: Array) -> np.ndarray[Any, Any]:
    """Return ``x`` as a NumPy array: one transfer if it lives on a device."""
    if type(x) is np.ndarray:
        return x
    x = native(x)
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
        return f"no GPU answers CuPy ({_why(cupy, error)})"
    return None


def _why(cupy: Any, error: Exception) -> str:
    """One line on what CuPy raised; of a driver that is missing CUDA says that it is too old."""
    said = str(error).strip() or "no reason given"
    if "InsufficientDriver" not in said:
        return f"{type(error).__name__}: {said.splitlines()[0]}"
    driver, needed = (
        f"{version // 1000}.{version % 1000 // 10}" if version else ""
        for version in (cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion())
    )
    if not driver:
        return "no NVIDIA driver is installed"
    return f"the driver is of CUDA {driver}, CuPy of {needed}"


def to_backend(x: Array, backend: str | None) -> Array:
    """Move ``x`` to ``backend`` ("numpy" or "cupy"); None leaves it where it is."""
    if backend is None:
        return x
    if backend == "numpy":
        return to_host(x)
    reason = cupy_status()
    if reason is not None:
        from ._cuda.remedies import remedy

        raise BackendError(
            f"backend: found 'cupy', but {reason}; expected a GPU that CuPy can use. "
            f"Leave backend out to compute on the CPU, or {remedy(reason)}; linsim doctor checks all of it."
        )
    import cupy

    return cupy.asarray(native(x))


def smallest(x: Array) -> float:
    """The smallest entry; for NumPy at a third of the cost of the function, which small arrays feel."""
    return float(np.minimum.reduce(x, axis=None) if type(x) is np.ndarray else namespace(x).min(x))


def biggest(x: Array) -> float:
    """The largest entry."""
    return float(np.maximum.reduce(x, axis=None) if type(x) is np.ndarray else namespace(x).max(x))


def squares(x: Array) -> Array:
    """Sums of the squares of rows, (..., n) of (..., n, d)."""
    return np.vecdot(x, x) if type(x) is np.ndarray else namespace(x).linalg.vecdot(x, x)


def power_of_two(exponent: Array) -> Array:
    """Return 2**exponent exactly, for integer-valued float64 ``exponent`` <= 1023.

    Underflows to 0 far below -1074, and passes -infinity as 0.
    """
    xp = namespace(exponent)
    exponent = xp.minimum(xp.maximum(exponent, -1100.0), 1023.0)
    if xp is np:  # asked dozens of times a layer, for few numbers
        return np.ldexp(1.0, exponent.astype(np.int32))
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
