"""Depthwise convolution for scratchnet, with its own C++ kernel."""

from scratchnet_depthwise.layer import DepthwiseConv2d

__all__ = ["DepthwiseConv2d"]
