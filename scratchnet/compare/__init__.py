"""The same network twice, side by side: hand-written gradients here, torch.nn with autograd there.

Both start from the same weights and see the same batches in the same order. ``compare`` trains
them, times them step by step in turns, and shows how far their numbers agree.
"""

from scratchnet.compare.experiment import DEFAULTS, compare, work
from scratchnet.compare.race import Progress
from scratchnet.compare.report import write_report
from scratchnet.compare.result import Comparison

__all__ = ["DEFAULTS", "Comparison", "Progress", "compare", "work", "write_report"]
