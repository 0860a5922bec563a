"""The images that a configuration names."""

from __future__ import annotations

from dataclasses import replace

from scratchnet.data import NoisyPairs, builtin, from_directory, from_images, from_noisy_folders
from scratchnet.training.config import TrainConfig


def load_data(config: TrainConfig) -> NoisyPairs:
    """The noisy pairs that a configuration names.

    Raises:
        ScratchnetError: if they cannot be read or cut.
    """
    if config.data is not None:
        pairs = from_directory(config.data)
        return replace(
            pairs,
            noisy_a=pairs.noisy_a[: config.n_train],
            noisy_b=pairs.noisy_b[: config.n_train],
            val_noisy=pairs.val_noisy[: config.n_val],
            val_target=pairs.val_target[: config.n_val],
        )
    assert config.n_train is not None
    assert config.n_val is not None
    n_train, n_val, size, seed = config.n_train, config.n_val, config.size, config.seed
    if config.images is not None:
        return from_images(config.images, config.noise, n_train, n_val, size, seed)
    if config.noisy_a is not None and config.noisy_b is not None:
        return from_noisy_folders(config.noisy_a, config.noisy_b, n_train, n_val, size, seed)
    return builtin(config.noise, n_train, n_val, size, seed)


def load_validation(config: TrainConfig) -> NoisyPairs:
    """As :func:`load_data`, for validation only: with few training pairs, which saves time.

    Raises:
        ScratchnetError: if they cannot be read or cut.
    """
    pairs = load_data(replace(config, n_train=1))
    count, _, height, width = pairs.val_noisy.shape
    source = f"{count} validation images of {width}x{height} from {short_name(config)}"
    return replace(pairs, source=source)


def short_name(config: TrainConfig) -> str:
    """Where the images of a configuration come from, in a few words."""
    if config.data is not None:
        return config.data
    if config.noisy_a is not None:
        return f"{config.noisy_a} and {config.noisy_b}"
    return f"{config.images or 'the built-in photographs'}, {config.noise} noise"
