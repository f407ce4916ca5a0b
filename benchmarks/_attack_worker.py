"""One tool, one attack, one network, timed in a process of its own: what ``attack_throughput.py`` starts.

    python benchmarks/_attack_worker.py JOB.json

The job is a file with the fields of ``Job``; the result goes to standard output as JSON. All tools get the same images,
batches, steps and network, in eval mode and without parameter gradients; which images hold is for our evaluator to say.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import sparta_hub
from sparta_hub.attacks import apgd, pgd
from sparta_hub.data import Images
from sparta_hub.evaluation import Attack
from sparta_hub.evaluation._batch import Examples, run_attack
from sparta_hub.evaluation._choice import Choice, choose
from sparta_hub.threat import ThreatModel

SEED = 0
EXACT = "sparta-hub exact"
FAST = {"sparta-hub fast": False, "sparta-hub compiled": True}  # tool: with compiled copies


@dataclass(frozen=True)
class Job:
    """What to run.

    Args:
        tool, attack: ``EXACT`` or one of ``FAST`` with pgd or apgd, or a key of ``PEER``.
        network: a name for ``sparta_hub.load``, or a safetensors file of ``small_cnn``.
        images: safetensors file with x (N, 3, H, W) uint8 and y (N,), all of them right without attack.
        eps, step_size: in units of 1/255.
        steps, batch: of the attack.
        threads: of the CPU.
        clock: ``wall``, or ``process`` for CPU time.
        device: of the network and the images.
    """

    tool: str
    attack: str
    network: str
    images: str
    eps: float
    step_size: float
    steps: int
    batch: int
    threads: int
    clock: str
    device: str


Perturb = Callable[[nn.Module, Tensor, Tensor, Job], Tensor]


def small_cnn() -> nn.Module:
    """The network of the parity check: trained in a minute, attacked in seconds."""
    return nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def load_network(name: str) -> nn.Module:
    """The network of a job, in eval mode and without parameter gradients."""
    if name.endswith(".safetensors"):
        model = small_cnn()
        model.load_state_dict(load_file(name))
    else:
        model = sparta_hub.load(name)
    return model.eval().requires_grad_(False)


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor, job: Job) -> Tensor:
    """PGD of torchattacks."""
    import torchattacks  # pyright: ignore[reportMissingImports]

    return torchattacks.PGD(model, eps=job.eps / 255, alpha=job.step_size / 255, steps=job.steps)(x, y)


def torchattacks_apgd(model: nn.Module, x: Tensor, y: Tensor, job: Job) -> Tensor:
    """APGD of torchattacks."""
    import torchattacks  # pyright: ignore[reportMissingImports]

    return torchattacks.APGD(model, norm="Linf", eps=job.eps / 255, steps=job.steps, seed=SEED)(x, y)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, job: Job) -> Tensor:
    """PGD of foolbox."""
    import foolbox  # pyright: ignore[reportMissingImports]

    attack = foolbox.attacks.LinfPGD(abs_stepsize=job.step_size / 255, steps=job.steps)
    around = foolbox.PyTorchModel(model, bounds=(0, 1), device=x.device)
    return attack(around, x, foolbox.criteria.Misclassification(y), epsilons=job.eps / 255)[1]


def pyautoattack_apgd(model: nn.Module, x: Tensor, y: Tensor, job: Job) -> Tensor:
    """APGD of pyautoattack."""
    from pyautoattack.autopgd_base import APGDAttack  # pyright: ignore[reportMissingImports]

    attack = APGDAttack(
        model, n_iter=job.steps, norm="Linf", eps=job.eps / 255, seed=SEED, loss="ce", device=job.device,
        logger=logging.getLogger("auto-attack"),
    )  # fmt: skip
    return attack.perturb(x, y)


PEER: dict[tuple[str, str], Perturb] = {
    ("torchattacks", "pgd"): torchattacks_pgd,
    ("foolbox", "pgd"): foolbox_pgd,
    ("torchattacks", "apgd"): torchattacks_apgd,
    ("pyautoattack", "apgd"): pyautoattack_apgd,
}


def our_attack(job: Job) -> Attack:
    """Ours; in fast runs, PGD drops the images that are broken. APGD always does."""
    threat = ThreatModel("linf", job.eps / 255)
    if job.attack == "apgd":
        return Attack("apgd", apgd, threat, {"steps": job.steps})
    fast = {"early_stop": True} if job.tool in FAST else {}
    return Attack("pgd", pgd, threat, {"steps": job.steps, "step_size": job.step_size / 255, **fast})


def run(job: Job) -> dict[str, Any]:
    """Do the job: seconds for all images, seconds of the check before, and how many images hold."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(SEED)
    clock = time.process_time if job.clock == "process" else time.perf_counter
    model, tensors = load_network(job.network).to(job.device), load_file(job.images)
    data = Images(tensors["x"], tensors["y"], "images")
    peer = PEER.get((job.tool, job.attack))
    attack, choice, check = our_attack(job), Choice(model, "the model itself"), 0.0
    warm_x, warm_y = data.floats(slice(0, job.batch)).to(job.device), data.y[: job.batch].to(job.device)
    warm = Job(**{**asdict(job), "steps": 1})
    if peer:
        peer(model, warm_x, warm_y, warm)
    else:
        batch, every = Examples(warm_x, warm_y, warm_y), torch.ones_like(warm_y, dtype=torch.bool)
        run_attack(model, batch, our_attack(warm), on=model, chosen=every, seed=SEED)
    if job.tool in FAST:
        started = clock()
        choice = choose(model, data, len(data), data.y, [attack], SEED, compiled=FAST[job.tool])[0]
        check = clock() - started
    seconds, held, outside, distance = 0.0, 0, 0, 0.0
    for start in range(0, len(data), job.batch):
        part = slice(start, start + job.batch)
        x, y = data.floats(part).to(job.device), data.y[part].to(job.device)
        batch, every = Examples(x, y, y), torch.ones_like(y, dtype=torch.bool)
        _wait(job)
        started = clock()
        if peer:
            found = peer(model, x.clone(), y, job).detach()
            _wait(job)
            seconds += clock() - started
            given = Attack(job.tool, lambda model, x, y, threat, found=found: found, attack.threat)
            tally, broken = run_attack(model, batch, given, on=model, chosen=every, seed=SEED)
            distance = max(distance, float((found - x).abs().max()) * 255)
        else:  # our own prediction of the attacked images is counted in
            tally, broken = run_attack(model, batch, attack, on=choice.model, chosen=every, seed=SEED + start)
            _wait(job)
            seconds += clock() - started
        held += int((~broken).sum())
        outside += sum(tally.outside)
    package = "sparta-hub" if peer is None else job.tool
    return {
        "tool": job.tool,
        "version": version(package),
        "attack": job.attack,
        "images": len(data),
        "held": held,
        "outside": outside,
        "seconds": seconds,
        "check_seconds": check,
        "ran_on": choice.reason,
    }


def _wait(job: Job) -> None:
    if job.device.startswith("cuda"):
        torch.cuda.synchronize()


if __name__ == "__main__":
    print(json.dumps(run(Job(**json.loads(Path(sys.argv[1]).read_text())))))
