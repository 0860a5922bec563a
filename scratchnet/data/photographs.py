"""The built-in photographs: public-domain and CC0 images that ship inside scikit-image's wheel.

Nothing is downloaded: the files lie in the installed package's `skimage/data`. Licence and origin
are those that scikit-image states for each image (docstrings of `skimage.data`). Left out: what
is no photograph (drawings, scans, phase images), what carries no clear dedication ("no known
copyright restrictions": coins, immunohistochemistry; none stated: moon, motorcycle), and what has
next to no detail (retina, the motion-blurred clock).

`camera`, `brick`, `grass` and `gravel` are grey: they are used with three equal channels, for
their texture.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from scratchnet.data.cutting import Pixels, cut
from scratchnet.data.images import load_image
from scratchnet.data.noise import NoiseModel, parse_noise
from scratchnet.data.pairs import NoisyPairs, check_counts
from scratchnet.errors import DataError


@dataclass(frozen=True)
class Photograph:
    """A built-in photograph: its file in `skimage/data`, its use, its licence and its origin."""

    file: str
    use: Literal["train", "validation"]
    licence: str
    origin: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.partition(".")[0]

    def load(self) -> Pixels:
        """The decoded image, uint8 (H, W, 3).

        Raises:
            DataError: The installed scikit-image lacks the file.
        """
        path = Path(str(resources.files("skimage"))) / "data" / self.file
        if not path.is_file():
            raise DataError(
                f"the built-in photograph {path} is missing; scikit-image's wheel holds it: "
                "pip install --force-reinstall --no-deps scikit-image"
            )
        return load_image(path)


PHOTOGRAPHS = (
    Photograph("astronaut.png", "validation", "public domain", "NASA, Eileen Collins"),
    Photograph(
        "hubble_deep_field.jpg", "train", "public domain", "NASA, Hubble eXtreme Deep Field"
    ),
    Photograph("rocket.jpg", "train", "public domain", "SpaceX, launch of DSCOVR"),
    Photograph("brick.png", "train", "CC0", "CC0Textures, Bricks25"),
    Photograph("grass.png", "train", "CC0", "linolafett, DeviantArt"),
    Photograph("gravel.png", "train", "CC0", "CC0Textures, Gravel04"),
    Photograph("camera.png", "train", "CC0", "Lav Varshney"),
    Photograph("coffee.png", "validation", "CC0", "Rachel Michetti, Pikolo Espresso Bar"),
    Photograph("chelsea.png", "train", "CC0", "Stefan van der Walt, a cat"),
)

# The same validation for every seed: runs with different seeds are measured on the same images.
VALIDATION_SEED = 1


def builtin(
    noise: str | NoiseModel = "subpixel",
    n_train: int = 5000,
    n_val: int = 500,
    size: int = 32,
    seed: int = 0,
    *,
    clean_targets: bool = False,
) -> NoisyPairs:
    """Noisy pairs cut out of the built-in photographs; validation from ones training never sees.

    Args:
        noise: A noise model or its specification, see `parse_noise`.
        n_train: Training pairs, 1 or more. They are turned, mirrored and recoloured at random.
        n_val: Validation images, 1 or more; the same ones for every `seed`.
        size: Side of the images, in pixels.
        seed: Decides which training images are cut, and their noise.
        clean_targets: Put the clean image in place of the second noisy one, `noisy_b`, to see
            what a network learns from it; all else stays the same, `noisy_a` to the bit.

    Raises:
        DataError: scikit-image lacks one of the photographs.
        ArgumentError: The noise is unknown, or a count or the size is below 1.
        ShapeError: `size` exceeds the photographs.
    """
    model = parse_noise(noise) if isinstance(noise, str) else noise
    check_counts(n_train=n_train, n_val=n_val, size=size)
    train = [p for p in PHOTOGRAPHS if p.use == "train"]
    validation = [p for p in PHOTOGRAPHS if p.use == "validation"]
    side = size * model.scale
    generator = torch.Generator().manual_seed(seed)
    val_generator = torch.Generator().manual_seed(VALIDATION_SEED)
    original = cut([p.load for p in train], n_train, side, generator, mirror=True)
    original = recolour(original, generator)
    val_original = cut([p.load for p in validation], n_val, side, val_generator)
    noisy_a = model.sample(original, generator)
    noisy_b = model.clean(original) if clean_targets else model.sample(original, generator)
    kind = "noisy images with clean targets" if clean_targets else "noisy pairs"
    return NoisyPairs(
        noisy_a=noisy_a,
        noisy_b=noisy_b,
        val_noisy=model.sample(val_original, val_generator),
        val_target=model.clean(val_original),
        val_is_clean=True,
        source=(
            f"built-in photographs, {model} noise: {n_train} {kind} of {size}x{size} from "
            f"{', '.join(p.name for p in train)}; {n_val} validation images from "
            f"{', '.join(p.name for p in validation)}"
        ),
    )


def recolour(images: Tensor, generator: torch.Generator) -> Tensor:
    """Give every second image, at random, other colours.

    Few of the photographs have colours, and those have few; a network that only knows them leaves
    noise in a saturated red. The channels are exchanged, and each is darkened by up to a half.

    Args:
        images: uint8, (N, 3, H, W).
        generator: Source of all randomness.

    Returns:
        uint8, (N, 3, H, W), a new tensor.
    """
    n = len(images)
    order = torch.rand((n, 3), generator=generator).argsort(dim=1)
    gain = 1 - torch.rand((n, 3), generator=generator) / 2
    as_it_was = torch.rand(n, generator=generator) < 0.5
    order[as_it_was] = torch.arange(3)
    gain[as_it_was] = 1.0
    exchanged = images[torch.arange(n)[:, None], order]
    return exchanged.float().mul_(gain[:, :, None, None]).round_().to(torch.uint8)
