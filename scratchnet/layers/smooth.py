"""Activations made of exponentials; σ(x) = 1 / (1 + e⁻ˣ)."""

from __future__ import annotations

from typing import Any

from scratchnet.errors import ArgumentError
from scratchnet.layers.activation import Elementwise
from scratchnet.ops import smooth
from scratchnet.ops.op import Op


class Sigmoid(Elementwise):
    """y = σ(x) = 1 / (1 + e⁻ˣ), finite for every finite x. The derivative is y·(1 − y)."""

    op = smooth.sigmoid
    torch_names = ("torch.nn.Sigmoid",)


class LogSigmoid(Elementwise):
    """y = log σ(x), never positive; finite for every finite x. The derivative is σ(−x)."""

    op = smooth.logsigmoid
    torch_names = ("torch.nn.LogSigmoid",)


class Tanh(Elementwise):
    """y = tanh(x), in [−1, 1]. The derivative is 1 − y²."""

    op = smooth.tanh
    torch_names = ("torch.nn.Tanh",)


class Tanhshrink(Elementwise):
    """y = x − tanh(x). The derivative is tanh²(x)."""

    op = smooth.tanhshrink
    torch_names = ("torch.nn.Tanhshrink",)


class Softsign(Elementwise):
    """y = x / (1 + |x|), in (−1, 1). The derivative is 1 / (1 + |x|)².

    Source: Bergstra et al., "Quadratic Polynomials Learn Better Image Features" (2009).
    """

    op = smooth.softsign
    torch_names = ("torch.nn.Softsign",)


class Softplus(Elementwise):
    """y = log(1 + e^(βx)) / β, and x where βx > threshold. The derivative is σ(βx), or 1.

    Source: Dugas et al., "Incorporating Second-Order Functional Knowledge for Better Option
    Pricing" (2001); the threshold is torch.nn.Softplus's.

    Args:
        beta: β, not 0; the larger, the nearer to ReLU.
        threshold: of βx, beyond which the function is taken for linear.

    Raises:
        ArgumentError: beta is 0.
    """

    op = smooth.softplus
    torch_names = ("torch.nn.Softplus",)
    beta: float
    threshold: float

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__(beta=beta, threshold=threshold)


class ELU(Elementwise):
    """y = x where x > 0, else α·(eˣ − 1). The derivative is 1, or α·eˣ.

    Source: Clevert et al., "Fast and Accurate Deep Network Learning by Exponential Linear Units"
    (2015), equation 15.

    Args:
        alpha: α; far to the left, y is −α.
        inplace: False; see :class:`Elementwise`.
    """

    op = smooth.elu
    torch_names = ("torch.nn.ELU",)
    alpha: float

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class CELU(Elementwise):
    """y = x where x > 0, else α·(e^(x/α) − 1). The derivative is 1, or e^(x/α): it does not jump.

    Source: Barron, "Continuously Differentiable Exponential Linear Units" (2017), equation 2.

    Args:
        alpha: α, not 0.
        inplace: False; see :class:`Elementwise`.

    Raises:
        ArgumentError: alpha is 0.
    """

    op = smooth.celu
    torch_names = ("torch.nn.CELU",)
    alpha: float

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(alpha=alpha, inplace=inplace)


class SELU(Elementwise):
    """y = λx where x > 0, else λα·(eˣ − 1); λ ≈ 1.0507 and α ≈ 1.6733 keep mean 0 and variance 1.

    The derivative is λ, or λα·eˣ. Source: Klambauer et al., "Self-Normalizing Neural Networks"
    (2017), equations 2 and 14.

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = smooth.selu
    torch_names = ("torch.nn.SELU",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class SiLU(Elementwise):
    """y = x·σ(x), also known as Swish. The derivative is σ(x)·(1 + x·(1 − σ(x))).

    Source: Elfwing et al., "Sigmoid-Weighted Linear Units" (2017), equation 3.

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = smooth.silu
    torch_names = ("torch.nn.SiLU",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class Mish(Elementwise):
    """y = x·t with t = tanh(log(1 + eˣ)). The derivative is t + x·σ(x)·(1 − t²).

    Source: Misra, "Mish: A Self Regularized Non-Monotonic Activation Function" (2019).

    Args:
        inplace: False; see :class:`Elementwise`.
    """

    op = smooth.mish
    torch_names = ("torch.nn.Mish",)

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(inplace=inplace)


class GELU(Elementwise):
    """y = x·Φ(x), Φ being the distribution function of the normal distribution.

    The derivative is Φ(x) + x·φ(x), with the density φ. ``approximate="tanh"`` takes
    1/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) for Φ(x), and the derivative of that. Source: Hendrycks
    and Gimpel, "Gaussian Error Linear Units" (2016), section 2.

    Args:
        approximate: ``"none"`` or ``"tanh"``.

    Raises:
        ArgumentError: approximate is something else.
    """

    torch_names = ("torch.nn.GELU",)

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in _GELU:
            raise ArgumentError(
                f"GELU expects approximate to be one of {', '.join(_GELU)}, got {approximate!r}"
            )
        self.approximate = approximate

    @property
    def op(self) -> Op:  # type: ignore[override]
        """The operation."""
        return _GELU[self.approximate]

    def config(self) -> dict[str, Any]:
        """Return the constructor's argument."""
        return {"approximate": self.approximate}


_GELU = {"none": smooth.gelu, "tanh": smooth.gelu_tanh}
