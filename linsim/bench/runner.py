"""Time linsim and its peers in turn, and hold their values against each other.

Each peer works in a process of its own (:mod:`linsim.bench.worker`), on the same problem.  In a workload,
each runs once to warm up (its time, with imports and compilation, is reported apart), then all run
in turn, one repeat each, so that what else the machine does hits all alike; reported are medians and
ranges.  Then each computes the same few systems, and their values are compared.

Agreement is the largest |peer - linsim| / max(1, |linsim|) over systems and recorded layers; HFC/LFC is
compared as an angle, arctan(HFC/LFC), because a ratio beyond 1e16 is rounding in every peer.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from linsim import checks
from linsim import progress as progress_bar
from linsim.errors import InvalidValueError, LinsimError, MissingExtraError

from . import machine
from .machine import Machine
from .peers import LINSIM, PEERS, Peer, installed, own, version
from .session import WORKER, PeerFailure, Session
from .workloads import QUICK, TOLERANCE, WORKLOADS, Floor, Part, Workload, as_json, floor

__all__ = ["TOLERANCE", "Agreement", "Entry", "Report", "Result", "choose_peers", "compare", "run"]

HostArray = np.ndarray[Any, Any]


# Threads of a pool look for more work for a while before they sleep; they shall not meet the next run
_PAUSE = 0.1


@dataclass(frozen=True)
class Agreement:
    """How far the values of a metric are from linsim's.

    Attributes
    ----------
    difference : float
        The largest (see the module's docstring); infinite where linsim has a value and the peer has none.
    compared, unmeasured : int
        Values that were compared, and those that linsim left out as below its rounding (NaN).
    """

    difference: float
    compared: int
    unmeasured: int


@dataclass(frozen=True)
class Entry:
    """One line of a workload: a peer, or linsim in another precision or at another depth.

    Attributes
    ----------
    peer, label, version : str
    status : {"ok", "failed", "not installed"}
    seconds : tuple of float
        One for each repeat, scaled to the whole workload.
    first : float, optional
        The warm-up, with imports and compilation; not scaled.
    scale : float
        By what the times of a part were multiplied; 1 where all of it ran.
    dtype : str
    depth : int
    method, reason, error : str
        Which of linsim's engines ran and why; why the entry failed.
    agreement : mapping of str to Agreement
        By metric; empty where nothing was compared.
    """

    peer: str
    label: str
    version: str = ""
    status: str = "ok"
    seconds: tuple[float, ...] = ()
    first: float | None = None
    scale: float = 1.0
    dtype: str = "float64"
    depth: int = 0
    method: str = ""
    reason: str = ""
    error: str = ""
    agreement: Mapping[str, Agreement] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median time; NaN where there is none."""
        return float(np.median(self.seconds)) if self.seconds else float("nan")

    @property
    def disagrees(self) -> bool:
        """Whether some value is further from linsim's than rounding explains."""
        return any(not a.difference <= TOLERANCE[self.dtype] for a in self.agreement.values())


@dataclass(frozen=True)
class Result:
    """A workload, its floor, and one entry for each line; the first is linsim's."""

    workload: Workload
    floor: Floor
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Report:
    """Everything that was measured."""

    machine: Machine
    repeats: int
    quick: bool
    results: tuple[Result, ...]

    @property
    def sound(self) -> bool:
        """Whether linsim ran everywhere and nobody's values contradict its."""
        entries = [entry for result in self.results for entry in result.entries]
        failed = any(entry.peer == LINSIM.name and entry.status != "ok" for entry in entries)
        return not failed and not any(entry.disagrees for entry in entries)


@dataclass(frozen=True)
class _Line:
    """What to run for an entry."""

    peer: Peer
    label: str
    workload: Workload  # linsim also runs deeper ones than the peers
    part: Part
    dtype: str = "float64"
    comparable: bool = True

    def request(self) -> dict[str, Any]:
        return {
            "workload": as_json(self.workload),
            "make": "timed",
            "options": {"part": asdict(self.part), "dtype": self.dtype},
        }

    def check(self, path: Path) -> dict[str, Any]:
        return {
            "workload": as_json(self.workload),
            "make": "checked",
            "options": {"dtype": self.dtype},
            "save": str(path),
        }


def _lines(workload: Workload, peers: Sequence[Peer]) -> list[_Line]:
    lines = [_Line(LINSIM, LINSIM.label, workload, Part())]
    if workload.single:
        lines.append(_Line(LINSIM, "linsim, float32", workload, Part(), dtype="float32"))
    if workload.deeper is not None:
        deeper = replace(workload, depth=workload.deeper)
        label = f"linsim, to layer {workload.deeper:.0e}".replace("e+0", "e")
        lines.append(_Line(LINSIM, label, deeper, Part(), comparable=False))
    for peer in peers:
        lines.append(_Line(peer, peer.label, workload, workload.looped if peer.loops else workload.batched))
    return lines


def compare(
    values: Mapping[str, HostArray], reference: Mapping[str, HostArray], *, abstains: bool = False
) -> dict[str, Agreement]:
    """Return how far ``values`` are from ``reference``, metric by metric.

    NaN in the reference, or in values that may also abstain, is left out.

    >>> compare({"cosine": np.array([0.5, 1.0])}, {"cosine": np.array([0.5, np.nan])})
    {'cosine': Agreement(difference=0.0, compared=1, unmeasured=1)}
    """
    found = {}
    for name, expected in reference.items():
        value = np.asarray(values[name], dtype=float)
        if value.shape != expected.shape:
            raise PeerFailure(
                f"{name}: found shape {value.shape}; expected (systems, layers) {expected.shape}"
            )
        if name == "hfc_lfc":
            value, expected = np.arctan(value), np.arctan(expected)
        known = ~np.isnan(expected) & ~(abstains & np.isnan(value))
        with np.errstate(invalid="ignore"):
            gap = np.abs(value - expected)[known] / np.maximum(1, np.abs(expected[known]))
        # a value that a peer lacks is as wrong as can be
        worst = float(np.max(np.where(np.isnan(gap), np.inf, gap), initial=0.0))
        found[name] = Agreement(worst, int(known.sum()), int((~known).sum()))
    return found


def choose_peers(names: Iterable[str] | None) -> list[Peer]:
    """Return the peers of ``names``, all where None.

    ``module:function`` is one of the user's own; "linsim", which is always timed, stands for no other.

    Raises
    ------
    InvalidValueError
        For a name that is none.
    MissingExtraError
        For a peer that was asked for by name and is not installed.
    """
    if names is None:
        return list(PEERS.values())
    chosen = []
    for name in names:
        if ":" in name:
            module, _, function = name.partition(":")
            if not module or not function.isidentifier():
                raise checks.refusal(
                    InvalidValueError, "--peers", repr(name), "module:function", "Write --peers yours:run."
                )
            chosen.append(own(name))
            continue
        if checks.choice(name, "--peers", (*PEERS, LINSIM.name)) == LINSIM.name:
            continue  # it is there anyway
        peer = PEERS[name]
        if not installed(peer.needs):
            raise checks.refusal(
                MissingExtraError,
                "--peers",
                f"{name!r}, whose package {peer.needs} is not installed",
                "installed peers",
                f"Install it (pip install {peer.needs}), or leave --peers out to time those that are.",
            )
        chosen.append(peer)
    return list(dict.fromkeys(chosen))


def run(
    workloads: Iterable[str] | None = None,
    *,
    peers: Iterable[str] | None = None,
    repeats: int = 5,
    threads: int | None = None,
    quick: bool = False,
    limit: float = 300.0,
    progress: bool = True,
) -> Report:
    """Time workloads.

    Parameters
    ----------
    workloads : iterable of str, optional
        Names from :data:`~linsim.bench.workloads.WORKLOADS`; None: all.
    peers : iterable of str, optional
        As for :func:`choose_peers`; None: all that are installed.
    repeats : int
        Runs of each peer behind the warm-up.
    threads : int, optional
        Threads, and cores, of each process; None: as many as there are.
    quick : bool
        Small sizes that test the machinery and say nothing about speed.
    limit : float
        Seconds after which a run is given up, and its peer fails.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    Report

    Raises
    ------
    InvalidValueError, InvalidTypeError, MissingExtraError
        Before anything is timed; the message names the option of ``linsim bench``.
    """
    known = QUICK if quick else WORKLOADS
    chosen = [
        known[checks.choice(name, "--workload", known)]
        for name in dict.fromkeys(known if workloads is None else workloads)
    ]
    wanted = choose_peers(peers)
    repeats, threads, limit = choose_numbers(repeats, threads, limit)
    here = measured_machine(threads, quick)
    steps = sum(len(_lines(workload, wanted)) for workload in chosen) * (repeats + 2)
    with (
        Session(threads, limit) as session,
        tempfile.TemporaryDirectory() as folder,
        progress_bar.bar(total=steps, shown=progress, desc="linsim bench", leave=False) as bar,
    ):
        pause = 0.0 if quick else _PAUSE
        results = [_time(w, wanted, repeats, session, Path(folder), bar, pause) for w in chosen]
    return Report(here, repeats, quick, tuple(results))


def measured_machine(threads: int, quick: bool) -> Machine:
    """Measure the rates of this machine in a process with this many threads."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with Session(threads, 120.0) as session:
        try:
            rates = session.ask(
                "linsim.bench.machine:measure", {"machine": {"threads": threads, "quick": quick}}
            )
        except PeerFailure as failure:
            raise LinsimError(
                f"bench: found a worker process that failed ({failure}); expected one that answers. "
                f"See whether {sys.executable} {WORKER} starts."
            ) from failure
    return Machine(machine.cpu_name(), machine.cores(), threads, load=load, **rates)


def choose_numbers(repeats: int, threads: int | None, limit: float) -> tuple[int, int, float]:
    """Return repeats, threads (None: all cores) and the limit on a run, each checked."""
    cores = machine.cores()
    threads = cores if threads is None else checks.count(threads, "--threads", minimum=1)
    if threads > cores:
        raise checks.refusal(
            InvalidValueError,
            "--threads",
            threads,
            f"at most {cores}, the cores there are",
            "Leave it out to use all.",
        )
    return (
        checks.count(repeats, "--repeats", minimum=1),
        threads,
        checks.number(limit, "--limit", low=0, high=1e6, low_open=True),
    )


def _time(
    workload: Workload,
    peers: Sequence[Peer],
    repeats: int,
    session: Session,
    folder: Path,
    bar: Any,
    pause: float,
) -> Result:
    lines = _lines(workload, peers)
    entries = [
        Entry(
            line.peer.name,
            line.label,
            version(line.peer.needs),
            scale=workload.scale(line.part),
            dtype=line.dtype,
            depth=line.workload.depth,
        )
        for line in lines
    ]
    reference: dict[str, HostArray] = {}

    def attempt(index: int, work: Any) -> None:
        """Do some work for an entry that has not failed; if it fails, so has the entry."""
        bar.set_postfix_str(f"{workload.name} {lines[index].label}")
        if entries[index].status == "ok":
            try:
                entries[index] = work(lines[index], entries[index])
            except PeerFailure as failure:
                entries[index] = replace(entries[index], status="failed", seconds=(), error=str(failure))
        bar.update()

    def begin(line: _Line, entry: Entry) -> Entry:
        if not installed(line.peer.needs):
            return replace(entry, status="not installed")
        answer = session.ask(line.peer.target, line.request(), line.label)
        method, reason = answer.get("method", ""), answer.get("reason", "")
        return replace(entry, first=answer["seconds"], method=method, reason=reason)

    def repeat(line: _Line, entry: Entry) -> Entry:
        time.sleep(pause)
        answer = session.ask(line.peer.target, line.request() | {"average": True}, line.label)
        return replace(entry, seconds=(*entry.seconds, answer["seconds"] * entry.scale))

    def agree(line: _Line, entry: Entry) -> Entry:
        if not line.comparable:
            return entry
        return replace(entry, agreement=_agreement(line, reference, session, folder))

    for work in (begin, *[repeat] * repeats, agree):
        for index in range(len(lines)):
            attempt(index, work)
    return Result(workload, floor(workload), tuple(entries))


def _agreement(
    line: _Line, reference: dict[str, HostArray], session: Session, folder: Path
) -> dict[str, Agreement]:
    """Run the shared systems; linsim's own values, which come first, are what the others are held against."""
    path = folder / "values.npz"
    session.ask(line.peer.target, line.check(path), line.label)
    with np.load(path) as saved:
        values = dict(saved)
    missing = set(line.workload.metrics) - set(values)
    if missing:
        raise PeerFailure(f"found no {', '.join(sorted(missing))} among its values")
    if line.peer is LINSIM and line.dtype == "float64":
        reference.update(values)
        return {}
    # NaN is how linsim says that rounding hides a value: no contradiction
    return compare(values, reference, abstains=line.peer is LINSIM)
