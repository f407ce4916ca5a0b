"""Are our attacks as strong as those of torchattacks, foolbox and pyautoattack? On 500 images, with the same weights.

    python benchmarks/attack_parity.py [--json FILE]

A small network is trained on real images (the ones inside the package), so that the whole takes a minute or two; every
tool then attacks the test images that it has right, from random starts of its own, and our evaluator says which hold.
The goal: 0.5 points of all images at most between ours and a peer's. Exit code 1 if it is missed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from _attack_worker import PEER, small_cnn
from attack_throughput import OURS, right_images, run
from safetensors.torch import save_file

from sparta_hub.cli.options import new_file, whole
from sparta_hub.data import load_bundled
from sparta_hub.provenance import provenance

GOAL = 0.5  # points


def train(path: Path, steps: int, seed: int) -> None:
    """Train the small network on clean images and write its weights to ``path``."""
    data = load_bundled("train")
    torch.manual_seed(seed)
    model = small_cnn()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        index = torch.randint(len(data), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(data.floats(index)), data.y[index]).backward()
        optimizer.step()
    save_file(model.state_dict(), path)


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """One row a tool and attack."""
    weights = str(folder / "small_cnn.safetensors")
    train(Path(weights), args.train_steps, args.seed)
    data = load_bundled("test")
    head = right_images(weights, data, folder, args.device)
    rows = []
    for attack in ("pgd", "apgd"):
        for tool in [*OURS, *(tool for tool, what in PEER if what == attack)]:
            done = run(tool, attack, weights, folder, args)
            keep = {k: done[k] for k in ("tool", "version", "attack", "held", "outside", "ran_on")}
            rows.append(head | keep | {"robust_percent": 100 * done["held"] / len(data)})
    return rows


def gaps(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Ours minus a peer's robust accuracy in points, for each attack, row of ours, and peer."""
    return {
        f"{own['attack']}: {own['tool']} - {peer['tool']}": own["robust_percent"] - peer["robust_percent"]
        for own in rows
        for peer in rows
        if own["attack"] == peer["attack"] and own["tool"] in OURS and peer["tool"] not in OURS
    }


def main() -> None:
    """Measure, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--eps", type=float, default=12, help="in units of 1/255")
    parser.add_argument("--step-size", type=float, default=1.5, help="of PGD, in units of 1/255")
    parser.add_argument("--steps", type=whole(1), default=40)
    parser.add_argument("--batch", type=whole(1), default=250)
    parser.add_argument("--train-steps", type=whole(1), default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peers-venv", type=Path, help="folder of the peers' environments; default: a temporary one")
    parser.add_argument("--json", type=new_file, help="write the numbers to this file, too")
    args = parser.parse_args()
    args.threads, args.clock, args.device = torch.get_num_threads(), "wall", "cpu"
    with tempfile.TemporaryDirectory() as temporary:
        args.peers_venv = args.peers_venv or Path(temporary) / "peers"
        rows = measure(args, Path(temporary))
    for row in rows:
        print(f"{row['attack']:6}{row['tool']:18}{row['version']:8}{row['robust_percent']:6.1f} % of {row['images']}")
    found = gaps(rows)
    worst = max(found, key=lambda pair: abs(found[pair]))
    print(f"largest gap: {worst}: {found[worst]:+.1f} points")
    if args.json:
        setting = {k: v for k, v in vars(args).items() if k not in ("json", "peers_venv", "clock")}
        record = {"setting": setting, "rows": rows, "gaps": found, "machine": provenance(torch.device("cpu"))}
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    sys.exit(abs(found[worst]) > GOAL)


if __name__ == "__main__":
    main()
