"""Noise models by name: how a clean image becomes a noisy one.

A noise model starts from an *original*: a uint8 tensor of shape (N, C, H·scale, W·scale), values
0-255. It makes the clean image that a denoiser should find, and as many independent noisy
images as one likes, all of shape (N, C, H, W). Learning from noisy pairs alone rests on the
noise having mean zero given the clean image (Lehtinen et al., "Noise2Noise: Learning Image
Restoration without Clean Data", 2018, section 2): `subpixel` is so up to rounding, `gaussian` and
`poisson` up to the clipping at 0 and 255; `impulse` is not, and a network that is trained on it
with a squared error learns an image of lower contrast.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from scratchnet.errors import ArgumentError, ScratchnetError, ShapeError, TypeMismatch
from scratchnet.registry import Registry

NOISE_HELP = (
    "subpixel, gaussian:SIGMA or gaussian:LOW-HIGH (grey levels, 0-255), "
    "poisson:PEAK (photons at white) or impulse:P (share of the pixels, 0-1)"
)
"""The known models and their syntax, for error messages and `--help`."""


class NoiseModel(ABC):
    """A kind of noise. `str(model)` is the specification that `parse_noise` reads back.

    Attributes:
        scale: Side of the cell of the original that one pixel covers: the original is `scale`
            times larger.
    """

    scale: int = 1

    @classmethod
    def parse(cls, parameter: str) -> Self:
        """Make the model of a specification from what stands behind its name and `:`, if anything.

        Raises:
            ValueError, TypeError: it is no parameter of this model.
        """
        make: Callable[..., Self] = cls
        return make(float(parameter)) if parameter else make()

    def clean(self, original: Tensor) -> Tensor:
        """The noise-free image.

        Args:
            original: uint8, (N, C, H·scale, W·scale).

        Returns:
            uint8, (N, C, H, W); the original itself where `scale` is 1.

        Raises:
            TypeMismatch: `original` is not a uint8 tensor.
            ShapeError: `original` is not 4-dimensional, or its height or width is no multiple of
                `scale`.
        """
        self._check(original)
        return self._clean(original)

    def sample(self, original: Tensor, generator: torch.Generator) -> Tensor:
        """One noisy draw; draws that follow one another on the same generator are independent.

        Args:
            original: uint8, (N, C, H·scale, W·scale).
            generator: Source of all randomness; the same state gives the same draw.

        Returns:
            uint8, (N, C, H, W), a new tensor.

        Raises:
            TypeMismatch: `original` is not a uint8 tensor.
            ShapeError: `original` is not 4-dimensional, or its height or width is no multiple of
                `scale`.
        """
        self._check(original)
        return self._sample(original, generator)

    def _clean(self, original: Tensor) -> Tensor:
        return original

    @abstractmethod
    def _sample(self, original: Tensor, generator: torch.Generator) -> Tensor: ...

    def _check(self, original: Tensor) -> None:
        if not isinstance(original, Tensor) or original.dtype != torch.uint8:
            came = original.dtype if isinstance(original, Tensor) else type(original).__name__
            raise TypeMismatch(f"{self} noise expects a uint8 tensor (values 0-255), got {came}")
        if original.ndim != 4 or any(side % self.scale for side in original.shape[2:]):
            raise ShapeError(
                f"{self} noise expects images of shape (N, C, H, W) with H and W multiples of "
                f"{self.scale}, got {tuple(original.shape)}"
            )


@dataclass(frozen=True)
class Subpixel(NoiseModel):
    """Each pixel is one randomly chosen pixel of the 2x2 cell of the original that it covers.

    The choice is the same in all channels. The clean image is the cell's mean, rounded.
    """

    scale = 2

    def __str__(self) -> str:
        return "subpixel"

    def _clean(self, original: Tensor) -> Tensor:
        members = [member.float() for member in self._members(original)]
        return (torch.stack(members).sum(dim=0) / len(members)).round_().to(torch.uint8)

    def _sample(self, original: Tensor, generator: torch.Generator) -> Tensor:
        members = self._members(original)
        n, _, h, w = members[0].shape
        choice = torch.randint(len(members), (n, 1, h, w), generator=generator, dtype=torch.uint8)
        chosen = members[0].clone(memory_format=torch.contiguous_format)
        for i, member in enumerate(members[1:], start=1):
            chosen = torch.where(choice == i, member, chosen)
        return chosen

    def _members(self, original: Tensor) -> list[Tensor]:
        """The images of all cells' first pixels, second pixels, ...: views of (N, C, H, W)."""
        s = self.scale
        return [original[..., i::s, j::s] for i in range(s) for j in range(s)]


@dataclass(frozen=True)
class Gaussian(NoiseModel):
    """White noise of standard deviation `sigma` grey levels is added; rounded, clipped to 0-255.

    With `high`, every image has a standard deviation of its own, uniform from `sigma` to `high`:
    a network trained on it has to find out how noisy an image is.
    """

    sigma: float
    high: float | None = None

    def __post_init__(self) -> None:
        _require(0 <= self.sigma < math.inf, "gaussian:SIGMA", "SIGMA of 0 or more", self.sigma)
        if self.high is not None:
            fits = self.sigma <= self.high < math.inf
            _require(fits, "gaussian:LOW-HIGH", f"HIGH of {self.sigma} or more", self.high)

    @classmethod
    def parse(cls, parameter: str) -> Self:
        """Make the model of `SIGMA` or `LOW-HIGH`."""
        # A minus after an e belongs to a number, as in 1e-6.
        return cls(*map(float, re.split(r"(?<=[^eE])-", parameter)))

    def __str__(self) -> str:
        high = "" if self.high is None else f"-{_number(self.high)}"
        return f"gaussian:{_number(self.sigma)}{high}"

    def _sample(self, original: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(original.shape, generator=generator)
        if self.high is None:
            return _to_uint8(noise.mul_(self.sigma).add_(original))
        sigma = torch.rand((len(original), 1, 1, 1), generator=generator)
        sigma.mul_(self.high - self.sigma).add_(self.sigma)
        return _to_uint8(noise.mul_(sigma).add_(original))


@dataclass(frozen=True)
class Poisson(NoiseModel):
    """Photon noise: values are Poisson counts scaled to 0-255; white is `peak` photons."""

    peak: float

    def __post_init__(self) -> None:
        _require(0 < self.peak < math.inf, "poisson:PEAK", "PEAK above 0", self.peak)

    def __str__(self) -> str:
        return f"poisson:{_number(self.peak)}"

    def _sample(self, original: Tensor, generator: torch.Generator) -> Tensor:
        photons = torch.poisson(original.float() * (self.peak / 255), generator=generator)
        return _to_uint8(photons * (255 / self.peak))


@dataclass(frozen=True)
class Impulse(NoiseModel):
    """Salt and pepper: with this probability a pixel is black or white, in all channels."""

    probability: float

    def __post_init__(self) -> None:
        _require(0 <= self.probability <= 1, "impulse:P", "P from 0 to 1", self.probability)

    def __str__(self) -> str:
        return f"impulse:{_number(self.probability)}"

    def _sample(self, original: Tensor, generator: torch.Generator) -> Tensor:
        n, _, h, w = original.shape
        u = torch.rand((n, 1, h, w), generator=generator)
        pepper, salt = u < self.probability / 2, u < self.probability
        return original.masked_fill(salt, 255).masked_fill(pepper, 0)


def _prepare(obj: object) -> type[NoiseModel]:
    if not (isinstance(obj, type) and issubclass(obj, NoiseModel)):
        raise TypeError(f"expected a subclass of scratchnet.data.noise.NoiseModel, got {obj!r}")
    return obj


registry: Registry[type[NoiseModel]] = Registry("scratchnet.noise", kind="noise", prepare=_prepare)


def parse_noise(spec: str) -> NoiseModel:
    """The noise model that a specification names.

    Args:
        spec: `subpixel`, `gaussian:SIGMA`, `gaussian:LOW-HIGH`, `poisson:PEAK` or `impulse:P`; or
            the name of a plugin's, with `:` and its parameter if it takes one; or
            `package.module:Class`, with another `:` and the parameter.

    Raises:
        ArgumentError: The name is unknown, the parameter is missing, superfluous, no number or
            out of range.
        PluginError: A plugin cannot be loaded.
    """
    name, _, parameter = spec.strip().partition(":")
    if "." in name:
        kind, _, parameter = parameter.partition(":")
        name = f"{name}:{kind}"
    if ":" in name or name in registry.names():
        try:
            return registry.get(name).parse(parameter)
        except (ValueError, TypeError) as error:
            if isinstance(error, ScratchnetError):
                raise
    others = [name for name in registry.names() if not registry.info(name).builtin]
    known = NOISE_HELP + "".join(f", or {name} of a plugin" for name in others)
    raise ArgumentError(f"unknown noise {spec!r}: expected {known}")


def _require(holds: bool, syntax: str, expected: str, came: float) -> None:
    if not holds:
        raise ArgumentError(
            f"noise {syntax} expects {expected}, got {came}; known noise: {NOISE_HELP}"
        )


def _number(value: float) -> str:
    return repr(int(value)) if value == int(value) else repr(value)


def _to_uint8(values: Tensor) -> Tensor:
    return values.round_().clamp_(0, 255).to(torch.uint8)
