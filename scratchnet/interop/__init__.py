"""To and from torch.nn: the same network with the same weights on the other side.

``from_torch`` gives a small torch.nn CNN scratchnet's kernels, ``to_torch`` gives a scratchnet
network autograd and all that builds on torch.nn, ``as_autograd`` puts one scratchnet layer inside
a torch.nn model.
"""

from scratchnet.interop.autograd import as_autograd
from scratchnet.interop.containers import TorchConcat, TorchResidual
from scratchnet.interop.exporting import to_torch
from scratchnet.interop.importing import from_torch

__all__ = ["TorchConcat", "TorchResidual", "as_autograd", "from_torch", "to_torch"]
