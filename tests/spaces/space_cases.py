"""A tiny pair of networks, trained on the Space's own examples, and the path to the Space's modules."""

import sys
from pathlib import Path

import torch

SPACE = Path(__file__).parent.parent.parent / "spaces" / "denoising"
sys.path.insert(
    0, str(SPACE)
)  # as `python app.py` does; there is no package called `spaces`, it would hide the Hub's own

from images import read_upload, to_tensor  # noqa: E402
from show import example_files  # noqa: E402

import sparta_hub  # noqa: E402
from sparta_hub.data import CLASSES  # noqa: E402
from sparta_hub.saving import save_model  # noqa: E402
from sparta_hub.spec import ActivationSpec, Origin, SiteSpec  # noqa: E402
from tests.conftest import HOST, small_host  # noqa: E402

ORIGIN = Origin(HOST, 10, 64, "timm", "cifar10", "Linf 8/255")
TRAINING = {"method": "standard", "epochs": 1, "steps": 25, "batch_size": 10, "seed": 0, "lr": 0.02,
            "weight_decay": 0.0, "label_smoothing": 0.0, "ema_decay": 0.0}  # fmt: skip
EVALUATION = [{"attack": "clean", "accuracy": 40.0, "low": 13.0, "high": 73.0, "images": 10}]


def examples(size: int = 64) -> torch.Tensor:
    files = example_files(CLASSES["cifar10"])
    return torch.stack([to_tensor(read_upload(path).picture, size) for path in files.values()])


def tiny(folder: Path, family: str) -> None:
    """Train a small network on the ten examples, and keep it as an artifact with its host."""
    torch.manual_seed(0)
    host = small_host()
    arguments = {"kernel_size": 1, "hidden": 16, "dynamic": True, "neighborhood": 1} if family == "sparta" else {}
    where = tuple(SiteSpec(s.name, s.channels if family == "sparta" else None) for s in sparta_hub.sites(host, "last"))
    sparta_hub.inject(host, ActivationSpec(family, arguments, "last", where))
    optimizer = torch.optim.SGD(host.train().parameters(), lr=0.02, momentum=0.9)
    x, y = examples(), torch.arange(10)
    for _ in range(25):
        loss = torch.nn.functional.cross_entropy(host(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        for _ in range(30):  # statistics of the trained weights
            host(x)
    results = {"training": TRAINING, "evaluation": EVALUATION}
    save_model(host.eval(), folder, results=results, with_host=True, origin=ORIGIN)
