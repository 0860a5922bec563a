"""``scratchnet zoo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import Tensor

    from scratchnet.testing.zoo import Inhabitant

COLUMNS, ROWS = 61, 17


def zoo(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A layer, loss or optimizer.")
    ] = None,
) -> None:
    """List the layers, losses and optimizers, or show one: formula, shapes, a plot, an example.

    **Examples**

    `scratchnet zoo` – all of them: formula, torch's counterpart, backends

    `scratchnet zoo GELU` – one, with its function and derivative drawn
    """
    from scratchnet.testing.zoo import find, inhabitants

    if name is None:
        _list(inhabitants())
    else:
        print(page(find(name)))


def _list(found: list[Inhabitant]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from scratchnet.cli.console import console

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "what it computes", "in torch", "kernels of"):
        table.add_column(heading, overflow="fold")
    for one in found:
        own = ", ".join(one.backends()) if one.operations() else ""
        table.add_row(one.name, escape(one.formula), one.twin, own)
    console().print(table)


def page(one: Inhabitant) -> str:
    """Return what is to be said of one, as text."""
    from scratchnet.testing.zoo import samples

    parts = [f"{one.name}, {one.kind}" + (f", as {one.twin}" if one.twin else ""), one.doc]
    made = one.specimen()
    if made is not None:
        layer, inputs = made
        y = layer.forward(*inputs)
        first = y[0] if isinstance(y, tuple) else y
        given = ", ".join(str(tuple(x.shape)) for x in inputs)
        lines = [f"{given} -> {tuple(first.shape)}"]
        lines += [f"{name} {tuple(value.shape)}" for name, value in layer.named_parameters()]
        parts.append("In the example below:\n" + "\n".join(f"  {line}" for line in lines))
        calls = ", ".join(op.name for op in one.operations())
        if calls:
            parts.append(f"Operations: {calls}; kernels of {', '.join(one.backends())}")
    if one.curve is not None:
        parts.append(plot(samples(one.curve, count=COLUMNS)))
    if one.code():
        parts.append(one.code())
    return "\n\n".join(parts)


def plot(curve: Tensor) -> str:
    """Return a drawing of a function (●) and its derivative (·) in characters.

    Args:
        curve: x, the function and the derivative there, (3, COLUMNS).
    """
    x, y, slope = curve.tolist()
    low, high = min(*y, *slope, 0), max(*y, *slope, 1)
    scale = (ROWS - 1) / (high - low)
    rows = [[" "] * COLUMNS for _ in range(ROWS)]
    zero = round((high - 0) * scale)
    for column in range(COLUMNS):
        rows[zero][column] = "─"
    for line in rows:
        line[COLUMNS // 2] = "│"
    for values, mark in ((slope, "·"), (y, "●")):
        for column, value in enumerate(values):
            rows[round((high - value) * scale)][column] = mark
    labels = {0: f"{high:.2g}", zero: "0", ROWS - 1: f"{low:.2g}"}
    body = [f"{labels.get(i, ''):>6} {''.join(line).rstrip()}" for i, line in enumerate(rows)]
    ends = f"{'':6} {x[0]:g}{f'{x[-1]:g}':>{COLUMNS - len(f'{x[0]:g}')}}"
    return "\n".join([*body, ends, "", "       ● the function   · its derivative"])
