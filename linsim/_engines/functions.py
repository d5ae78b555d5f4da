"""Layer by layer through a rule that is a function of the tokens and nothing more is known of."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from .._cloud import Cloud, copies_for, gather, regroup
from .._cloud_state import state_of
from .._cloud_tamed import tamed
from .._namespace import namespace, on_device_of
from .._parallel import pieces
from .._recorded import Recorded, record
from .._split import KINDS, row_split
from .._state import scaled
from .hooks import hooked
from .protocol import Job
from .task import Task, eps_of, go_on, placed, rounding, scale

__all__ = ["jobs"]


def jobs(task: Task) -> list[Job]:
    """Return the work; tokens are plain numbers within every layer, so gaps end at their rounding."""
    rule, xp, n, d = task.rule, namespace(task.start), task.n, task.d
    every = xp.broadcast_to(task.start, (task.size, n, d))

    def clouds(cloud: Cloud) -> Iterator[Cloud]:
        layer = 0
        for target in task.at:
            while layer < target:
                go_on(task.stop)
                cloud = hooked(cloud, functools.partial(rule.apply, layer=layer), layer)
                layer += 1
                cloud = tamed(regroup(cloud), loosen=True)
            yield cloud

    def run(part: slice) -> Recorded:
        begin = every[part, ...]
        split = placed(row_split([np.full((1, n, n), 1 / n)], d, eps_of(begin)), begin)
        half, top = scale(begin)
        cloud = gather(scaled(scaled(begin, half), -top - half), top)
        walked = (state_of(current, split) for current in clouds(cloud))
        zero = on_device_of(task.zero_until[:, :, None].astype(np.float64), begin)
        zero = zero if zero.shape[0] == 1 else zero[part, ...]
        error = rounding(begin, task.layers)
        tokens, keep = task.tokens_beside(begin, part), task.keep_states
        return record(walked, task.at, task.names, begin, zero, keep, "iterate", KINDS[0], error, tokens)

    # one call sees all of a user's systems
    parts = pieces(task.size, (1 + copies_for(d)) * 4 * n * d, task.start)
    return [Job(part, functools.partial(run, part)) for part in parts]
