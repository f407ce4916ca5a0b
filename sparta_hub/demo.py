"""The main job, small enough for two CPU cores: a frozen SPARTA against its ReLU twin on real images.

All twins are the same freshly initialised timm network, trained on the same batches in the same order, attacked in
training by the same one-step method, and attacked afterwards by the same PGD. Whatever comes out is what is reported.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from sparta_hub.attacks import pgd
from sparta_hub.data import Images, load_bundled
from sparta_hub.diagnostics import feature_maps
from sparta_hub.errors import SpartaError
from sparta_hub.hosts import create_host
from sparta_hub.hub import info, load
from sparta_hub.injected import Frozen
from sparta_hub.surgery import inject, injected, status
from sparta_hub.threat import ThreatModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOST = "resnet10t"
MODES: Mapping[str, Frozen | None] = {  # as transfers are called; None: the set's family, trained from scratch
    "frozen": True,
    "weights": "weights",
    "tuned": False,
    "joint": None,
}
SIZE = 48  # pixels: the host reduces by 4 before its first stage and by 32 in all; at 32 its last map would be 1×1
THREAT = ThreatModel("linf", 8 / 255)


@dataclass(frozen=True)
class Twin:
    """One trained network and what was measured of it.

    Args:
        name: ``"SPARTA (frozen)"``, with the mode, or the family of another set; or ``"ReLU"``.
        model: the network.
        clean, robust: accuracies in percent, on clean and on attacked images.
        seconds: training time.
        extra_parameters: learned values more than the host alone.
    """

    name: str
    model: nn.Module
    clean: float
    robust: float
    seconds: float
    extra_parameters: int


@dataclass(frozen=True)
class DemoResult:
    """A twin for each mode, the one with ReLU, the images they were attacked on, and the settings."""

    sets: tuple[Twin, ...]
    relu: Twin
    images: Tensor
    labels: Tensor
    test_count: int
    seed: int
    steps: int
    attack_steps: int


def run_demo(
    name: str = "sparta-res18-cifar",
    *,
    modes: Sequence[str] = ("frozen",),
    seed: int = 0,
    steps: int = 100,
    batch_size: int = 64,
    test_count: int = 200,
    attack_steps: int = 20,
    progress: bool = True,
) -> DemoResult:
    """Train the twins and attack them.

    Args:
        name: the activation set, see ``load``.
        modes: a twin for each of these ways to have the set, keys of ``MODES``.
        seed: of initialisation, order of batches and noise, the same for all twins.
        steps: training steps of each twin.
        batch_size: images a step.
        test_count: test images, clean and under PGD; at most 500.
        attack_steps: steps of PGD, each 2.5·ε / ``attack_steps``.
        progress: show progress bars.
    """
    modes = tuple(dict.fromkeys(modes))
    if not modes or not {*modes} <= MODES.keys():
        raise SpartaError(f"The modes are {', '.join(modes) or '(none)'}; expected one or more of {', '.join(MODES)}.")
    train, test = _resized(load_bundled("train")), _resized(load_bundled("test"))
    if not (1 <= test_count <= len(test) and steps >= 1 and batch_size >= 2):
        raise SpartaError(f"Expected steps >= 1, batch size >= 2 and 1 to {len(test)} test images.")
    x, y = test.floats(slice(0, test_count)), test.y[:test_count]

    def twin(label: str, prepare: Callable[[nn.Module], nn.Module]) -> Twin:
        torch.manual_seed(seed)
        host = create_host(HOST, train.num_classes)  # made alike for all, before anything is put in
        model = prepare(host).to(memory_format=torch.channels_last)
        seconds = _train(model, train, seed, steps, batch_size, label, progress)
        clean, robust = _accuracies(model, x, y, attack_steps, seed, label, progress)
        extra = sum(site.parameters for site in status(model))
        return Twin(label, model, clean, robust, seconds, extra)

    family = info(name).spec.family
    label = "SPARTA" if family == "sparta" else family
    sets = tuple(twin(f"{label} ({mode})", partial(_with_set, name, MODES[mode])) for mode in modes)
    relu = twin("ReLU", lambda host: host)
    return DemoResult(sets, relu, x[:8], y[:8], test_count, seed, steps, attack_steps)


def _with_set(name: str, frozen: Frozen | None, host: nn.Module) -> nn.Module:
    if frozen is None:
        inject(host, info(name).spec)
        return host
    return load(name, model=host, frozen=frozen)


def _resized(data: Images) -> Images:
    x = F.interpolate(data.x.float(), size=(SIZE, SIZE), mode="bilinear").round().to(torch.uint8)
    return Images(x, data.y, data.name)


def _train(model: nn.Module, data: Images, seed: int, steps: int, batch_size: int, label: str, progress: bool) -> float:
    """FGSM-RS (Wong et al. 2020, arXiv:2001.03994) with a one-cycle learning rate; the seconds it took."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps, pct_start=0.3)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    started = time.perf_counter()
    bar = tqdm(range(steps), desc=f"train {label}", unit="step", disable=not progress)
    for _ in bar:
        index = torch.randint(len(data), (batch_size,), generator=generator)
        x, y = data.floats(index), data.y[index]
        start = THREAT.random_start(x, generator).requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(model(start), y), start)[0]
        x_adv = THREAT.project(start.detach() + 1.25 * THREAT.eps * gradient.sign(), x)
        loss = F.cross_entropy(model(x_adv), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    return time.perf_counter() - started


def _accuracies(
    model: nn.Module, x: Tensor, y: Tensor, steps: int, seed: int, label: str, progress: bool
) -> tuple[float, float]:
    """Clean and PGD accuracy in percent; an image that is wrong already counts as broken."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    clean = robust = 0
    for batch, target in tqdm(
        list(zip(x.split(100), y.split(100), strict=True)),
        desc=f"PGD-{steps} {label}",
        unit="batch",
        disable=not progress,
    ):
        with torch.no_grad():
            right = model(batch).argmax(1) == target
        clean += int(right.sum())
        if right.any():
            attacked = pgd(model, batch[right], target[right], THREAT, steps=steps, generator=generator)
            with torch.no_grad():
                robust += int((model(attacked).argmax(1) == target[right]).sum())
    return 100 * clean / len(y), 100 * robust / len(y)


def table(result: DemoResult) -> str:
    """The outcome as text, with the interval of each accuracy and an honest last line."""
    width = max(16, *(len(twin.name) + 1 for twin in result.sets))
    rows = [f"{'':<{width}}{'clean':>8}{f'PGD-{result.attack_steps}':>9}{'train':>9}{'extra parameters':>19}"]
    for twin in (*result.sets, result.relu):
        rows.append(
            f"{twin.name:<{width}}{twin.clean:>7.1f}%{twin.robust:>8.1f}%{twin.seconds:>8.1f}s{twin.extra_parameters:>19,}"
        )
    spread = 196 * (0.25 / result.test_count) ** 0.5
    ahead = ", ".join(_ahead(twin, result.relu) for twin in result.sets)
    rows.append(
        f"{ahead} under attack: one seed, {result.test_count} images, each accuracy ± {spread:.1f} points at 95 %."
    )
    return "\n".join(rows)


def _ahead(twin: Twin, relu: Twin) -> str:
    gain = twin.robust - relu.robust
    if gain == 0:
        return f"{twin.name} and ReLU are level"
    first, second = (twin, relu) if gain > 0 else (relu, twin)
    return f"{first.name} is {abs(gain):.1f} points ahead of {second.name}"


def figure(result: DemoResult, *, stage: int = 1, channels: int = 4) -> "Figure":
    """Clean and attacked image, and maps before and after the last activation of a stage: first twin and ReLU.

    All maps share one colour scale. Shown are the channels that are strongest on the clean image after the activation,
    for each of the two its own.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    path = list(injected(result.sets[0].model))[stage - 1]
    rows: list[
        tuple[str, Tensor, Tensor, Tensor]
    ] = []  # label, image, maps (channels, before and after, H, W), channels
    for twin in (result.sets[0], result.relu):
        clean = result.images[:1]
        generator = torch.Generator().manual_seed(result.seed)
        attacked = pgd(twin.model, clean, result.labels[:1], THREAT, generator=generator)
        strongest = _maps(twin.model, path, clean)[1].mean((1, 2)).topk(channels).indices
        for label, x in (("clean", clean), ("attacked", attacked)):
            maps = torch.stack(_maps(twin.model, path, x), 1)[strongest]
            rows.append((f"{twin.name}\n{label}", x[0], maps, strongest))
    limit = max(float(maps.abs().max()) for _, _, maps, _ in rows)
    scale = Normalize(-limit, limit)

    canvas = Figure(figsize=(2 + 2.7 * channels, 6.2), layout="constrained")
    grid = canvas.subplots(4, 1 + 2 * channels)
    for cells, (label, image, maps, strongest) in zip(grid, rows, strict=True):
        cells[0].imshow(image.permute(1, 2, 0).numpy())
        cells[0].set_ylabel(label, fontsize=9)
        for cell, shown in zip(cells[1:], maps.flatten(0, 1), strict=True):
            cell.imshow(shown.numpy(), cmap="RdBu_r", norm=scale)
        for cell, (channel, side) in zip(cells[1:], product(strongest.tolist(), ("before", "after")), strict=True):
            cell.set_title(f"{channel} {side}", fontsize=7)
    for cell in grid.flat:
        cell.set_xticks([])
        cell.set_yticks([])
    canvas.colorbar(ScalarMappable(scale, "RdBu_r"), ax=grid, shrink=0.6)
    canvas.suptitle(
        f"{HOST}, last activation of stage {stage}: maps of the strongest channels before and after it, {THREAT}",
        fontsize=10,
    )
    return canvas


def _maps(model: nn.Module, path: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (C, H, W) that the activation at ``path`` gets and gives for one image."""
    before, after = feature_maps(model, [path], x)[path]
    return before[0], after[0]


def write_demo(result: DemoResult, folder: Path) -> Path:
    """Save the figure; its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "feature-maps.png"
    figure(result).savefig(path, dpi=110)
    return path
