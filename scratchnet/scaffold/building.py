"""Compiles C++ kernels: what the setup.py of scratchnet calls, and that of a plugin with kernels.

A missing compiler never stops an installation: the package then runs on the reference, and its
``_build_info.json`` says why. ``SCRATCHNET_NO_EXTENSION=1`` leaves the kernels out on purpose. A
compilation that fails does stop it, with the compiler's message. torch is not needed.
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

import pybind11
from setuptools import Extension  # before distutils, which it provides
from setuptools.command.build_ext import build_ext

# isort: split
from distutils.ccompiler import new_compiler
from distutils.sysconfig import customize_compiler

INCLUDE = Path(__file__).parent.parent.resolve() / "include"
"""Where an installed scratchnet has the headers that kernels may include, as ``core/...``."""

# No -march=native: a wheel must run elsewhere; the kernels choose the instruction set at run time
# (core/each_isa.h). No -ffast-math: NaN and infinity must come out as in torch. No debugging
# information, which Python's own flags ask for: it is four fifths of the file.
FLAGS = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-ffp-contract=fast"]
FLAGS.append("-Werror=psabi")  # a lambda of vectors without SCRATCHNET_TARGET: see each_isa.h
LINK_FLAGS: list[str] = []
if os.environ.get("SCRATCHNET_SANITIZE", "") not in ("", "0"):  # see `make sanitize`
    LINK_FLAGS = ["-fsanitize=address,undefined"]
    FLAGS += [*LINK_FLAGS, "-O1", "-g", "-fno-sanitize-recover=all"]


def kernels(package: str) -> dict[str, Any]:
    """Return arguments of ``setuptools.setup`` that compile every .cpp file in ``csrc`` into the
    module ``_C`` of ``package``.

    Args:
        package: the importable name; see scratchnet.ops.extension.Extension for its use.
    """
    sources = sorted(map(str, Path("csrc").rglob("*.cpp")))
    extension = Extension(
        f"{package}._C",
        sources,
        include_dirs=[".", "csrc", str(INCLUDE), pybind11.get_include()],
        extra_compile_args=FLAGS,
        extra_link_args=LINK_FLAGS,
        language="c++",
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": BuildOrRecord}}


class BuildOrRecord(build_ext):
    """Builds the extension if there is a compiler; in any case writes ``_build_info.json``."""

    def run(self) -> None:
        """Build, or say why not."""
        (extension,) = self.extensions
        # in the source tree if that is what will be imported, else where a wheel is put together
        folder = Path(self.get_ext_fullpath(extension.name)).parent
        package, reason = extension.name.removesuffix("._C"), missing()
        if reason is None:
            super().run()
        else:
            print(
                f"{package}: installing WITHOUT the C++ kernels: {reason}. Everything runs, more"
                " slowly, on the reference backend. With a C++ compiler (Debian: apt install g++)"
                " reinstall to get them.",
                file=sys.stderr,
            )
            self.extensions = []
            for stale in folder.glob("_C.*.so"):  # would contradict the record
                stale.unlink()
        info = {
            "compiled": reason is None,
            "reason": reason,
            "python": platform.python_version(),
            "compiler": None if reason else compiler_version(),
            "flags": FLAGS,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "_build_info.json").write_text(json.dumps(info, indent=2) + "\n")

    def build_extension(self, ext: Extension) -> None:
        """Compile all files at the same time, which setuptools does one after the other."""

        def compile_one(source: str) -> list[str]:
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=ext.include_dirs,
                extra_postargs=ext.extra_compile_args,
            )

        sources = [*ext.sources]
        if not Path("csrc/core").exists():  # not scratchnet itself, which has its own
            sources.append(str(INCLUDE / "core" / "module.cpp"))
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            objects = executor.map(compile_one, sources)
            ext.extra_objects = [path for paths in objects for path in paths]
        ext.sources = []
        super().build_extension(ext)


def missing() -> str | None:
    """Why there is no extension to be built."""
    if os.environ.get("SCRATCHNET_NO_EXTENSION", "") not in ("", "0"):
        return "SCRATCHNET_NO_EXTENSION is set"
    if shutil.which(compiler_command()) is None:
        return f"no C++ compiler: {compiler_command()!r} was not found"
    return None


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
