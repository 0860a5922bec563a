"""Run a call once more that the runtime cross-check saved: ``scratchnet check --replay FILE``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import torch

from scratchnet.backends import registry
from scratchnet.backends.base import Backend, Link
from scratchnet.backends.callfile import SavedCall, read
from scratchnet.backends.kernel import Kernel, VerifiedKernel
from scratchnet.backends.verify import VerifiedBackend
from scratchnet.errors import BackendError, PluginError


def replay(
    path: str | Path, backend: str | Backend | None = None, threads: int | None = None
) -> str:
    """Run a call that was saved by the cross-check once more, checked; return what was run.

    Args:
        path: the file.
        backend: where to run it; None for the backend that ran it before.
        threads: of torch's; None for as many as before.

    Raises:
        VerificationError: the result still differs.
        DataError: the file cannot be read.
        PluginError: there is no such backend or kernel (any more).
        BackendError: the backend is not available here, or does not run this call.
    """
    call = read(path)
    chosen: Backend | Kernel
    if call.op in ("forward", "backward"):
        chosen = _kernel(call, backend)
    else:
        chosen = backend if isinstance(backend, Backend) else registry.get(backend or call.backend)
        available = chosen.available()
        if available is not True:
            raise BackendError(f"backend {chosen.name!r} is not available: {available}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or call.threads)
    try:
        if isinstance(chosen, Kernel):
            _run_kernel(chosen, call)
        else:
            _run(VerifiedBackend(chosen), call)
    finally:
        torch.set_num_threads(before)
    shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in call.tensors.items())
    return f"{call.op} on {chosen.name!r} ({shapes}) equals the reference"


def _kernel(call: SavedCall, backend: str | Backend | None) -> Kernel:
    """Return the plugin's kernel whose call it was."""
    if backend is not None:
        raise BackendError(f"this is a call of {call.backend}, which no backend can run: name none")
    try:
        kernel = EntryPoint("", call.backend, "").load()()
    except Exception as error:
        raise PluginError(
            f"{call.backend} cannot be imported: {type(error).__name__}: {error}; install the "
            "plugin that it belongs to"
        ) from error
    if not isinstance(kernel, Kernel):
        raise PluginError(f"{call.backend} is no Kernel (any more): {kernel!r}")
    return kernel


def _run_kernel(kernel: Kernel, call: SavedCall) -> None:
    names = inspect.signature(getattr(kernel.reference, call.op)).parameters
    options = _with_pairs(call.options)
    tensors = [call.tensors.get(name) for name in names if name not in options]
    getattr(VerifiedKernel(kernel), call.op)(*tensors, **options)


def _run(inner: VerifiedBackend, call: SavedCall) -> None:
    options = _with_pairs(call.options)
    if call.op == "chain":
        _run_chain(inner, call, **options)
        return
    names = ["x", "weight", "bias"] if "forward" in call.op else ["grad_y", "x", "weight"]
    if call.op.startswith("upsample_nearest"):
        names = names[:1]
    getattr(inner, call.op)(*map(call.tensors.get, names), **options)


def _run_chain(
    inner: VerifiedBackend,
    call: SavedCall,
    links: Sequence[dict[str, Any]],
    *,
    keep: bool = True,
    needs_grad_x: bool = True,
) -> None:
    made = tuple(Link(**_with_pairs(link)) for link in links)
    x = call.tensors["x"]
    weights = [call.tensors[f"weight.{i}"] for i in range(len(made))]
    biases = [call.tensors.get(f"bias.{i}") for i in range(len(made))]
    chain = inner.chain(x, made)
    if chain is None:
        raise BackendError(f"backend {inner.name!r} does not run this chain as one")
    y, kept = chain.forward(x, weights, biases, keep=keep)
    if "grad_y" in call.tensors:
        grads = [torch.zeros_like(w) for w in weights]
        of_biases = [None if b is None else torch.zeros_like(b) for b in biases]
        chain.backward(
            call.tensors["grad_y"], x, y, kept, weights, grads, of_biases, needs_grad_x=needs_grad_x
        )


def _with_pairs(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options with JSON's lists as the tuples they were."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in options.items()}
