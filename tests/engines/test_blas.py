"""One BLAS thread, in whatever BLAS is loaded when."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from linsim._parallel import workers


def test_scipys_own_blas_is_limited_too():
    """SciPy is first imported inside a function that was promised one thread, as linsim's own do."""
    code = """
        import sys
        import numpy as np
        from linsim._blas import on_one_thread

        assert "scipy.linalg" not in sys.modules

        @on_one_thread
        def inside():
            import scipy.linalg
            from threadpoolctl import threadpool_info

            return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]

        print(inside())
        from threadpoolctl import threadpool_info
        print([one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"])
    """
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "2")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | threads,
        check=True,
    )
    inside, after = done.stdout.splitlines()
    assert set(inside) & set("0123456789") == {"1"}, inside
    # and given back: a BLAS has no more threads than there are processors
    assert set(after) & set("0123456789") == {str(min(2, workers()))}, after
