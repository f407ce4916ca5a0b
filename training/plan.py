"""What a run will be and cost, before it is begun: counted from its parts, and timed on a few real steps."""

import resource
import sys
import time
from dataclasses import dataclass, replace

import torch

from sparta_hub.counting import counted
from sparta_hub.data import SOURCES, data_root
from sparta_hub.errors import ArtifactError, DataError, HubError, NameNotFoundError
from sparta_hub.hosts import host_on_meta
from sparta_hub.provenance import hardware
from sparta_hub.surgery import status
from training.config import TrainConfig
from training.data import open_data
from training.models import make_model
from training.parallel import World
from training.precision import slow_precision
from training.step import Length, Parts, assemble, check_sees, length_of, train_step
from training.validation import STEPS

TRIAL = 8  # images of the first, cautious step
BUDGET = 20.0  # seconds; where whole batches would take longer, time is taken on TRIAL images


@dataclass(frozen=True)
class DataSize:
    """A training set: how many images, classes, and pixels a side, and how many of the images are held out."""

    images: int
    classes: int
    pixels: int
    held: int = 0


KNOWN = {  # where the images are not there to be counted
    "cifar10": DataSize(50_000, 10, 32),
    "cifar100": DataSize(50_000, 100, 32),
    "svhn": DataSize(73_257, 10, 32),
    "gtsrb": DataSize(39_209, 43, 32),
    "mnist": DataSize(60_000, 10, 32),
    "fashion_mnist": DataSize(60_000, 10, 32),
    "tiny_imagenet": DataSize(100_000, 200, 64),
    "imagenet": DataSize(1_281_167, 1000, 224),
}


@dataclass(frozen=True)
class Parameters:
    """Learned values of a network: of its host, and of the activations put in, frozen or not."""

    host: int
    extra: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.host + self.extra


@dataclass(frozen=True)
class Cost:
    """What a usual step took.

    Args:
        forwards, backwards: how often the network was called, and how often a gradient came back through its output.
        seconds: of a whole batch.
        batch: images that were timed; where fewer than a batch, the seconds are scaled up from them.
        memory: bytes: the peak of tensors on a GPU, else of this process.
    """

    forwards: int
    backwards: int
    seconds: float
    batch: int
    memory: int


@dataclass(frozen=True)
class Plan:
    """A run that has not begun.

    Args:
        config: of the run.
        device: that the cost was measured on, in words.
        data: its training set, held-out images among them.
        parameters: of the network.
        trainable: values that the optimiser moves.
        sites: where the activations stand.
        per_epoch, steps: optimiser steps.
        missing: what has to be got before it can run, and how.
        slow: what makes it slower here than it need be, and what to type; None where nothing does.
        cost: of a usual step; None if it was not measured.
    """

    config: TrainConfig
    device: str
    data: DataSize
    parameters: Parameters
    trainable: int
    sites: tuple[str, ...]
    per_epoch: int
    steps: int
    missing: tuple[str, ...]
    slow: str | None
    cost: Cost | None

    @property
    def validation_seconds(self) -> float:
        """What all validations take at most: PGD-10 and two more passes an image, a backward pass counted as two."""
        if self.cost is None:
            return 0.0
        unit = self.cost.seconds / self.config.batch_size / (self.cost.forwards + 2 * self.cost.backwards)
        times = self.config.epochs / self.config.validate_every
        return times * self.data.held * (3 * STEPS + 2) * unit

    @property
    def seconds(self) -> float | None:
        """What the run will take here, validation included; None if nothing was measured."""
        return None if self.cost is None else self.steps * self.cost.seconds + self.validation_seconds

    def __str__(self) -> str:
        c, p, d = self.config, self.parameters, self.data
        kept = {False: "", True: ", frozen", "weights": ", weights frozen"}[c.frozen]
        bytes_ = d.images * 3 * d.pixels**2
        rows = [
            ("recipe", c.name),
            ("host", f"{c.host}: {p.host:,} parameters"),
            ("activation", f"{c.activation or c.family}{kept}, placement {c.placement}: {p.extra:,} parameters"),
            ("sites", _few(self.sites) or "the host's own activations"),
            ("trained", f"{self.trainable:,} parameters"),
            ("data", f"{c.dataset}: {d.images:,} images of {d.pixels}×{d.pixels} in {d.classes} classes, "
                     f"{d.held:,} held out; {c.augmentation}; {_size(bytes_)} as bytes"),
            ("method", f"{c.method} {dict(c.method_arguments) or ''}".strip() + f", {c.threat}, {c.precision}"),
            ("length", f"{c.epochs:g} epochs, {self.steps:,} steps of {c.batch_size} images"),
        ]  # fmt: skip
        if (cost := self.cost) is not None:
            scaled = "" if cost.batch == c.batch_size else f", scaled up from {cost.batch} images"
            rows += [
                ("a step", f"{cost.forwards} forward and {cost.backwards} backward passes, {cost.seconds:.3g} s "
                           f"({c.batch_size / cost.seconds:,.0f} images/s{scaled}), not compiled, on {self.device}"),
                ("estimate", f"{duration(self.seconds or 0)}, of it at most {duration(self.validation_seconds)} of "
                             f"validation; {_size(cost.memory)} of memory{' for so few' if scaled else ''}"),
            ]  # fmt: skip
        rows += [("slow", self.slow)] if self.slow else []
        rows += [("missing", text) for text in self.missing]
        return "\n".join(f"{name:<11}{text}" for name, text in rows)


def plan(config: TrainConfig, device: torch.device, *, limit: float = 1.0, measure: bool = True) -> Plan:
    """Say what ``config`` asks for, and time a few steps of it, not compiled, on images of noise; nothing is written.

    Args:
        config: the run.
        device: to measure on.
        limit: share of the images to train and to validate on.
        measure: take the time and memory of a step, for about ``BUDGET`` seconds at most.

    Raises:
        DataError: the data are not there, and how many they are is not known either.
        NameNotFoundError: the activation is a short name that nobody knows; a folder or repository is named as missing.
        SpartaError: host, activation, method or their arguments are wrong.
    """
    missing = []
    try:
        opened = open_data(config, World(), limit=limit, workers=0)
        x, _ = next(opened.batches.stream(0))
        held = len(opened.validation) if opened.validation else 0
        data = DataSize(opened.identity["images"] + held, opened.num_classes, x.shape[-1], held)
        per_epoch = opened.batches.per_epoch
        del opened, x
    except DataError as error:
        if config.dataset not in KNOWN:
            raise
        get = SOURCES[config.dataset].get.format(root=data_root(), split="train")
        missing.append(f"{config.dataset}: {error}" + ("" if get in str(error) else f" To get it: {get}"))
        known = KNOWN[config.dataset]
        held, trained = (round(limit * count) for count in (config.validation, known.images - config.validation))
        data = DataSize(trained + held, known.classes, config.image_size or known.pixels, held)
        per_epoch = max(1, trained // config.batch_size)
    built = config
    try:
        model = make_model(config, data.classes)
    except (NameNotFoundError, ArtifactError, HubError) as error:
        if isinstance(error, NameNotFoundError) and "/" not in config.activation:
            raise  # a short name: no folder or repository that may come to be before the run
        missing.append(f"{config.activation}: {error}")
        built = replace(config, activation="", frozen=False)  # of the same form, though not the same weights
        model = make_model(built, data.classes)
    parameters, length = count_parameters(built, data.classes), length_of(config, per_epoch)
    cost = _measure(built, data, World(device), length) if measure else None
    return Plan(
        config, hardware(device), data, parameters, parameters.host if config.frozen else parameters.total,
        tuple(site.site for site in status(model)), per_epoch, length.steps, tuple(missing),
        slow_precision(config, device), cost,
    )  # fmt: skip


def count_parameters(config: TrainConfig, classes: int | None = None) -> Parameters:
    """The learned values of the network of ``config``, without memory for it unless it has pretrained activations.

    Args:
        config: host and activation set are looked at.
        classes: of its head; by default those of its data set, which must be in ``KNOWN``.
    """
    classes = classes or KNOWN[config.dataset].classes
    host = sum(p.numel() for p in host_on_meta(config.host, classes).parameters())
    if config.family == "relu" and not config.activation:
        return Parameters(host, 0)
    with torch.device("cpu" if config.activation else "meta"):
        return Parameters(host, sum(site.parameters for site in status(make_model(config, classes))))


def _measure(config: TrainConfig, data: DataSize, world: World, length: Length) -> Cost:
    """Time steps: first two of few images, then, where the budget allows, three of whole batches."""
    with torch.random.fork_rng():
        parts = assemble(config, data.classes, world)
        check_sees(config, parts.model, torch.zeros(1, 3, data.pixels, data.pixels, device=world.device))
        few = batch = min(TRIAL, config.batch_size)
        _timed(config, parts, data, few, world, length, 0)  # the first one is slower
        with counted(parts.model) as images:  # that went forward, and whose gradient came back
            took = _timed(config, parts, data, few, world, length, 1)
        if 3 * took * config.batch_size / few <= BUDGET:
            batch = config.batch_size
            took = min(_timed(config, parts, data, batch, world, length, step) for step in (2, 3, 4))
    forwards, backwards = (count // few for count in images)
    return Cost(forwards, backwards, took * config.batch_size / batch, batch, _memory(world.device))


def _timed(
    config: TrainConfig, parts: Parts, data: DataSize, batch: int, world: World, length: Length, step: int
) -> float:
    """Seconds of one step on ``batch`` images of noise."""
    generator = torch.Generator().manual_seed(step)
    x = torch.rand(batch, 3, data.pixels, data.pixels, generator=generator)
    y = torch.randint(data.classes, (batch,), generator=generator).to(world.device)
    x = x.to(world.device).contiguous(memory_format=torch.channels_last)
    _wait(world.device)
    begun = time.perf_counter()
    train_step(replace(config, batch_size=batch), parts, x, y, step=step, length=length, world=world)
    _wait(world.device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{len(names)}: {', '.join(names[:3])}, …, {names[-1]}"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def duration(seconds: float) -> str:
    """A time in words."""
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
