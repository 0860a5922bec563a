"""``scratchnet check``."""

from __future__ import annotations

import difflib
import fnmatch
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scratchnet.cli import options
from scratchnet.errors import ScratchnetError

if TYPE_CHECKING:
    from scratchnet.testing import Check, Result
    from scratchnet.testing.examples import Example


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Layers, operations and backends, as `scratchnet info` lists them, or "
            "`package.module:Object`. "
            "[default: all that are installed]",
        ),
    ] = None,
    arguments: options.Arguments = None,
    shapes: options.Inputs = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="PATTERN", help="Run only the checks of this name, such as `conv2d_*/exact`."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print what fails, not what passes.")
    ] = False,
    replay: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Run a call again that `--verify` saved, on the backend that failed or on "
            "`--backend`, and compare it with `reference`.",
        ),
    ] = None,
    backend: options.Backend = None,
    threads: options.Threads = None,
    verify: options.Verify = False,
) -> None:
    """Prove that layers, operations and backends do what their contracts say.

    A layer's gradients are compared with finite differences, and with autograd where torch has the
    same layer; a backend's results with those of `reference`, over some hundred shapes. The exit
    code is 1 if a check fails, and if a kernel that there should be was not compiled, unless
    `--backend reference` asks for what computes without it.

    **Examples**

    `scratchnet check` – everything that is installed

    `scratchnet check cpp --only "conv2d_*"` – one backend's convolutions

    `scratchnet check max_pool2d` – one operation, on each backend that implements it

    `scratchnet check my-layer --arg channels=8 --input 2,8,9,7` – your own layer

    `scratchnet check my_package.layers:Swish --backend cpp` – before it is installed
    """
    if replay is not None:
        from scratchnet.verify.replay import replay as run_again

        if names or arguments or shapes or only:
            raise ScratchnetError("--replay goes alone, or with --backend")
        print(run_again(replay, backend, threads))
        return
    with options.machine(backend, threads, verify):
        subjects = _subjects(names, arguments, shapes, backend)
        chosen = {
            name: [c for c in checks if only is None or fnmatch.fnmatch(c.name, only)]
            for name, checks in subjects.items()
        }
        if not any(chosen.values()):
            known = sorted({c.name for checks in subjects.values() for c in checks})
            raise ScratchnetError(f"--only {only!r} matches none of {', '.join(known)}")
        results = _run(chosen)
    if as_json:
        print(json.dumps({n: [vars(r) for r in found] for n, found in results.items()}, indent=2))
    else:
        _show(results, quiet=quiet)
    if any(not result.ok for found in results.values() for result in found):
        raise typer.Exit(1)


def _subjects(
    names: list[str] | None,
    arguments: list[str] | None,
    shapes: list[str] | None,
    backend: str | None,
) -> dict[str, list[Check]]:
    """Return the checks of everything named: of all kinds that have something of a name."""
    from scratchnet import backends, layers

    if not names:
        if arguments or shapes:
            raise ScratchnetError("--arg and --input go with the name of one layer")
        return {name: _checks_or_reason(name) for name in (*backends.names(), *layers.names())}
    if (arguments or shapes) and len(names) > 1:
        raise ScratchnetError(f"--arg and --input go with one layer, not with {', '.join(names)}")
    found: dict[str, list[Check]] = {}
    for name in names:
        of_op = _checks_of_op(name, backend)
        if not of_op or name in layers.names():
            found[name] = _checks_of(name, arguments or [], shapes or [])
        found |= of_op
    return found


def _checks_of_op(name: str, backend: str | None) -> dict[str, list[Check]]:
    """Return the checks of an operation on the backends that implement it, or the one named."""
    from scratchnet import backends, layers, ops
    from scratchnet.testing.backend_checks import op_checks

    others = [*layers.names(), *backends.names()]
    if name not in ops.names() and (_like(name, others) or not _like(name, ops.names())):
        return {}
    op = ops.get(name)
    on = [backends.get(one) for one in ([backend] if backend else backends.names())]
    found = {f"{name} on {b.name}": op_checks(op, b) for b in on if b.implementation(op)}
    if not found:
        raise ScratchnetError(f"backend {backend!r} does not implement {name!r}")
    return found


def _checks_or_reason(name: str) -> list[Check]:
    """Return the checks of an installed plugin; if it cannot be loaded, one check that fails."""
    from scratchnet.testing import Check

    try:
        return _checks_of(name, [], [])
    except ScratchnetError as error:
        reason = str(error)

        def fail() -> str:
            raise ScratchnetError(reason)

        return [Check("can_be_checked", name, fail)]


def _checks_of(name: str, arguments: list[str], shapes: list[str]) -> list[Check]:
    from scratchnet import backends, layers
    from scratchnet.testing import Check, backend_checks, layer_checks
    from scratchnet.testing.examples import example

    if name not in layers.names() and (_like(name, backends.names()) or _is_backend(name)):
        if arguments or shapes:
            raise ScratchnetError(f"--arg and --input go with a layer; {name!r} is a backend")
        return backend_checks(name)
    given = options.key_values(arguments) if arguments else None
    found = example(name, given, [options.sizes("--input", text) for text in shapes])
    checks = layer_checks(found.factory, found.inputs, twin=found.twin, name=name)
    return [*checks, Check("kernels", f"layer {name}", partial(_kernels, found))]


def _kernels(found: Example) -> str:
    """No kernel that this layer could run on is missing on this machine."""
    from scratchnet.backends.explain import Explanations, explain
    from scratchnet.testing import ConformanceError

    first = found.inputs[0]
    said = explain(found.factory(), *(first if isinstance(first, tuple) else (first,)))
    assert isinstance(said, Explanations)
    missing = {
        f"{call.op} on {backend}: {reason}"
        for call in said.calls
        for backend, reason in call.missing.items()
    }
    if missing:
        raise ConformanceError(
            f"computed by the fallback, for {'; '.join(sorted(missing))} (to check the fallback: "
            "--backend reference)"
        )
    return ""


def _like(name: str, known: list[str]) -> bool:
    """Whether ``name`` is one of those known, or so near to one that it is meant."""
    return bool(difflib.get_close_matches(name, known, n=1))


def _is_backend(name: str) -> bool:
    """Whether ``name`` is the path of a Backend."""
    from scratchnet import backends

    if ":" not in name:
        return False
    try:
        backends.get(name)
    except ScratchnetError:
        return False
    return True


def _run(chosen: dict[str, list[Check]]) -> dict[str, list[Result]]:
    from scratchnet.cli.console import console
    from scratchnet.cli.progress import bar
    from scratchnet.testing.checks import run_checks

    results: dict[str, list[Result]] = {}
    with bar(console()) as progress:
        task = progress.add_task("checking", total=sum(map(len, chosen.values())))
        for name, checks in chosen.items():
            for one in checks:
                progress.update(task, description=f"{name} {one.name}")
                results.setdefault(name, []).extend(run_checks([one], on_fail=None))
                progress.update(task, advance=1)
    return results


def _show(results: dict[str, list[Result]], *, quiet: bool) -> None:
    from rich.markup import escape

    from scratchnet.cli.console import console

    screen = console()
    width = max(len(result.name) for found in results.values() for result in found)
    for name, found in results.items():
        failed = [result for result in found if not result.ok]
        verdict = f"{len(found) - len(failed)} of {len(found)} checks passed"
        screen.print(f"[bold]{escape(name)}[/bold]: {verdict}", highlight=False)
        for result in failed if quiet else found:
            mark = "[green]passed[/green]" if result.ok else "[bold red]FAILED[/bold red]"
            line = f"  {mark} {escape(result.name.ljust(width))}  {escape(result.message)}"
            screen.print(line.rstrip(), highlight=False, soft_wrap=True)
