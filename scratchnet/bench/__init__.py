"""How fast scratchnet is on this machine, and everybody else, measured side by side.

Each section is a number of contests: scratchnet, torch and others compute the same thing, are
checked for equality, and are timed in turns within one process. :class:`Plan` says what is to be
measured, :class:`Bench` measures it, and :func:`write_report` keeps it.
"""

from scratchnet.bench.plan import SECTIONS, Plan
from scratchnet.bench.report import write_report
from scratchnet.bench.result import Result
from scratchnet.bench.run import Bench
from scratchnet.bench.tables import text

__all__ = ["SECTIONS", "Bench", "Plan", "Result", "text", "write_report"]
