"""Write a plugin to start from: an installable distribution with its tests."""

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from importlib import resources
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from string import Template

from scratchnet.errors import ArgumentError

# Which template becomes which file; $module is the plugin's module.
_FILES = {
    "common/pyproject.toml": "pyproject.toml",
    "common/README.md": "README.md",
    "{kind}/test.py": "tests/test_$module.py",
}
_MODULE = {"{kind}/module.py": "src/$module/__init__.py"}
_KERNEL_FILES = {
    "kernel/setup.py": "setup.py",
    "kernel/init.py": "src/$module/__init__.py",
    "kernel/op.py": "src/$module/op.py",
    "kernel/layer.py": "src/$module/layer.py",
    "kernel/kernel.cpp": "csrc/$module.cpp",
}
_DESCRIPTIONS = {
    "layer": "A scratchnet layer with its gradient by hand.",
    "kernel": "A scratchnet layer with its own C++ kernel.",
    "backend": "A scratchnet backend.",
}
# What each brings: {group of entry points: object}.
_ENTRY_POINTS = {
    "layer": {"layers": "$module:$class_name"},
    "kernel": {"layers": "$module:$class_name", "ops": "$module.op:op"},
    "backend": {"backends": "$module:backend"},
}
_NEXT_STEPS = {
    "layer": 'Then: `scratchnet.build("$name")` makes the layer, anywhere a layer can stand.\n'
    "The formulas are in `src/$module/__init__.py`, with what they come from.",
    "kernel": 'Then: `scratchnet.build("$name")` makes the layer. The formulas are in\n'
    "`src/$module/op.py`, the kernels in `csrc/$module.cpp`: after a change there install again.",
    "backend": 'Then: `SCRATCHNET_BACKEND=$name` or `scratchnet.use_backend("$name")` selects it;\n'
    "`auto+$name` lets it take part where it supports the call.",
}
KINDS = tuple(_DESCRIPTIONS)


def write(name: str, kind: str = "layer", *, into: Path | None = None) -> Path:
    """Write the distribution ``name`` and return its folder.

    Args:
        name: of the distribution and of what it brings, e.g. ``"swish"``.
        kind: ``"layer"``, ``"kernel"`` (a layer with its own C++ kernel) or ``"backend"``.
        into: the folder in which the new folder is made; the current one if None.

    Raises:
        ArgumentError: the name cannot be used, the kind is unknown, or the folder exists.
    """
    if kind not in KINDS:
        raise ArgumentError(f"kind is expected to be one of {', '.join(KINDS)}, got {kind!r}")
    module = _module_name(name)
    values = {
        "name": name,
        "module": module,
        "class_name": "".join(word[:1].upper() + word[1:] for word in module.split("_")),
        "description": _DESCRIPTIONS[kind],
        "requires": '"setuptools>=77"' + (', "pybind11>=3"' if kind == "kernel" else ""),
        "install": install(".", kind),
    }
    values["next_steps"] = Template(_NEXT_STEPS[kind]).substitute(values)
    values["entry_points"] = "".join(
        f'[project.entry-points."scratchnet.{group}"]\n'
        f'{name} = "{Template(at).substitute(values)}"\n\n'
        for group, at in _ENTRY_POINTS[kind].items()
    )
    folder = (into or Path.cwd()) / name
    if folder.exists():
        raise ArgumentError(f"{folder} exists: choose another name, or remove it")
    files = {**_FILES, **(_KERNEL_FILES if kind == "kernel" else _MODULE)}
    templates = resources.files("scratchnet.scaffold") / "templates"
    # beside its place, so that nothing half-written is left there
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        for source, target in files.items():
            template = templates / (source.format(kind=kind) + ".tmpl")
            path = temporary / Template(target).substitute(values)
            path.parent.mkdir(parents=True, exist_ok=True)
            text = template.read_text(encoding="utf-8")
            path.write_text(Template(text).substitute(values), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return folder


def install(folder: Path | str, kind: str) -> str:
    """Return the command that installs a plugin of this kind from its folder."""
    # a kernel is compiled with the headers of the scratchnet that is installed
    return f"pip install {'--no-build-isolation ' if kind == 'kernel' else ''}-e {folder}"


def _module_name(name: str) -> str:
    """Return the module's name for a distribution's.

    Raises:
        ArgumentError: it would be no module name, or one that is taken.
    """
    groups = sorted(group for group in entry_points().groups if group.startswith("scratchnet."))
    taken = [p for g in groups for p in entry_points(group=g) if _plain(p.name) == _plain(name)]
    if taken:
        point = next((p for p in taken if p.name == name), taken[0])
        raise ArgumentError(
            f"{name!r} is taken: {point.name!r} of {point.group} is {point.value}; choose another "
            "name"
        )
    module = re.sub(r"[-.]", "_", name).lower()
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", module) or keyword.iskeyword(module):
        raise ArgumentError(
            f"a plugin's name is expected to be letters, digits, - and _, such as my-layer; "
            f"got {name!r}"
        )
    if find_spec(module) is not None:
        raise ArgumentError(
            f"there is a module {module!r} already: a plugin of the name {name!r} would hide it"
        )
    return module


def _plain(name: str) -> str:
    """Return the name without what is easily mistaken: case and punctuation."""
    return re.sub(r"[-_.]", "", name).lower()
