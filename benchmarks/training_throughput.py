"""Images a second of our training step, beside a plain fp32 loop of the form that is usually published.

    python benchmarks/training_throughput.py [--batch 128] [--rounds 3] [--threads 1 --clock process] [--json FILE]

PGD-10 (steps of 2/255) and FGSM-RS (α = 1.25 ε), L∞ 8/255, with SPARTA and ReLU in ResNet-18 at 32x32. Ours is the
engine's own step, bf16 where the processor has it, compiled on a GPU. The plain one is written here from the papers:
contiguous fp32, a gradient in the images by autograd, SGD, and the loss and the number of right images read each step.
Both get the same batch, which is there already, and leave out data loading. Rounds are interleaved; a ratio is taken
inside a round, and the table shows the median.

``--accuracy SEEDS`` trains both ways from the same weights, on the same batches in the same order, with FGSM-RS, a
small network and the real images inside the package, and compares accuracy under PGD-20: the price of the speed.
``--rounds 0`` leaves out the timing.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from _options import device
from activation_overhead import Setting, seconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparta_hub.attacks import pgd
from sparta_hub.cli.options import new_file, whole
from sparta_hub.data import load_bundled
from sparta_hub.evaluation import Attack, evaluate
from sparta_hub.provenance import provenance
from training.config import TrainConfig
from training.models import make_model
from training.parallel import World
from training.precision import without_bfloat16
from training.schedules import factor
from training.step import COMPILE_MODES, Length, assemble, train_step

EPS = 8 / 255
PGD10 = TrainConfig("pgd10", "resnet18_cifar", method="pgd", method_arguments={"steps": 10, "step_size": 2 / 255})
CONFIGS = {"PGD-10": PGD10, "FGSM-RS": replace(PGD10, method="fgsm_rs", method_arguments={})}
FAMILIES = ("sparta", "relu")
PEAK = {"H100": 989e12, "H200": 989e12, "A100": 312e12}  # dense bf16 FLOP/s of the SXM cards, from NVIDIA's data sheets
FOREVER = Length(10**9, 10**9)


@dataclass(frozen=True)
class Row:
    """One method with one family: images a second, and ours over plain by round.

    Args:
        method, family: what was trained.
        plain, ours: images a second, medians.
        ratio, lowest, highest: ours over plain: median, and the extremes of the rounds.
        peak_share: of the bf16 peak of the GPU; None on a CPU, or where the peak is not known.
    """

    method: str
    family: str
    plain: float
    ours: float
    ratio: float
    lowest: float
    highest: float
    peak_share: float | None


def plain_step(model: nn.Module, optimizer: torch.optim.SGD, x: Tensor, y: Tensor, method: str) -> tuple[float, int]:
    """One step of adversarial training as papers write it; the loss, and how many attacked images were right.

    PGD attacks in eval mode, as ours does by default; FGSM-RS in training mode.
    """
    steps, step_size = (10, 2 / 255) if method == "pgd" else (1, 1.25 * EPS)
    model.train(method != "pgd")
    delta = torch.empty_like(x).uniform_(-EPS, EPS)
    for _ in range(steps):
        delta = ((x + delta).clamp(0, 1) - x).detach().requires_grad_()
        gradient = torch.autograd.grad(F.cross_entropy(model(x + delta), y), delta)[0]
        delta = (delta + step_size * gradient.sign()).clamp(-EPS, EPS)
    model.train()
    logits = model((x + delta).clamp(0, 1).detach())
    loss = F.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), int((logits.argmax(1) == y).sum().item())


def plain_model(config: TrainConfig, classes: int, device: str) -> tuple[nn.Module, torch.optim.SGD]:
    """The network with the engine's initial weights, contiguous, and its optimiser."""
    model = make_model(config, classes).to(device)
    model.to(memory_format=torch.contiguous_format)  # pyright: ignore  torch's own types lack the format
    return model, torch.optim.SGD(model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)


def contestants(config: TrainConfig, batch: int, device: str, compiled: str | None) -> dict[str, Callable[[], None]]:
    """The two steps on one batch of noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(batch, 3, 32, 32, generator=generator).to(device)
    y = torch.randint(10, (batch,), generator=generator).to(device)
    ours = replace(config, batch_size=batch)
    world = World(torch.device(device))
    parts = assemble(ours, 10, world, compiled=compiled)
    images = x.contiguous(memory_format=torch.channels_last)
    model, optimizer = plain_model(config, 10, device)

    def step_of_theirs() -> None:
        plain_step(model, optimizer, x, y, config.method)

    def step_of_ours() -> None:
        train_step(ours, parts, images, y, step=1, length=FOREVER, world=world)

    return {"plain": step_of_theirs, "ours": step_of_ours}


def precision_of(setting: Setting) -> Literal["fp32", "bf16"]:
    """The precision, as a configuration has it."""
    return "bf16" if setting.precision == "bf16" else "fp32"


def measure(setting: Setting) -> list[Row]:
    """Time all cases, interleaved."""
    cases = {
        (name, family): contestants(
            replace(config, family=family, precision=precision_of(setting)),
            setting.batch,
            setting.device,
            setting.compiled,
        )
        for name, config in CONFIGS.items()
        for family in FAMILIES
    }
    times: dict[tuple[str, str], dict[str, list[float]]] = {case: {"plain": [], "ours": []} for case in cases}
    for number in range(setting.repeats + 1):  # round 0 warms up, and compiles
        for case, steps in cases.items():
            for who in ("plain", "ours") if number % 2 else ("ours", "plain"):
                took = seconds(steps[who], setting)
                if number:
                    times[case][who].append(took)
    rows = []
    for (name, family), took in times.items():
        ratios = [plain / ours for plain, ours in zip(took["plain"], took["ours"], strict=True)]
        plain, ours = (statistics.median(took[who]) for who in ("plain", "ours"))
        share = peak_share(cases[name, family]["plain"], ours, setting.device)
        rows.append(Row(name, family, setting.batch / plain, setting.batch / ours, statistics.median(ratios),
                        min(ratios), max(ratios), share))  # fmt: skip
    return rows


def peak_share(step: Callable[[], None], took: float, device: str) -> float | None:
    """FLOPs of a step over what the GPU could do in that time; counted on the plain step, which is not compiled."""
    name = torch.cuda.get_device_name() if device == "cuda" else ""
    peak = next((peak for card, peak in PEAK.items() if card in name), None)
    if peak is None:
        return None
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / took / peak


def compare_accuracy(setting: Setting, seed: int, steps: int = 100, batch: int = 64) -> list[dict[str, Any]]:
    """Train both ways and measure: one row a family, accuracies in percent."""
    config = TrainConfig("accuracy", "resnet10t", method="fgsm_rs", batch_size=batch, precision=precision_of(setting),
                         seed=seed)  # fmt: skip
    train, test, world = load_bundled("train"), load_bundled("test"), World(torch.device(setting.device))
    attack = Attack("pgd", pgd, config.threat, {"steps": 20})
    rows = []
    for family in FAMILIES:
        own, length = replace(config, family=family), Length(steps, steps)
        parts = assemble(own, train.num_classes, world, compiled=setting.compiled)
        plain, optimizer = plain_model(own, train.num_classes, setting.device)
        generator = torch.Generator().manual_seed(seed)
        for step in range(steps):
            index = torch.randint(len(train), (batch,), generator=generator)
            x, y = train.floats(index).to(setting.device), train.y[index].to(setting.device)
            images = x.contiguous(memory_format=torch.channels_last)
            train_step(own, parts, images, y, step=step, length=length, world=world)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor(config.schedule, step, steps, steps)
            plain_step(plain, optimizer, x, y, config.method)
        found: dict[str, Any] = {"family": family, "seed": seed, "steps": steps, "images": len(test)}
        for who, model in (("plain", plain), ("ours", parts.model)):
            report = evaluate(model, test, [attack], batch_size=100, seed=0)
            found |= {f"{who}_clean": report.clean.percent, f"{who}_pgd20": report.robust(0).percent}
        rows.append(found)
    return rows


def table(rows: list[Row], setting: Setting) -> str:
    """Lay the rows out."""
    compiled = f", compiled ({setting.compiled})" if setting.compiled else ""
    lines = [
        f"{PGD10.host}, {setting.device}, ours in {setting.precision}{compiled}, batch "
        f"{setting.batch}, median of {setting.repeats} rounds, {setting.clock} time",
        f"{'':20}{'plain img/s':>12}{'ours img/s':>12}{'ratio':>8}{'rounds':>16}{'bf16 peak':>11}",
    ]
    for row in rows:
        share = "" if row.peak_share is None else f"{100 * row.peak_share:.1f} %"
        extremes = f"{row.lowest:.2f} to {row.highest:.2f}"
        lines.append(
            f"{row.method + ' ' + row.family:20}{row.plain:>12,.1f}{row.ours:>12,.1f}{row.ratio:>8.2f}{extremes:>16}"
            f"{share:>11}"
        )
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=whole(1), help="default: 128 on a GPU, 32 on a CPU")
    parser.add_argument("--rounds", type=whole(0), default=3)
    parser.add_argument(
        "--device", type=device, choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu"
    )
    parser.add_argument("--compile", choices=("none", *COMPILE_MODES), help="default on a GPU, none on a CPU")
    parser.add_argument("--threads", type=whole(1), help="CPU threads; default: PyTorch's own choice")
    parser.add_argument("--clock", choices=("wall", "process"), default="wall",
                        help="process: CPU time, for a busy machine; with --threads 1")  # fmt: skip
    parser.add_argument(
        "--accuracy", type=whole(0), default=0, metavar="SEEDS", help="compare accuracies over so many seeds"
    )
    parser.add_argument("--remark", default="", help="what else the record should say")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write the numbers to this file, too")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write the JSON."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    reason = without_bfloat16(torch.device(args.device))
    if reason:
        print(f"fp32 for both: {reason}.")
    clock = "wall" if args.device == "cuda" else args.clock
    precision, mode = "fp32" if reason else "bf16", args.compile or ("default" if args.device == "cuda" else "none")
    compiled, batch = None if mode == "none" else mode, args.batch or (128 if args.device == "cuda" else 32)
    # All cases share the code of the host, compiled for each of them and each kind of pass: 8 graphs are not enough.
    torch._dynamo.config.cache_size_limit = 64
    setting = Setting("resnet18_cifar", args.device, precision, compiled, True, batch, args.rounds, clock)
    rows = measure(setting) if setting.repeats else []
    if rows:
        print(table(rows, setting))
    accuracies = [row for seed in range(args.accuracy) for row in compare_accuracy(setting, seed)]
    for row in accuracies:
        print(f"{row['family']}, seed {row['seed']}, PGD-20: plain {row['plain_pgd20']:.1f} %, ours "
              f"{row['ours_pgd20']:.1f} % of {row['images']} images")  # fmt: skip
    if args.json:
        record = {"machine": provenance(torch.device(args.device)), "remark": args.remark, "setting": asdict(setting),
                  "rows": [asdict(row) for row in rows], "accuracies": accuracies}  # fmt: skip
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
