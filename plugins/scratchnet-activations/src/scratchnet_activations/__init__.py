"""More activations for scratchnet: torch.nn's functions and arguments, gradients by hand."""

from scratchnet_activations.plain import GELU, LeakyReLU, SiLU, Softplus, Tanh
from scratchnet_activations.prelu import PReLU

__all__ = ["GELU", "LeakyReLU", "PReLU", "SiLU", "Softplus", "Tanh"]
