"""The runtime cross-check: every kernel's result is compared with the reference's, as it comes.

Switched on by the environment variable SCRATCHNET_VERIFY=1 (or ``--verify``): dispatch then hands
out backends wrapped by :func:`verified`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

from torch import Tensor

from scratchnet.backends import registry
from scratchnet.backends.base import Backend, Chain, Grads, Link, Verdict
from scratchnet.backends.cross_check import cross_check
from scratchnet.backends.mismatch import VerificationError
from scratchnet.backends.tolerance import terms_of_gradients
from scratchnet.backends.verify_chain import VerifiedChain

__all__ = ["VerificationError", "VerifiedBackend", "enabled", "verified"]

VARIABLE = "SCRATCHNET_VERIFY"
OFF = ("", "0", "false", "no", "off")
GRADIENTS = ("grad_x", "grad_weight", "grad_bias")


def enabled() -> bool:
    """Whether the environment asks for the cross-check."""
    return os.environ.get(VARIABLE, "").lower() not in OFF


@lru_cache(maxsize=32)
def verified(backend: Backend) -> Backend:
    """Return ``backend`` with every result checked; the reference itself, and what is checked
    already, as they are.
    """
    if isinstance(backend, VerifiedBackend) or backend is registry.get("reference"):
        return backend
    return VerifiedBackend(backend)


class VerifiedBackend(Backend):
    """Runs each call on a backend and on the reference, and raises where they differ.

    Args:
        inner: the backend whose results are returned.
    """

    name: ClassVar[str] = "verified"

    def __init__(self, inner: Backend) -> None:
        self.inner, self.reference = inner, registry.get("reference")
        self.name = inner.name  # type: ignore[misc]
        self.priority = inner.priority  # type: ignore[misc]

    def available(self) -> Verdict:
        """As the inner backend."""
        return self.inner.available()

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Verdict:
        """As the inner backend."""
        return self.inner.supports(op, *args, **kwargs)

    def conv2d_forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any
    ) -> Tensor:
        """Checked; see Backend."""
        return self._run_forward("conv2d_forward", x, weight, bias, options)

    def conv2d_backward(self, grad_y: Tensor, x: Tensor, weight: Tensor, **options: Any) -> Grads:
        """Checked; see Backend."""
        return self._run_backward("conv2d_backward", grad_y, x, weight, options)

    def upsample_nearest_forward(self, x: Tensor, **options: Any) -> Tensor:
        """Checked; see Backend."""
        y: Tensor = self._run("upsample_nearest_forward", {"x": x}, options, 1)
        return y

    def upsample_nearest_backward(self, grad_y: Tensor, **options: Any) -> Tensor:
        """Checked; see Backend."""
        terms = options["scale"][0] * options["scale"][1]
        grad_x: Tensor = self._run("upsample_nearest_backward", {"grad_y": grad_y}, options, terms)
        return grad_x

    def upsample_conv2d_forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any
    ) -> Tensor:
        """Checked; see Backend."""
        return self._run_forward("upsample_conv2d_forward", x, weight, bias, options)

    def upsample_conv2d_backward(
        self, grad_y: Tensor, x: Tensor, weight: Tensor, **options: Any
    ) -> Grads:
        """Checked; see Backend."""
        return self._run_backward("upsample_conv2d_backward", grad_y, x, weight, options)

    def chain(self, x: Tensor, links: tuple[Link, ...]) -> Chain | None:
        """The inner backend's chain, checked; see Backend."""
        chain = self.inner.chain(x, links)
        return None if chain is None else VerifiedChain(self.inner, chain, links)

    def _run_forward(
        self, op: str, x: Tensor, weight: Tensor, bias: Tensor | None, options: dict[str, Any]
    ) -> Tensor:
        tensors = {"x": x, "weight": weight, "bias": bias}
        y: Tensor = self._run(op, tensors, options, weight[0].numel() + 1)
        return y

    def _run_backward(
        self, op: str, grad_y: Tensor, x: Tensor, weight: Tensor, options: dict[str, Any]
    ) -> Grads:
        terms = terms_of_gradients(grad_y, weight, options.get("scale", (1, 1)))
        tensors = {"grad_y": grad_y, "x": x, "weight": weight}
        grads: Grads = self._run(op, tensors, options, terms)
        return grads

    def _run(
        self, op: str, tensors: Mapping[str, Tensor | None], options: dict[str, Any], terms: int
    ) -> Any:
        outputs = GRADIENTS if op.endswith("conv2d_backward") else ("output",)
        return cross_check(self.inner, self.reference, op, tensors, options, outputs, terms)
