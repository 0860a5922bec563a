"""A fresh virtual environment that sees torch, scratchnet and pytest of the one that runs."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from pathlib import Path


class FreshEnvironment:
    """An environment in a folder, with commands that run in it without a network.

    Args:
        folder: where to make it.

    Attributes:
        bin: where its programs are.
        site_packages: where its own packages are; they come before those it sees.
    """

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        parent = sysconfig.get_path("purelib")
        scheme = {"base": str(folder), "platbase": str(folder)}
        self.site_packages = Path(sysconfig.get_path("purelib", "venv", vars=scheme))
        # addsitedir, so that what is installed there in editable mode is seen, too
        (self.site_packages / "parent.pth").write_text(
            f"import site; site.addsitedir({parent!r})\n"
        )
        for program, module in (
            ("pip", "pip"),
            ("pytest", "pytest"),
            ("scratchnet", "scratchnet.cli.__main__"),
        ):
            script = self.bin / program
            script.write_text(f'#!/bin/sh\nexec "{self.bin}/python" -m {module} "$@"\n')
            script.chmod(0o755)

    def run(self, command: str, cwd: Path) -> str:
        """Run a command line of bash and return what it printed; fail if it fails."""
        environment = {
            **os.environ,
            "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say: build with what is here
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            ["bash", "-e", "-c", command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout
