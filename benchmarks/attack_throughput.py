"""How many images a second our attacks do, beside torchattacks, foolbox and pyautoattack, on the same networks.

    python benchmarks/attack_throughput.py [--networks sparta-res18-cifar,relu-res18-cifar] [--images N] [--compile]

PGD-20 and APGD-20 on cross entropy, L∞ 8/255, on the first CIFAR-10 test images that the network has right. Each run
is a process of its own, in each repeat another tool begins, and a ratio is taken inside a repeat; the table shows
the median. Which images hold is decided by our evaluator for all tools. Two rows are ours: ``exact`` attacks the model
as it is; ``fast`` is ``evaluate(speed="fast")`` with ``early_stop``, whose check on 64 images is a cost that does not
grow with the images: it is not in the ratio, and the last column shows it. With ``--compile`` there is a third one,
``compiled``, which compiles during its check. The evaluator's own prediction of the attacked images is in our seconds,
and not in those of the others.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from _attack_worker import EXACT, FAST, PEER, Job, load_network
from _options import device
from _peers import python_of
from safetensors.torch import save_file

from sparta_hub.cli.options import new_file, whole
from sparta_hub.data import Images, load_images
from sparta_hub.errors import answered
from sparta_hub.identity import state_sha256
from sparta_hub.provenance import provenance

WORKER = Path(__file__).with_name("_attack_worker.py")
OURS = (EXACT, *FAST)
ATTACKS = ("pgd", "apgd")


def right_images(network: str, data: Images, folder: Path, device: str) -> dict[str, Any]:
    """Keep the images that the network has right; what the record says of the network."""
    model = load_network(network).to(device)
    with torch.no_grad():
        logits = [model(data.floats(slice(i, i + 100)).to(device)).cpu() for i in range(0, len(data), 100)]
    right = torch.cat(logits).argmax(1) == data.y
    save_file({"x": data.x[right].contiguous(), "y": data.y[right].contiguous()}, folder / "images.safetensors")
    return {
        "network": Path(network).name,
        "weights_sha256": state_sha256(model),
        "images": len(data),
        "right": int(right.sum()),
    }


def run(tool: str, attack: str, network: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """One process, one tool."""
    job = Job(
        tool, attack, network, str(folder / "images.safetensors"), args.eps, args.step_size, args.steps, args.batch,
        args.threads, args.clock, args.device,
    )  # fmt: skip
    (folder / "job.json").write_text(json.dumps(asdict(job)))
    python = sys.executable if tool in OURS else python_of(tool, args.peers_venv)
    done = subprocess.run([python, WORKER, folder / "job.json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(network: str, data: Images, args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All tools on one network: one row a tool and attack."""
    head = right_images(network, data, folder, args.device)
    rows = []
    for attack in ATTACKS:
        peers = [tool for tool, what in PEER if what == attack]
        tools = [*(tool for tool in OURS if args.compile or not FAST.get(tool)), *peers]
        rounds: dict[str, list[dict[str, Any]]] = {tool: [] for tool in tools}
        for repeat in range(args.repeats):
            for turn in range(len(tools)):
                tool = tools[(turn + repeat) % len(tools)]
                rounds[tool].append(run(tool, attack, network, folder, args))
                print(f"  {attack} {tool}: {rounds[tool][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
        best = [min(rounds[peer][i]["seconds"] for peer in peers) for i in range(args.repeats)]
        for tool in tools:
            done = rounds[tool]
            seconds = [entry["seconds"] for entry in done]
            ratios = [fastest / own for fastest, own in zip(best, seconds, strict=True)]
            rows.append(
                head
                | {k: done[0][k] for k in ("tool", "version", "attack", "held", "outside", "ran_on")}
                | {
                    "robust_percent": round(100 * done[0]["held"] / len(data), 2),
                    "seconds": seconds,
                    "check_seconds": [entry["check_seconds"] for entry in done],
                    "images_per_second": head["right"] / statistics.median(seconds),
                    "ratio_to_best_peer": statistics.median(ratios),
                    "ratios": ratios,
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the rows out."""
    lines = [f"{'network':22}{'attack':8}{'tool':19}{'images/s':>9}{'ratio':>7}{'robust':>9}{'check':>9}"]
    for row in rows:
        check = statistics.median(row["check_seconds"])
        lines.append(
            f"{row['network']:22}{row['attack']:8}{row['tool']:19}{row['images_per_second']:>9.2f}"
            f"{row['ratio_to_best_peer']:>7.2f}{row['robust_percent']:>7.1f} %" + (f"{check:>7.1f} s" if check else "")
        )
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", default="sparta-res18-cifar,relu-res18-cifar", help="names, comma-separated")
    parser.add_argument("--images", type=whole(1), default=300, help="first test images; the right ones are attacked")
    parser.add_argument("--eps", type=float, default=8, help="in units of 1/255")
    parser.add_argument("--step-size", type=float, default=1, help="of PGD, in units of 1/255")
    parser.add_argument("--steps", type=whole(1), default=20)
    parser.add_argument("--batch", type=whole(1), default=50)
    parser.add_argument("--compile", action="store_true", help="also run a compiled copy, which takes minutes to make")
    parser.add_argument("--repeats", type=whole(1), default=3)
    parser.add_argument("--threads", type=whole(1), default=torch.get_num_threads())
    parser.add_argument("--clock", choices=("wall", "process"), default="wall", help="process: CPU time, for busy CPUs")
    parser.add_argument("--device", type=device, default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--peers-venv", type=Path, help="folder of the peers' environments; default: a temporary one")
    parser.add_argument("--json", type=new_file, help="write the numbers to this file, too")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, print, and write the JSON."""
    args = parse()
    torch.set_num_threads(args.threads)
    data = load_images("cifar10", "test", limit=args.images)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        args.peers_venv = args.peers_venv or Path(temporary) / "peers"
        for network in args.networks.split(","):
            rows += measure(network, data, args, Path(temporary))
    print(table(rows))
    if args.json:
        setting = {k: v for k, v in vars(args).items() if k not in ("json", "peers_venv", "networks")}
        record = {"setting": setting, "rows": rows, "machine": provenance(torch.device(args.device))}
        args.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    with answered("attack_throughput"):
        main()
