"""What SPARTA gains over ReLU in the demo, in the mean over seeds.

for seed in 0 1 2; do sparta-hub demo --seed $seed --json > demo-$seed.json; done
python benchmarks/demo_seeds.py demo-*.json
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparta_hub.cli.options import new_file
from sparta_hub.errors import answered
from sparta_hub.evaluation import SeedGain, mean_over_seeds
from training.entries import read_record
from training.errors import ConfigError

Twins = Mapping[str, Mapping[str, Any]]  # by name, what one seed has


def by_seed(demos: Iterable[dict[str, Any]]) -> dict[int, Twins]:
    """The networks of each seed; several demos of one seed are put together.

    Raises:
        ConfigError: demos that differ in more than seed, modes and commit, or two that disagree on a network.
    """
    found: dict[int, dict[str, Mapping[str, Any]]] = {}
    kinds = set()
    for demo in demos:
        kinds.add((demo["name"], demo["steps"], demo["images"], demo["machine"]["torch"], demo["machine"]["hardware"]))
        for twin in demo["twins"]:
            there = found.setdefault(demo["seed"], {}).setdefault(twin["name"], twin)
            if (there["clean"], there["robust"]) != (twin["clean"], twin["robust"]):
                raise ConfigError(f"Two demos of seed {demo['seed']} have other accuracies of {twin['name']}.")
    if len(kinds) > 1:
        raise ConfigError("The demos differ in more than their seed; expected one set, length, torch and hardware.")
    return dict(sorted(found.items()))


def gains_of(found: Mapping[int, Twins], against: str) -> list[SeedGain]:
    """Clean and under PGD-20, each network minus ``against``.

    Raises:
        ConfigError: fewer than two seeds, or seeds with other networks.
    """
    names = [[*twins] for twins in found.values()]
    if len(found) < 2 or any(sorted(each) != sorted(names[0]) or against not in each for each in names):
        seeds = "; ".join(f"{seed}: {', '.join(twins)}" for seed, twins in found.items())
        raise ConfigError(f"There are {seeds}; expected two seeds or more, each with the same networks and {against}.")
    return [
        mean_over_seeds(
            f"{name}, {word}",
            {seed: round(twins[name][key] - twins[against][key], 2) for seed, twins in found.items()},
        )
        for name in names[0]
        if name != against
        for word, key in (("clean", "clean"), ("PGD-20", "robust"))
    ]


def main() -> None:
    """Read, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demos", nargs="+", type=Path, metavar="FILE", help="of sparta-hub demo --json")
    parser.add_argument("--against", default="ReLU", metavar="NAME", help="network that the others are compared with")
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write them and the means to this file, too")
    options = parser.parse_args()
    with answered(Path(sys.argv[0]).name):
        demos = [read_record(path) for path in options.demos]
        gains = gains_of(by_seed(demos), options.against)
    for gain in gains:
        print(f"{gain.attack}: {gain}")
    if options.json:
        record = {"against": options.against, "gains": [gain.to_json() for gain in gains], "demos": demos}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
