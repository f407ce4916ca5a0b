"""One training run, complete."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sparta_hub.activations import Argument
from sparta_hub.threat import ThreatModel
from training.errors import ConfigError

Augmentation = Literal["crop_flip", "crop", "resized_crop_flip", "none"]


@dataclass(frozen=True)
class Schedule:
    """The learning rate over a run, as a factor of ``lr`` (``training.schedules.factor``).

    Args:
        kind: ``one_cycle`` (linear up over the share ``rise`` of the run, linear down to 0), ``one_cycle_by_epoch``
            (torch's ``OneCycleLR``, stepped once an epoch: from 1/25 up and down to nothing by cosines; as torch's, it
            is at nothing throughout a run of one epoch, which the command line refuses), ``cyclic`` (``one_cycle`` with
            its peak in the middle, whatever ``rise`` says), ``multistep`` (times ``gamma`` at each milestone),
            ``cosine`` (to 0), ``constant``.
        rise: share of the run before the peak.
        milestones: epochs.
        gamma: what ``multistep`` multiplies with.
        warmup: epochs of linear warm-up before any of these.
        momentum_dip: how much lower momentum is at the peak of ``one_cycle_by_epoch``, along the same cosines
            (``OneCycleLR``: 0.1, below 0.95).

    Raises:
        ConfigError: a number that is none, is not finite, or below 0; a dip beside another kind, or a warm-up.
    """

    kind: Literal["one_cycle", "one_cycle_by_epoch", "cyclic", "multistep", "cosine", "constant"] = "one_cycle"
    rise: float = 0.3
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    warmup: float = 0.0
    momentum_dip: float = 0.0

    def __post_init__(self) -> None:
        for name, numbers, expected in (
            ("rise", (self.rise,), "a finite share of the run, 0 or more"),
            ("milestones", self.milestones, "finite numbers of epochs, each 0 or more"),
            ("gamma", (self.gamma,), "a finite number, 0 or more"),
            ("warmup", (self.warmup,), "a finite number of epochs, 0 or more"),
            ("momentum_dip", (self.momentum_dip,), "a finite number, 0 or more"),
        ):
            if not all(0 <= number < math.inf for number in numbers):
                raise ConfigError(f"schedule.{name} is {getattr(self, name)!r}; expected {expected}.")
        if self.momentum_dip and (self.kind != "one_cycle_by_epoch" or self.warmup):
            raise ConfigError(
                f"schedule.momentum_dip is {self.momentum_dip!r} beside schedule.kind {self.kind} and "
                f"schedule.warmup {self.warmup!r}; expected 0, or one_cycle_by_epoch without warm-up."
            )


def usual_augmentation(dataset: str) -> Augmentation:
    """What the images of a data set bear: digits and road signs mean something else in a mirror."""
    own: dict[str, Augmentation] = {"svhn": "crop", "mnist": "crop", "gtsrb": "crop", "imagenet": "resized_crop_flip"}
    return own.get(dataset, "crop_flip")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the outcome of a run, apart from the machine.

    Args:
        name: name of the recipe.
        host: timm name.
        family, arguments, placement: the activation set; family ``relu`` leaves the host as it is.
        activation: name or folder of a pretrained activation set to put in instead of a fresh one (a transfer).
        frozen: whether that set is kept as it is (``True``), keeps its weights while BatchNorm statistics adapt
            (``"weights"``), or trains on (``False``).
        dataset: a name that ``sparta_hub.data`` knows, or a folder of images.
        image_size: height and width in pixels that images in files are brought to, to train and to validate; None keeps
            the set's own. Arrays are never resized.
        validation: how many training images are held out to choose the best checkpoint; never trained on.
        validate_every: epochs between two measurements on them.
        augmentation: ``crop_flip`` for small images, ``crop`` where mirror images mean something else (digits, road
            signs), ``resized_crop_flip`` for photographs in folders, ``none``.
        method: a key of ``training.methods.METHODS``; ``method_arguments`` are its own keyword arguments.
        awp: γ of adversarial weight perturbation around the method; 0 is without.
        threat: the ball the method attacks in.
        epsilon_warmup: epochs over which ε grows from 0 linearly.
        epochs, batch_size, lr, momentum, nesterov, weight_decay, schedule: stochastic gradient descent. The batch is
            that of all processes together. An epoch is as many optimiser steps as the training images make whole
            batches; a method that replays each batch m times sees the images ``epochs / m`` times.
        label_smoothing: of the training loss, never of the attack's.
        ema_decay: weights are averaged with this decay at every step, with warm-up; BatchNorm statistics likewise.
            0 is without averaging.
        precision: ``fp32``, or ``bf16`` for autocast: twice as fast where the processor has bf16 instructions, and
            many times slower where it has not.
        seed: of initialisation, order, augmentation and noise.
    """

    name: str
    host: str
    family: str = "relu"
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    placement: str = "last"
    activation: str = ""
    frozen: bool | Literal["weights"] = False
    dataset: str = "cifar10"
    image_size: int | None = None
    validation: int = 1000
    validate_every: float = 1.0
    augmentation: Augmentation = "crop_flip"
    method: str = "pgd"
    method_arguments: Mapping[str, Argument] = field(default_factory=dict)
    awp: float = 0.0
    threat: ThreatModel = field(default_factory=ThreatModel)
    epsilon_warmup: float = 0.0
    epochs: float = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    schedule: Schedule = field(default_factory=Schedule)
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    @property
    def run_name(self) -> str:
        """What a run is called where nobody names it: ``RECIPE-seedS``."""
        return f"{self.name}-seed{self.seed}"

    def __post_init__(self) -> None:
        for name, fine, expected in (
            ("name", re.fullmatch(r"\w[\w.-]*", self.name), "letters, digits, _ - and ., as its files are called so"),
            ("epochs", 0 < self.epochs < math.inf, "a finite number above 0"),
            ("batch_size", self.batch_size >= 1, "1 or more"),
            ("image_size", self.image_size is None or self.image_size >= 1, "1 pixel or more, or none"),
            ("validation", self.validation >= 0, "0 or more"),
            ("validate_every", self.validate_every > 0, "more than 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "0 or more, and below 1"),
            ("ema_decay", 0 <= self.ema_decay < 1, "0 or more, and below 1"),
            ("lr", 0 <= self.lr < math.inf, "a finite number, 0 or more"),
            ("momentum", 0 <= self.momentum < 1, "0 or more, and below 1"),
            ("momentum", self.schedule.momentum_dip <= self.momentum, "no less than schedule.momentum_dip"),
            ("nesterov", not self.nesterov or self.momentum > 0, "False without momentum"),
            ("weight_decay", 0 <= self.weight_decay < math.inf, "a finite number, 0 or more"),
            ("epsilon_warmup", 0 <= self.epsilon_warmup < math.inf, "a finite number of epochs, 0 or more"),
            ("awp", 0 <= self.awp < math.inf, "a finite number, 0 or more"),
            ("frozen", not self.frozen or bool(self.activation), "False without a pretrained activation to freeze"),
        ):
            if not fine:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {expected}.")
