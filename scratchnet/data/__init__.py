"""Noisy images to learn from: sources, noise models and batches.

Every source ends in a `NoisyPairs`: `builtin` (photographs that ship with scikit-image),
`from_directory` (tensor files), `from_images` (any folder of images) and `from_noisy_folders`
(your own noisy pairs).
"""

from scratchnet.data.batches import augmented, batches, to_float, to_uint8
from scratchnet.data.directory import from_directory
from scratchnet.data.folders import from_images, from_noisy_folders
from scratchnet.data.images import find_images, load_image
from scratchnet.data.noise import NOISE_HELP, NoiseModel, parse_noise
from scratchnet.data.pairs import NoisyPairs
from scratchnet.data.photographs import PHOTOGRAPHS, Photograph, builtin

__all__ = [
    "NOISE_HELP",
    "PHOTOGRAPHS",
    "NoiseModel",
    "NoisyPairs",
    "Photograph",
    "augmented",
    "batches",
    "builtin",
    "find_images",
    "from_directory",
    "from_images",
    "from_noisy_folders",
    "load_image",
    "parse_noise",
    "to_float",
    "to_uint8",
]
