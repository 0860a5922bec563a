"""Compiles the kernels: plain C++ without torch's headers, so that it takes a second."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "scratchnet_depthwise._kernels",
            ["csrc/depthwise.cpp"],
            extra_compile_args=["-std=c++17", "-O3"],
            optional=True,  # without a compiler the layer runs on scratchnet's backends
        )
    ]
)
