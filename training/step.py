"""One step of training, for every method: loss, backward, average over processes, optimiser, weight average."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from sparta_hub.errors import first_words
from sparta_hub.seeds import derived_seed
from sparta_hub.small_maps import has_matrix_unit, use_products
from training.config import TrainConfig
from training.errors import ConfigError
from training.methods import Batch, Draws, Method, build_method
from training.models import make_model
from training.parallel import World, average_, statistics
from training.schedules import epsilon_factor, factor, momentum_dip

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")  # torch.compile's own; the second has CUDA graphs


def compile_mode(wanted: str | None, world: World) -> str | None:
    """The mode of torch.compile; by default none where its graphs would break at every synchronised BatchNorm.

    Args:
        wanted: one of ``COMPILE_MODES``, or ``none``; None: what pays on the device.
        world: this process and its device.
    """
    mode = wanted or ("default" if world.device.type == "cuda" and not world.synchronises else "none")
    return None if mode == "none" else mode


@dataclass(frozen=True)
class Length:
    """How long a run is.

    Args:
        steps: optimiser steps in all.
        per_epoch: steps in an epoch.
    """

    steps: int
    per_epoch: int


def length_of(config: TrainConfig, per_epoch: int) -> Length:
    """How many steps a run has, with ``per_epoch`` whole batches in a pass over the images."""
    return Length(max(1, math.ceil(round(config.epochs * per_epoch, 6))), per_epoch)


@dataclass(frozen=True)
class Parts:
    """What moves in a run.

    Args:
        model: the network, on the device.
        method: how it is trained; may hold state.
        optimizer: of the network's parameters.
        average: the averaged network, if there is one.
    """

    model: nn.Module
    method: Method
    optimizer: torch.optim.SGD
    average: ModelEmaV3 | None

    @property
    def measured(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one, if there is one."""
        return self.average.module if self.average else self.model


@contextmanager
def convolutions_timed(wanted: bool) -> Iterator[None]:
    """Let cuDNN time its convolutions for each shape of a batch and take the fastest, or not; then as before.

    Worth it where all batches have one shape. Without a GPU it means nothing.
    """
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = wanted
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def assemble(config: TrainConfig, num_classes: int, world: World, *, compiled: str | None = None) -> Parts:
    """Make network, method, optimiser and average, as the seed has them at step 0.

    Args:
        config: the run.
        num_classes: of the data.
        world: where.
        compiled: let ``torch.compile`` fuse the network's passes, in one of ``COMPILE_MODES``; methods that cannot have
            it go without.

    Raises:
        ConfigError: the method cannot be had on several GPUs.
    """
    model = make_model(config, num_classes, synchronised=world.synchronises).to(world.device)
    if config.precision == "bf16" and has_matrix_unit(world.device):
        use_products(model)
    method = build_method(
        config.method, config.method_arguments, awp=config.awp, seed=config.seed, synchronised=world.synchronises
    ).to(world.device)
    if world.synchronises and method.differentiates_twice:
        raise ConfigError(
            f"{config.method} differentiates twice, which torch's BatchNorm of several GPUs cannot (pytorch#61222); "
            "expected one GPU, or another method."
        )
    average = ModelEmaV3(model, config.ema_decay, use_warmup=True, warmup_power=0.75) if config.ema_decay else None
    optimizer = torch.optim.SGD(
        model.parameters(),
        config.lr,
        config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=world.device.type in ("cpu", "cuda"),
    )
    if compiled and not method.differentiates_twice:
        model.compile(mode=compiled)  # in place: it stays the plain module, with its own names
    return Parts(model, method, optimizer, average)


@torch.no_grad()
def check_sees(config: TrainConfig, model: nn.Module, x: Tensor) -> None:
    """Raise ``ConfigError`` if the network of ``config`` cannot see images such as those of the batch ``x``."""
    model.eval()
    try:
        model.forward(x[:1])  # not compiled for one image
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{config.host} fails on the images {tuple(x.shape[1:])} of {config.dataset}: "
            f"{first_words(error)} Expected a host that takes their size, such as --set "
            "host=resnet18_cifar."
        ) from error
    finally:
        model.train()


def train_step(
    config: TrainConfig, parts: Parts, x: Tensor, y: Tensor, *, step: int, length: Length, world: World
) -> Tensor:
    """Train on one batch.

    Args:
        config: the run.
        parts: changed in place.
        x, y: this process's rows of the batch, on the device: see ``Batches``.
        step: number of the optimiser's step, from 0; all its random numbers come from it and the seed.
        length: of the run.
        world: this process among all.

    Returns:
        The loss, a number on the device, the same in all processes. Nothing here waits for the device.
    """
    model, method, device = parts.model, parts.method, world.device
    torch.manual_seed(derived_seed(config.seed, "layers", step, world.rank))  # dropout and the like take no generator
    generator = torch.Generator(device).manual_seed(derived_seed(config.seed, "draws", step))
    eps = config.threat.eps * epsilon_factor(config.epsilon_warmup, step, length.per_epoch)
    batch = Batch(
        x,
        y,
        replace(config.threat, eps=eps),
        step,
        step % method.replays,
        Draws(generator, world.rows(config.batch_size), config.batch_size),
    )
    for group in parts.optimizer.param_groups:
        group["lr"] = config.lr * factor(config.schedule, step, length.steps, length.per_epoch)
        group["momentum"] = config.momentum - momentum_dip(config.schedule, step, length.steps, length.per_epoch)
    criterion = partial(F.cross_entropy, label_smoothing=config.label_smoothing)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        loss = method.loss(model, batch, criterion)
    parts.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    loss = loss.detach().float().clone()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    average_([loss, *gradients, *statistics(model)], world)
    method.after_backward(model)
    parts.optimizer.step()
    if parts.average:
        parts.average.update(model, step=step)
    return loss
