"""What a first example would pay for all later ones, paid before the clock of Hypothesis starts.

Hypothesis fails an example that takes more than 200 ms and passes when it is asked again.  The
first call of :func:`linsim.predict` or :func:`linsim.simulate` in a process imports libraries and loads
compiled kernels, and takes longer than that.
"""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import numpy as np

from ._hypothesis import hypothesis
from ._hypothesis import strategies as st

__all__ = ["ready", "settings"]

T = TypeVar("T")


def ready(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """Return the strategy; once it is used, linsim is loaded.

    Hypothesis looks into a deferred strategy before it draws from it for the first time, outside
    of what it times; not before, so that collecting tests costs nothing.
    """

    def loaded() -> st.SearchStrategy[T]:
        _load()
        return strategy

    return st.deferred(loaded)


@functools.cache
def _load() -> None:
    from .._compare import compare
    from ._system import System

    small = System(A=np.full((2, 2), 0.5), H=np.eye(1), x0=np.eye(2, 1))
    compare(small.law, small.run(8))
    if not hypothesis.currently_in_test_context():
        _let_hypothesis_read()


def _let_hypothesis_read() -> None:
    """Let Hypothesis do what it does once, early in a process.

    It parses the source of every module outside of site-packages for constants to try, and counts
    that as slow data: over a second where linsim itself is worked on.
    """

    @hypothesis.settings(
        max_examples=5,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(st.tuples(*[st.integers()] * 100))  # it reads when it tries one, a draw in twenty
    def nothing(numbers: tuple[int, ...]) -> None:
        pass

    nothing()


def settings(**options: Any) -> hypothesis.settings:
    """Return settings of Hypothesis for tests that simulate: no deadline, no complaint about slow data.

    How long a system takes depends on the machine and on what it shares it with, which is not what
    such a test is about.

    Parameters
    ----------
    **options
        Whatever ``hypothesis.settings`` takes by keyword, ``max_examples`` for one; what is given
        here counts.  All else is as in the profile that is in force.

    Returns
    -------
    hypothesis.settings
        To put above a test, below or above ``@given``.

    Raises
    ------
    hypothesis.errors.InvalidArgument
        For what Hypothesis refuses.

    Examples
    --------
    >>> from hypothesis import given
    >>> from linsim import testing
    >>> @testing.settings(max_examples=20)
    ... @given(testing.systems(mu="positive", lam="positive"))
    ... def test_tokens_become_alike(system):
    ...     assert system.generic_law.input_convergence
    >>> test_tokens_become_alike()
    """
    defaults: dict[str, Any] = {
        "deadline": None,
        "suppress_health_check": [hypothesis.HealthCheck.too_slow],
    }
    return hypothesis.settings(**(defaults | options))
