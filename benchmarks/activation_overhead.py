"""What each activation family costs in a network at 32x32, as a ratio to ReLU measured in the same run.

    python benchmarks/activation_overhead.py [--families sparta,prelu] [--host resnet34_cifar] [--json FILE]

Rounds are interleaved: in each round every case takes its turn, and its time is divided by ReLU's of the same round;
the table shows the median over rounds, so that slow drifts of the machine cancel. Beside it stands the ratio of
floating point operations of a train step (convolutions and matrix products, as ``torch.utils.flop_counter`` counts).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from sparta_hub.activations import FAMILIES, build
from sparta_hub.cli.options import new_file, whole
from sparta_hub.errors import answered
from sparta_hub.hosts import create_host
from sparta_hub.provenance import provenance
from sparta_hub.surgery import inject
from training.precision import without_bfloat16
from training.step import COMPILE_MODES

PASSES = ("train", "input_gradient", "inference")


@dataclass(frozen=True)
class Case:
    """A host to be timed: the family injected into it (``relu`` is the host as it is), frozen or not."""

    family: str
    frozen: bool = False

    @property
    def name(self) -> str:
        """How the table calls it."""
        return f"{self.family} (frozen)" if self.frozen else self.family


@dataclass(frozen=True)
class Setting:
    """How all cases of one table are run."""

    host: str
    device: str
    precision: str
    compiled: str | None
    channels_last: bool
    batch: int
    repeats: int
    clock: str


@dataclass(frozen=True)
class Row:
    """One case: ratios to ReLU by pass (median, lowest and highest of the rounds), and its own median seconds."""

    case: str
    parameters: int
    flops: float
    ratios: dict[str, float]
    lowest: dict[str, float]
    highest: dict[str, float]
    seconds: dict[str, float]


def make(case: Case, setting: Setting) -> nn.Module:
    """Build the host with its activations, not compiled."""
    torch.manual_seed(0)
    model = create_host(setting.host).to(setting.device)
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if case.family != "relu":
        inject(model, case.family, placement="last", frozen=case.frozen)
    return model


def precision(setting: Setting) -> AbstractContextManager[object]:
    """The context of a forward pass."""
    bf16 = setting.precision == "bf16"
    return torch.autocast(setting.device, torch.bfloat16) if bf16 else nullcontext()


def train(model: nn.Module, x: Tensor, y: Tensor, setting: Setting) -> None:
    """One step without an optimiser: forward, backward in all weights that train."""
    model.train()
    with precision(setting):
        loss = F.cross_entropy(model(x), y)
    loss.backward()
    model.zero_grad(set_to_none=True)


def input_gradient(model: nn.Module, x: Tensor, y: Tensor, setting: Setting) -> None:
    """One step of an attack: the gradient in the images, in eval mode."""
    model.eval()
    x = x.detach().requires_grad_()
    with precision(setting):
        loss = F.cross_entropy(model(x), y)
    torch.autograd.grad(loss, x)


@torch.no_grad()
def inference(model: nn.Module, x: Tensor, y: Tensor, setting: Setting) -> None:
    """One forward pass in eval mode."""
    model.eval()
    with precision(setting):
        model(x)


RUN: dict[str, Callable[[nn.Module, Tensor, Tensor, Setting], None]] = {
    "train": train,
    "input_gradient": input_gradient,
    "inference": inference,
}


def seconds(run: Callable[[], None], setting: Setting) -> float:
    """Time one call, the device's queue drained before and after."""
    clock = time.process_time if setting.clock == "process" else time.perf_counter
    if setting.device == "cuda":
        torch.cuda.synchronize()
    start = clock()
    run()
    if setting.device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def measure(cases: list[Case], setting: Setting) -> list[Row]:
    """Time all cases, interleaved; the first one is ReLU."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(setting.batch, 3, 32, 32, generator=generator).to(setting.device)
    y = torch.randint(10, (setting.batch,), generator=generator).to(setting.device)
    if setting.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    models, flops = [make(case, setting) for case in cases], []
    for model in models:
        with FlopCounterMode(display=False) as counter:
            train(model, x, y, setting)
        flops.append(counter.get_total_flops())
        if setting.compiled:
            model.compile(dynamic=False, mode=setting.compiled)
    times: list[dict[str, list[float]]] = [{name: [] for name in PASSES} for _ in cases]
    for round_number in range(setting.repeats + 1):  # round 0 warms up, and compiles
        for turn in range(len(models)):  # another one begins each round: the first is the one with cold caches
            model, record = models[(turn + round_number) % len(models)], times[(turn + round_number) % len(models)]
            for name in PASSES:
                took = seconds(lambda run=RUN[name], model=model: run(model, x, y, setting), setting)
                if round_number:
                    record[name].append(took)
    parameters = [sum(t.numel() for t in m.parameters()) for m in (make(Case(c.family), setting) for c in cases)]
    rows = []
    for case, record, operations, count in zip(cases, times, flops, parameters, strict=True):
        ratios = {n: [a / b for a, b in zip(record[n], times[0][n], strict=True)] for n in PASSES}
        rows.append(
            Row(
                case.name,
                count - parameters[0],
                operations / flops[0],
                ratios={n: statistics.median(ratios[n]) for n in PASSES},
                lowest={n: min(ratios[n]) for n in PASSES},
                highest={n: max(ratios[n]) for n in PASSES},
                seconds={n: statistics.median(record[n]) for n in PASSES},
            )
        )
    return rows


def table(rows: list[Row], setting: Setting) -> str:
    """Lay the rows out."""
    layout = "channels_last" if setting.channels_last else "contiguous"
    mode = f"compiled ({setting.compiled})" if setting.compiled else "eager"
    lines = [
        f"{setting.host}, {setting.device}, {setting.precision}, {mode}, {layout}, batch {setting.batch}, median of "
        f"{setting.repeats} rounds, {setting.clock} time",
        f"{'':24}{'+params':>10}{'FLOPs':>8}{'train':>8}{'input grad':>12}{'inference':>11}",
    ]
    for row in rows:
        r = row.ratios
        lines.append(
            f"{row.case:24}{row.parameters:>10,}{row.flops:>8.3f}{r['train']:>8.3f}{r['input_gradient']:>12.3f}"
            f"{r['inference']:>11.3f}"
        )
    own = rows[0].seconds
    lines.append(f"ReLU itself: {', '.join(f'{name} {own[name] * 1e3:.1f} ms' for name in PASSES)}")
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", default=",".join(FAMILIES), help="names, comma-separated; default: all")
    parser.add_argument("--host", default="resnet18_cifar", help="timm network")
    parser.add_argument("--batch", type=whole(1), default=32)
    parser.add_argument("--repeats", type=whole(1), default=5)
    parser.add_argument("--compile", nargs="?", const="default", choices=COMPILE_MODES, help="time compiled hosts, too")
    parser.add_argument("--channels-last", action="store_true")
    parser.add_argument("--threads", type=whole(1), help="CPU threads; default: PyTorch's own choice")
    parser.add_argument(
        "--clock",
        choices=("wall", "process"),
        default="wall",
        help="process: CPU time, for a machine that is busy with other work; use it with --threads 1, on CPU",
    )
    parser.add_argument("--json", type=new_file, help="write the numbers to this file, too")
    parsed = parser.parse_args(arguments)
    parsed.families = parsed.families.split(",")
    if unknown := set(parsed.families) - set(FAMILIES):
        parser.error(f"no such family: {', '.join(sorted(unknown))}; the families are {', '.join(FAMILIES)}")
    return parsed


def main() -> None:
    """Measure, print, and write the JSON."""
    args = parse()
    if args.threads:
        torch.set_num_threads(args.threads)
    # All cases share the code of the host, compiled for each case, pass and precision: 8 graphs are not enough.
    torch._dynamo.config.cache_size_limit = 256
    cases = [Case("relu"), *(Case(name) for name in args.families if name != "relu")]
    cases += [Case(case.family, frozen=True) for case in cases if [*build(case.family, 64).parameters()]]
    results = []
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        for kind in ("fp32", "bf16"):
            if kind == "bf16" and (reason := without_bfloat16(torch.device(device))):
                sys.stdout.write(f"{device}, {kind}: skipped, {reason}.\n\n")
                continue
            for compiled in (None, args.compile) if args.compile else (None,):
                clock = "wall" if device == "cuda" else args.clock
                setting = Setting(
                    args.host, device, kind, compiled, args.channels_last, args.batch, args.repeats, clock
                )
                rows = measure(cases, setting)
                sys.stdout.write(table(rows, setting) + "\n\n")
                sys.stdout.flush()
                results.append({"setting": asdict(setting), "rows": [asdict(row) for row in rows]})
    if args.json:
        machine = provenance(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        args.json.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    with answered("activation_overhead"):
        main()
