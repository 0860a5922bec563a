"""``scratchnet info``."""

from __future__ import annotations

from typing import Annotated, Any

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Show backends, operations, layers, networks, plugins, the build and the machine.

    This is what to look at when something runs slower than it should, and what to put into a bug
    report.
    """
    from scratchnet.bench.machine import machine

    found = machine()
    if as_json:
        import json

        print(json.dumps(found, indent=2))
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from scratchnet.cli.console import console

    def grid(*headings: str) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=bool(headings))
        for heading in headings:
            table.add_column(heading, overflow="fold")
        return table

    screen = console()
    machine = grid()
    machine.add_row("scratchnet", found["scratchnet"])
    machine.add_row("torch", found["torch"]["running"])
    machine.add_row("python", f"{found['python']}, {found['platform']}")
    machine.add_row(
        "processor",
        f"{found['cores']} cores, {found['threads']} threads, {found['instruction_set']}",
    )
    build = found["build"]
    machine.add_row(
        "build",
        _build(build),
    )
    selected = found["selected"]
    machine.add_row("backend", f"{escape(selected['backend'])} ({selected['by']})")
    screen.print(machine)

    backends = grid("backend", "from", "available")
    for row in found["backends"]:
        available = (
            "[green]yes[/green]"
            if row["available"] is True
            else f"[red]no[/red]: {escape(row['available'])}"
        )
        backends.add_row(row["name"], _origin(row), available)
    screen.print()
    screen.print(backends)

    ops = grid("operation", "from", "implemented by")
    for row in found["ops"]:
        by = ", ".join(row["backends"])
        ops.add_row(escape(row["signature"]), _origin(row), by or f"[red]{row['available']}[/red]")
    screen.print()
    screen.print(ops)

    names = grid("kind", "names", "from")
    for kind in ("layers", "losses", "networks", "optimizers", "schedules", "noise"):
        own = ", ".join(row["name"] for row in found[kind] if row["builtin"])
        names.add_row(kind, own, "scratchnet")
        for row in found[kind]:
            if not row["builtin"]:
                names.add_row(kind, row["name"], _origin(row))
    screen.print()
    screen.print(names)
    screen.print()
    weights = grid()
    weights.add_row(
        "[bold]weights[/bold]", ", ".join(found["weights"]) or "none came with this installation"
    )
    screen.print(weights)
    for line in found["problems"]:
        screen.print(f"[red]problem[/red]: {escape(line)}", soft_wrap=True)


def _build(record: dict[str, Any] | None) -> str:
    if record is None:
        return "no record: the C++ kernels were not built"
    if not record.get("compiled"):
        return f"without C++ kernels: {record.get('reason')}"
    return f"C++ kernels by {record.get('compiler')}, python {record.get('python')}"


def _origin(row: dict[str, Any]) -> str:
    return (
        f"{row['distribution']} {row['version']}"
        if row["distribution"]
        else "registered at run time"
    )
