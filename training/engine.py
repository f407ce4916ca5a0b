"""The smallest honest adversarial training: build, attack each batch, step, average, checkpoint, measure."""

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

import sparta_hub.hosts  # noqa: F401  registers the small-image hosts
from sparta_hub.attacks import pgd
from sparta_hub.data import Images
from sparta_hub.provenance import provenance, wilson
from sparta_hub.surgery import inject
from sparta_hub.threat import ThreatModel
from training.config import TrainConfig
from training.methods import METHODS


def make_model(config: TrainConfig, num_classes: int) -> nn.Module:
    """The host with its activation set, freshly initialised from the seed; twins share the host's initial weights."""
    torch.manual_seed(config.seed)
    model = timm.create_model(config.host, num_classes=num_classes)
    if config.family != "relu":
        inject(model, config.family, placement=config.placement, arguments=config.arguments)
    return model.to(memory_format=torch.channels_last)


def augment(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop after padding by 4, random flip; x: (B, C, H, W) floats. One shift and one flip an image."""
    batch, _, height, width = x.shape
    padded = F.pad(x, (4, 4, 4, 4))
    dy, dx = torch.randint(0, 9, (2, batch, 1), generator=generator)
    columns = dx + torch.arange(width)
    flip = torch.rand(batch, 1, generator=generator) < 0.5
    columns = torch.where(flip, columns.flip(1), columns)
    rows = dy + torch.arange(height)
    image = torch.arange(batch)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)  # channels_last


def one_cycle(step: int, steps: int) -> float:
    """Learning-rate factor: linear up over the first 30 %, linear down to 0."""
    peak = 0.3 * steps
    return (step + 1) / peak if step < peak else max(0.0, (steps - step) / (steps - peak))


def train(config: TrainConfig, data: Images, out: Path, *, checkpoint_every: int = 100) -> dict[str, Any]:
    """Run ``config`` on ``data``; resumes from ``out`` if a checkpoint is there.

    Returns:
        What it took: steps, images, seconds, losses, provenance. Averaged weights are in ``out/averaged.safetensors``.
    """
    out.mkdir(parents=True, exist_ok=True)
    model = make_model(config, data.num_classes).train()
    average = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True, warmup_power=0.75)
    optimizer = torch.optim.SGD(
        model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=True
    )
    steps = math.ceil(config.epochs * len(data) / config.batch_size)
    step, seconds, losses = _resume(out, model, average.module, optimizer)
    bar = tqdm(total=steps, initial=step, desc=config.name, unit="step", mininterval=10)
    while step < steps:
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)  # so that a resumed run is the same
        x, y = _batch(data, config, step, generator)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * one_cycle(step, steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            x_adv = METHODS[config.method](model, x, y, config.threat, generator)
            loss = F.cross_entropy(model(x_adv), y, label_smoothing=config.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        average.update(model, step=step)
        losses.append(round(loss.item(), 4))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"The loss is {losses[-1]} at step {step}; the last good checkpoint is in {out}.")
        seconds += time.perf_counter() - started
        step += 1
        bar.update()
        if step % checkpoint_every == 0 or step == steps:
            bar.set_postfix(loss=sum(losses[-50:]) / len(losses[-50:]))
            _checkpoint(out, model, average.module, optimizer, step, seconds, losses)
    bar.close()
    save_file({key: t.contiguous() for key, t in average.module.state_dict().items()}, out / "averaged.safetensors")
    images = steps * config.batch_size
    return {
        "config": asdict(config),
        "steps": steps,
        "images": images,
        "seconds": round(seconds, 1),
        "losses": losses,
    } | (provenance(torch.device("cpu")))


def _batch(data: Images, config: TrainConfig, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    epoch, place = divmod(step * config.batch_size, len(data) // config.batch_size * config.batch_size)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(config.seed + 7919 * epoch))
    index = order[place : place + config.batch_size]
    return augment(data.floats(index), generator), data.y[index]


def _checkpoint(
    out: Path,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.SGD,
    step: int,
    seconds: float,
    losses: list[float],
) -> None:
    tensors = {f"model.{k}": t for k, t in model.state_dict().items()} | {
        f"average.{k}": t for k, t in average.state_dict().items()
    }
    tensors |= {f"momentum.{i}": s["momentum_buffer"] for i, s in optimizer.state_dict()["state"].items()}
    part = out / "checkpoint.part"
    state = json.dumps({"step": step, "seconds": seconds, "losses": losses})
    save_file({k: t.contiguous() for k, t in tensors.items()}, part, metadata={"state": state})
    part.replace(out / "checkpoint.safetensors")


def _resume(
    out: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.SGD
) -> tuple[int, float, list[float]]:
    path = out / "checkpoint.safetensors"
    if not path.exists():
        return 0, 0.0, []
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        state = json.loads(file.metadata()["state"])
    pick = lambda prefix: {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}  # noqa: E731
    model.load_state_dict(pick("model."))
    average.load_state_dict(pick("average."))
    saved = optimizer.state_dict()
    saved["state"] = {int(i): {"momentum_buffer": t} for i, t in pick("momentum.").items()}
    optimizer.load_state_dict(saved)
    return state["step"], state["seconds"], state["losses"]


@torch.no_grad()
def correct(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which predictions are right, (B,) booleans."""
    return model(x).argmax(1) == y


def evaluate_pgd(
    model: nn.Module, data: Images, threat: ThreatModel, *, count: int, steps: int, seed: int, batch_size: int = 100
) -> list[dict[str, Any]]:
    """Clean and PGD accuracy on the first ``count`` images, in percent with Wilson intervals.

    Each step is ε/4 long, from one random start. An image that is wrong already counts as broken and is not attacked.
    """
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    clean = robust = 0
    started = time.perf_counter()
    for i in tqdm(range(0, count, batch_size), desc=f"PGD-{steps}", unit="batch", mininterval=10):
        index = slice(i, min(i + batch_size, count))
        x, y = data.floats(index), data.y[index]
        right = correct(model, x, y)
        clean += int(right.sum())
        if right.any():
            x_adv = pgd(model, x[right], y[right], threat, steps=steps, step_size=threat.eps / 4, generator=generator)
            robust += int(correct(model, x_adv, y[right]).sum())
    seconds = round(time.perf_counter() - started, 1)
    return [
        {"attack": name, "accuracy": round(100 * hits / count, 2), "low": wilson(hits, count)[0],
         "high": wilson(hits, count)[1], "correct": hits, "images": count, "seed": seed, "seconds": seconds}
        for name, hits in (("clean", clean), (f"PGD-{steps}, {threat}, step ε/4", robust))
    ]  # fmt: skip
