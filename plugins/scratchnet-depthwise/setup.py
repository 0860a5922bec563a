"""Compiles csrc/*.cpp; torch is not needed for it, scratchnet's headers are."""

from setuptools import setup

try:
    from scratchnet.scaffold.building import kernels
except ImportError as error:
    raise SystemExit(
        f"{error}: install this where scratchnet and pybind11 are, with --no-build-isolation"
    ) from error

setup(**kernels("scratchnet_depthwise"))
