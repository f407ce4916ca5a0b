"""The images of a run: found by name, split, and laid where training can take them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparta_hub.data import Images, load_images
from sparta_hub.identity import tensors_sha256
from training.batches import Batches, InMemory, check_enough
from training.config import TrainConfig
from training.parallel import World
from training.split import hold_out, share, tracks


@dataclass(frozen=True)
class TrainingData:
    """What a run sees.

    Args:
        batches: to train on.
        validation: held-out training images; None without validation.
        num_classes: number of classes.
        identity: what must be the same when the run goes on: name, counts, share, checksum.
    """

    batches: Batches
    validation: Images | None
    num_classes: int
    identity: Mapping[str, Any]


def open_data(
    config: TrainConfig, world: World, *, limit: float = 1.0, workers: int = 0, root: Path | None = None
) -> TrainingData:
    """The training images of ``config.dataset``; its test images are never looked at.

    Photographs in folders (augmentation ``resized_crop_flip``) are read while training goes on; everything else
    lies in memory.

    Args:
        config: dataset, image size, validation, augmentation, batch size and seed are looked at.
        world: where, and which rows.
        limit: share of the images to train and to validate on.
        workers: processes that read photographs.
        root: see ``load_images``.

    Raises:
        ConfigError, DataError: the set is not there, too small, or does not go with the configuration: arrays that lack
            the image size that it asks for.
    """
    if config.augmentation == "resized_crop_flip":
        return _from_folder(config, world, limit, workers, root)
    images = load_images(config.dataset, "train", root, size=config.image_size)
    return in_memory(config, images, world, limit=limit)


def in_memory(config: TrainConfig, images: Images, world: World, *, limit: float = 1.0) -> TrainingData:
    """Split images, and lay those to train on onto the device as bytes."""
    groups = tracks(images.y) if config.dataset == "gtsrb" and config.validation else torch.arange(len(images))
    chosen, held = _split(config, groups, world, limit)
    train, validation = (replace(images, pixels=images.pixels[i], y=images.y[i]) for i in (chosen, held))
    sha256 = tensors_sha256([("x", train.x), ("y", train.y), ("held x", validation.x), ("held y", validation.y)])
    there = replace(train, pixels=train.x.to(world.device), y=train.y.to(world.device))
    batches = InMemory(there, config.batch_size, config.augmentation, config.seed, world)
    identity = _identity(config, limit, len(train), len(validation), sha256)
    return TrainingData(batches, validation if len(validation) else None, images.num_classes, identity)


def _from_folder(config: TrainConfig, world: World, limit: float, workers: int, root: Path | None) -> TrainingData:
    from training.folders import FromFolder, files_sha256, find_files, read_held_out  # needs torchvision

    files, classes, own_size = find_files(config.dataset, root)
    size = config.image_size or own_size
    chosen, held = _split(config, torch.arange(len(files)), world, limit)
    train, validation = ([files[i] for i in part.tolist()] for part in (chosen, held))
    batches = FromFolder(train, size, config.batch_size, config.seed, world, workers)
    images = read_held_out(validation, config.dataset, classes, size) if validation else None
    identity = _identity(config, limit, len(train), len(validation), files_sha256([*train, *validation]))
    return TrainingData(batches, images, len(classes), identity)


def _split(config: TrainConfig, groups: Tensor, world: World, limit: float) -> tuple[Tensor, Tensor]:
    """Indices to train on and to validate on."""
    world.rows(config.batch_size)  # refuses a batch that the processes cannot share
    train, held = hold_out(groups, config.validation, seed=config.seed)
    train, held = (share(index, limit, seed=config.seed) for index in (train, held))
    check_enough(len(train), config.batch_size)
    return train, held


def _identity(config: TrainConfig, limit: float, images: int, validation: int, sha256: str) -> dict[str, Any]:
    return {
        "dataset": config.dataset, "limit": limit, "images": images, "validation": validation, "sha256": sha256,
    }  # fmt: skip
