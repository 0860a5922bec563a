"""How fast scratchnet is on this machine, and everybody else, measured side by side.

All compute the same thing, are checked for equality, and are timed in turns within one process.
:class:`Plan` says what is to be measured, and :class:`Bench` measures it. :func:`compare` trains
the same network here and in torch.nn. :func:`write_report` keeps what either found out.
"""

from scratchnet.bench.comparison import Comparison
from scratchnet.bench.experiment import DEFAULTS, compare, work
from scratchnet.bench.plan import SECTIONS, Plan
from scratchnet.bench.race import Progress
from scratchnet.bench.report import write_report
from scratchnet.bench.run import Bench, Result
from scratchnet.bench.tables import text

__all__ = [
    "DEFAULTS",
    "SECTIONS",
    "Bench",
    "Comparison",
    "Plan",
    "Progress",
    "Result",
    "compare",
    "text",
    "work",
    "write_report",
]
