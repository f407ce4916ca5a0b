"""Make the first screens: ``python spaces/denoising/precompute.py [NAME ...] [--images 500] [--examples]``.

Attacks the examples with the settings of the first screen, and measures accuracy against ε on test images from the data
root (see ``sparta_hub.data``). Run it again after weights have changed; until then the app says that it is stale.
"""

import argparse
from pathlib import Path

import torch
from demo import Settings, attack
from images import read_upload, to_tensor
from networks import HERE, Entry, find_entries
from PIL import Image
from show import example_files, no_network, read_network
from stored import FOLDER, SETTINGS, write_stored

from sparta_hub.attacks import pgd
from sparta_hub.data import Images, load_images
from sparta_hub.errors import answered
from sparta_hub.evaluation import Attack, evaluate
from sparta_hub.provenance import provenance

EPS = (1, 2, 4, 8, 12, 16)


def precompute(entry: Entry, data: Images, *, limit: int, folder: Path = FOLDER, progress: bool = True) -> None:
    """Attack the examples and measure accuracy on the first ``limit`` images of ``data``; keep both."""
    device = torch.device("cpu")
    network = read_network(entry, device)
    pictures = {name: read_upload(path).picture for name, path in example_files(entry.classes).items()}
    attacks = {
        name: attack(network, to_tensor(picture, network.size), SETTINGS, entry.classes.index(name))
        for name, picture in pictures.items()
    }
    strengths = [Attack("pgd", pgd, Settings(eps).threat, {"steps": SETTINGS.steps}) for eps in EPS]
    report = evaluate(
        network.model, data, strengths, batch_size=50, seed=0, limit=limit, progress=progress, name=entry.name
    )
    measured = [(0, report.clean), *((eps, report.robust(i)) for i, eps in enumerate(EPS))]
    record = {
        "name": entry.name,
        "weights_sha256": entry.weights_sha256,
        "attack": {"name": "pgd", "norm": "linf", "eps_255": SETTINGS.eps, "steps": SETTINGS.steps, "seed": 0},
        "accuracy": {
            "data": f"the first {report.clean.images} test images of {data.name}",
            "data_sha256": report.protocol.data_sha256,
            "attack": f"PGD-{SETTINGS.steps}, L∞; an image that is wrong without attack counts as wrong",
            "rows": [
                {"eps_255": eps, "percent": a.percent, "low": a.low, "high": a.high, "correct": a.correct,
                 "images": a.images} for eps, a in measured
            ],
        },
        "provenance": provenance(device),
    }  # fmt: skip
    write_stored(entry.name, attacks, record, folder)


def write_examples(data: Images, folder: Path = HERE / "examples") -> None:
    """The first test image of each class, by the data set's order, as PNG."""
    for number, name in enumerate(data.class_names):
        image = data.x[int((data.y == number).nonzero()[0, 0])]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{name}.png", optimize=True)


def main() -> None:
    """Parse the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="artifacts; all with host weights by default")
    parser.add_argument("--images", type=int, default=500, help="test images to measure accuracy on")
    parser.add_argument("--examples", action="store_true", help="also write the examples' pictures anew, from cifar10")
    options, entries = parser.parse_args(), find_entries()
    if unknown := sorted(set(options.names) - entries.keys()):
        parser.error(f"no network {', '.join(unknown)} with its host's weights; found: {', '.join(entries) or 'none'}")
    with answered("precompute.py"):
        if not entries:
            raise no_network()
        if options.examples:
            write_examples(load_images("cifar10", "test"))
        for name, entry in entries.items():
            if not options.names or name in options.names:
                precompute(entry, load_images(entry.origin.dataset, "test"), limit=options.images)


if __name__ == "__main__":
    main()
