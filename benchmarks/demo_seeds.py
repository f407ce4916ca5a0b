"""What SPARTA gains over ReLU in the demo, in the mean over seeds.

for seed in 0 1 2; do sparta-hub demo --seed $seed --json > demo-$seed.json; done
python benchmarks/demo_seeds.py demo-*.json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _options import new_file

from sparta_hub.evaluation import SeedGain, mean_over_seeds
from training.entries import read_record
from training.errors import ConfigError, answered


def gains_of(demos: Sequence[dict[str, Any]]) -> list[SeedGain]:
    """Clean and under PGD-20, each network of a demo minus its last one, which has ReLU.

    Raises:
        ConfigError: fewer than two seeds, one of them twice, or demos that differ in more than the seed.
    """
    seeds = [demo["seed"] for demo in demos]
    if len(demos) < 2 or len({*seeds}) < len(seeds):
        raise ConfigError(f"The seeds are {', '.join(map(str, seeds)) or '(none)'}; expected two or more, each once.")
    alike = [
        (demo["name"], demo["steps"], demo["images"], demo["machine"]["torch"], demo["machine"]["hardware"],
         [twin["name"] for twin in demo["twins"]])
        for demo in demos
    ]  # fmt: skip
    if any(kind != alike[0] for kind in alike):
        raise ConfigError("The demos differ in more than their seed; expected one set, length, torch and hardware.")
    return [
        mean_over_seeds(
            f"{twin['name']}, {word}",
            {demo["seed"]: round(demo["twins"][i][key] - demo["twins"][-1][key], 2) for demo in demos},
        )
        for i, twin in enumerate(demos[0]["twins"][:-1])
        for word, key in (("clean", "clean"), ("PGD-20", "robust"))
    ]


def main() -> None:
    """Read, print, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("demos", nargs="+", type=Path, metavar="FILE", help="of sparta-hub demo --json")
    parser.add_argument(
        "--json", type=new_file, metavar="FILE", help="write all of them and the means to this file, too"
    )
    options = parser.parse_args()
    with answered(Path(sys.argv[0]).name):
        demos = sorted((read_record(path) for path in options.demos), key=lambda demo: demo["seed"])
        gains = gains_of(demos)
    for gain in gains:
        print(f"{gain.attack}: {gain}")
    if options.json:
        record = {"gains": [gain.to_json() for gain in gains], "demos": demos}
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
