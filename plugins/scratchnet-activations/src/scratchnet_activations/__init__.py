"""Activations that torch.nn lacks, for scratchnet, with gradients by hand."""

from scratchnet_activations.plain import Sine, SquaredReLU
from scratchnet_activations.snake import Snake

__all__ = ["Sine", "Snake", "SquaredReLU"]
