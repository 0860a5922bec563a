"""Repeat a call that the runtime cross-check has saved: ``scratchnet check --replay FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from scratchnet import backends, ops
from scratchnet.backends import dispatch
from scratchnet.backends.base import Backend
from scratchnet.errors import BackendError
from scratchnet.verify import checked
from scratchnet.verify.callfile import SavedCall, read


def replay(
    path: str | Path, backend: str | Backend | None = None, threads: int | None = None
) -> str:
    """Repeat a call that the cross-check has saved, checked again; return what was run.

    Args:
        path: the file.
        backend: where to run it; None for the backend that ran it before.
        threads: of torch's; None for as many as before.

    Raises:
        VerificationError: the result still differs.
        DataError: the file cannot be read.
        PluginError: there is no such backend or operation (any more).
        BackendError: the backend is not available here, or does not run this call.
    """
    call = read(path)
    chosen = backend if isinstance(backend, Backend) else backends.get(backend or call.backend)
    before = torch.get_num_threads()
    torch.set_num_threads(threads or call.threads)
    try:
        _run(call, chosen)
    finally:
        torch.set_num_threads(before)
    shapes = ", ".join(f"{n} {tuple(t.shape)}" for n, t in call.tensors.items())
    return f"{call.op} on {chosen.name!r} ({shapes}) equals the reference"


def _run(call: SavedCall, backend: Backend) -> None:
    op = ops.get(call.op)
    options: dict[str, Any] = op.prepare(call.options)
    tensors = tuple(call.tensors.get(name) for name in op.names(call.count))
    if backend.implementation(op) is None:
        raise BackendError(f"backend {backend.name!r} does not implement {op.name}: name another")
    _, implementation = dispatch.resolve(op, tensors, options, backend)
    if not dispatch.verifying():
        implementation = checked(op, backend, implementation)
    _, kept = implementation.forward(*tensors, **options)
    if call.needs is not None:
        grads = [g for name, g in call.tensors.items() if name.startswith("grad_y.")]
        grad_y = grads[0] if len(grads) == 1 else tuple(grads)
        implementation.backward(grad_y, kept, *tensors, **options, needs=call.needs)
