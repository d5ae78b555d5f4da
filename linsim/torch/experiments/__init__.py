"""The papers' claims on training, tried on small real data: ``linsim train filters`` and ``norms``."""

from .claims import Claim, interval
from .grid import EXPERIMENTS, run
from .summary import summary
from .table import write_table

__all__ = ["EXPERIMENTS", "Claim", "interval", "run", "summary", "write_table"]
