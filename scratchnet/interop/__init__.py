"""To and from torch.nn: the same network with the same weights on the other side.

``from_torch`` runs a small torch.nn CNN on scratchnet's kernels, ``to_torch`` gives a scratchnet
network autograd and everything that builds on torch.nn, ``as_autograd`` puts one scratchnet layer
into a torch.nn model.
"""

from scratchnet.interop.autograd import as_autograd
from scratchnet.interop.containers import TorchConcat, TorchResidual, TorchSwiGLU
from scratchnet.interop.exporting import to_torch
from scratchnet.interop.importing import from_torch

__all__ = ["TorchConcat", "TorchResidual", "TorchSwiGLU", "as_autograd", "from_torch", "to_torch"]
