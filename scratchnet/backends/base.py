"""The contract every backend keeps.

A backend is a bag of pure functions over 4-D tensors: it holds no state, never writes to an input,
accepts any strides, and returns tensors of the inputs' dtype on the inputs' device. Four *plain*
operations make a backend complete; the *fused* ones are composed out of them here and may be
overridden by something faster.

Shapes, everywhere: N batch, C in-channels, O out-channels, H W input size, Kh Kw kernel size, G
groups.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

API_VERSION = 1

Pair = tuple[int, int]
Needs = tuple[bool, bool, bool]
Grads = tuple[Tensor | None, Tensor | None, Tensor | None]
Verdict = Literal[True] | str

PLAIN_OPS = (
    "conv2d_forward",
    "conv2d_backward",
    "upsample_nearest_forward",
    "upsample_nearest_backward",
)


Activation = Literal["none", "relu", "sigmoid"]


@dataclass(frozen=True)
class Link:
    """One convolution of a chain, as data: what comes before it, itself, and what comes after.

    Attributes:
        in_channels, out_channels, kernel_size, stride, padding, dilation, groups: as in Conv2d.
        scale: nearest upsampling before the convolution, or None.
        activation: of the result.
    """

    in_channels: int
    out_channels: int
    kernel_size: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    scale: Pair | None = None
    activation: Activation = "none"

    @property
    def geometry(self) -> dict[str, Any]:
        """What a backend's convolution takes besides its tensors."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


class Chain(ABC):
    """Several links run as one, for inputs of one shape and dtype; made by :meth:`Backend.chain`.

    ``weights[i]`` and ``biases[i]`` (or None) belong to link i; results are those of the links run
    one by one, up to rounding.
    """

    @abstractmethod
    def forward(
        self, x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor | None], *, keep: bool
    ) -> tuple[Tensor, Any]:
        """Return the output for ``x`` (N, C, H, W) and, if ``keep``, what backward needs of it."""

    @abstractmethod
    def backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        y: Tensor,
        kept: Any,
        weights: Sequence[Tensor],
        grad_weights: Sequence[Tensor],
        grad_biases: Sequence[Tensor | None],
        *,
        needs_grad_x: bool = True,
    ) -> Tensor | None:
        """Add the parameters' gradients to ``grad_weights`` and ``grad_biases``; return grad_x.

        Args:
            grad_y: the gradient of the loss with respect to ``y``.
            x, y, kept: the input and the results of the forward.
            weights: as given to the forward.
            grad_weights, grad_biases: buffers, written in place.
            needs_grad_x: if not, None is returned.
        """


class Backend(ABC):
    """Base class of all backends.

    Attributes:
        name: how users select it; must equal its entry-point name.
        priority: among the backends that ``auto`` may use, the highest that supports the call wins.
        api_version: the version of this contract the backend was written for.
    """

    name: ClassVar[str]
    priority: ClassVar[int] = 0
    api_version: ClassVar[int] = API_VERSION

    def available(self) -> Verdict:
        """True if this backend can run on this machine, else the reason why not, in one line."""
        return True

    def supports(self, op: str, *args: Any, **kwargs: Any) -> Verdict:
        """True if the method ``op`` would run with these arguments, else a line saying why not."""
        return True

    def how(self, op: str, *args: Any, **kwargs: Any) -> str:
        """Say in a few words how a supported call would run; ``scratchnet.explain`` shows it."""
        return "runs"

    # -- plain operations ------------------------------------------------------------------------

    @abstractmethod
    def conv2d_forward(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        """Cross-correlate ``x`` with ``weight`` and add ``bias``.

        Args:
            x: (N, C, H, W); N may be 0.
            weight: (O, C/G, Kh, Kw).
            bias: (O,) or None.
            stride, padding, dilation: (vertical, horizontal).
            groups: G; divides C and O.

        Returns:
            (N, O, H_out, W_out), H_out = (H + 2·padding - dilation·(Kh-1) - 1) // stride + 1.
        """

    @abstractmethod
    def conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
        needs: Needs = (True, True, True),
    ) -> Grads:
        """Gradients of :meth:`conv2d_forward` with respect to ``x``, ``weight`` and ``bias``.

        Args:
            grad_y: (N, O, H_out, W_out), the gradient of the loss with respect to the output.
            x, weight: as given to the forward. Where ``needs[1]`` is false only the *shape* of
                ``x`` is read (it may be an expanded scalar), and where ``needs[0]`` is false only
                the shape of ``weight``.
            stride, padding, dilation, groups: as given to the forward.
            needs: which of the three gradients to compute.

        Returns:
            ``(grad_x, grad_weight, grad_bias)`` with the shapes of x, weight and (O,); None where
            not needed.
        """

    @abstractmethod
    def upsample_nearest_forward(self, x: Tensor, *, scale: Pair) -> Tensor:
        """Repeat each pixel of x (N, C, H, W) into a block of ``scale``: (N, C, H·s_h, W·s_w)."""

    @abstractmethod
    def upsample_nearest_backward(self, grad_y: Tensor, *, scale: Pair) -> Tensor:
        """Sum each block ``scale`` of grad_y (N, C, H·s_h, W·s_w) into a pixel of (N, C, H, W)."""

    # -- fused operations: composed from the plain ones, to be overridden by what is faster -------

    def upsample_conv2d_forward(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, *, scale: Pair, **conv: Any
    ) -> Tensor:
        """Upsample by ``scale``, then :meth:`conv2d_forward` with the arguments ``conv``."""
        return self.conv2d_forward(
            self.upsample_nearest_forward(x, scale=scale), weight, bias, **conv
        )

    def upsample_conv2d_backward(
        self,
        grad_y: Tensor,
        x: Tensor,
        weight: Tensor,
        *,
        scale: Pair,
        needs: Needs = (True, True, True),
        **conv: Any,
    ) -> Grads:
        """Gradients of :meth:`upsample_conv2d_forward`; ``x`` is the input *before* upsampling."""
        upsampled = self.upsample_nearest_forward(x, scale=scale)
        grad_upsampled, grad_weight, grad_bias = self.conv2d_backward(
            grad_y, upsampled, weight, needs=needs, **conv
        )
        if grad_upsampled is None:
            return None, grad_weight, grad_bias
        return self.upsample_nearest_backward(grad_upsampled, scale=scale), grad_weight, grad_bias

    # -- several layers at once, optional ----------------------------------------------------------

    def chain(self, x: Tensor, links: tuple[Link, ...]) -> Chain | None:
        """Return what runs all ``links`` as one on inputs like ``x``, or None to run one by one."""
        return None
