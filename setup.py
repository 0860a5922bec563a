"""Build the C++ extension ``scratchnet._C`` where that is possible, and record it where it is not.

A missing compiler or a missing torch never stops an installation: the package then runs on its
reference backend, and ``scratchnet/_build_info.json`` says why. ``SCRATCHNET_NO_EXTENSION=1``
leaves the extension out on purpose.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup  # before distutils, which it provides
from setuptools.command.build_ext import build_ext as plain_build_ext

# isort: split
from distutils.ccompiler import new_compiler
from distutils.sysconfig import customize_compiler

try:
    import torch
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError as error:
    torch = None
    BuildExtension = plain_build_ext
    NO_TORCH = f"torch could not be imported in the build environment ({error})"

ROOT = Path(__file__).parent.resolve()
X86 = platform.machine().lower() in ("x86_64", "amd64")

# No -march=native: a wheel must run elsewhere; the instruction set is chosen at run time. No
# -ffast-math: NaN and infinity must come out as in torch. No -std: torch chooses it. No debugging
# information, which Python's own flags ask for: it is four fifths of the file.
FLAGS = ["-O3", "-g0", "-fopenmp", "-fvisibility=hidden"]
KERNEL_FLAGS = ["-std=c++17", "-O3", "-g0", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast"]
if os.environ.get("SCRATCHNET_SANITIZE", "") not in ("", "0"):  # see `make sanitize`
    SANITIZE = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    FLAGS, KERNEL_FLAGS = FLAGS + SANITIZE, KERNEL_FLAGS + SANITIZE
    LINK_FLAGS = ["-fsanitize=address,undefined"]
else:
    LINK_FLAGS = []
ISA_FLAGS: dict[str, list[str]] = {"generic": []}
if X86:
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma"]
    ISA_FLAGS["avx512"] = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]
SOURCES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "csrc").glob("*.cpp"))


def compile_kernels(build_temp: str) -> list[str]:
    """Compile the kernels once per instruction set, without torch; return the object files."""

    def compile_one(item: tuple[str, list[str]]) -> list[str]:
        isa, flags = item
        compiler = new_compiler()
        customize_compiler(compiler)
        source = f"csrc/kernels/isa_{isa}.cpp"
        return compiler.compile(
            [source], output_dir=build_temp, extra_postargs=KERNEL_FLAGS + flags
        )

    with ThreadPoolExecutor() as pool:
        return [path for paths in pool.map(compile_one, ISA_FLAGS.items()) for path in paths]


class BuildOrRecord(BuildExtension):
    """Builds the extension if it can; in any case writes ``_build_info.json``."""

    def run(self) -> None:
        inplace = bool(self.inplace or getattr(self, "editable_mode", False))
        info: dict[str, Any] = {
            "compiled": False,
            "reason": None,
            "torch": getattr(torch, "__version__", None),
            "python": platform.python_version(),
            "compiler": None,
            "flags": FLAGS,
            "instruction_sets": {},
        }
        try:
            if os.environ.get("SCRATCHNET_NO_EXTENSION", "") not in ("", "0"):
                raise RuntimeError("SCRATCHNET_NO_EXTENSION is set")
            if torch is None:
                raise RuntimeError(NO_TORCH)
            if shutil.which(compiler_command()) is None:
                raise RuntimeError(f"no C++ compiler: {compiler_command()!r} was not found")
            super().run()
            info |= {
                "compiled": True,
                "compiler": compiler_version(),
                "instruction_sets": {isa: KERNEL_FLAGS + flags for isa, flags in ISA_FLAGS.items()},
            }
        except Exception as error:  # whatever a compiler or torch's build code raises
            info["reason"] = describe(error)
            print(
                f"scratchnet: installing WITHOUT the C++ kernels: {info['reason']}. Everything"
                " runs, more slowly, on the reference backend. With a C++ compiler (Debian:"
                " apt install g++) reinstall to get them.",
                file=sys.stderr,
            )
            self.extensions = []
            if inplace:  # what an earlier build left would contradict the record
                for stale in (ROOT / "scratchnet").glob("_C.*.so"):
                    stale.unlink()
        target = ROOT if inplace else Path(self.build_lib)
        record = target / "scratchnet" / "_build_info.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(info, indent=2) + "\n")

    def build_extension(self, ext: Extension) -> None:
        ext.extra_objects = [*ext.extra_objects, *compile_kernels(self.build_temp)]
        super().build_extension(ext)


def describe(error: Exception) -> str:
    """The error in one line."""
    return " ".join(str(error).split())[:500] or type(error).__name__


def compiler_command() -> str:
    """The C++ compiler: Python's own, or what the environment variable CXX names."""
    compiler = new_compiler()
    customize_compiler(compiler)
    command: str = compiler.compiler_cxx[0]
    return command


def compiler_version() -> str:
    """The first line of the compiler's own --version."""
    command = [compiler_command(), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]


def extension() -> Extension:
    """The extension, or without torch a stand-in, so that the build gets as far as the record."""
    arguments: dict[str, Any] = {
        "extra_compile_args": FLAGS,
        "extra_link_args": LINK_FLAGS,
    }
    if X86:
        arguments["define_macros"] = [("SCRATCHNET_X86", None)]
    return (Extension if torch is None else CppExtension)("scratchnet._C", SOURCES, **arguments)


setup(ext_modules=[extension()], cmdclass={"build_ext": BuildOrRecord})
