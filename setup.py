"""Compiles the kernels in csrc: see scratchnet/scaffold/building.py, which plugins use, too."""

import runpy
import shutil

from setuptools import setup

# For the kernels of plugins, and for a package that is installed.
shutil.copytree("csrc/core", "scratchnet/include/core", dirs_exist_ok=True)
# By its path: to import scratchnet is to import torch, which is not needed here.
setup(**runpy.run_path("scratchnet/scaffold/building.py")["kernels"]("scratchnet"))
