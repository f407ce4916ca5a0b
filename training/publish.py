"""Make a run into an artifact folder: ``python -m training.publish RUN NAME [--count 1000] [--with-host]``.

Evaluates what it has just written, not what was in memory; writes the record, the card and the registry's entry.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import load_file

from sparta_hub.activations import find_family
from sparta_hub.artifacts import CARD, CONFIG, RESULTS, read_artifact, save_model, sha256_of
from sparta_hub.cards import render_card
from sparta_hub.data import load_images
from sparta_hub.hub import load
from sparta_hub.provenance import provenance
from sparta_hub.site_search import sites
from sparta_hub.spec import ActivationSpec, Origin, SiteSpec
from sparta_hub.surgery import inject
from sparta_hub.threat import ThreatModel
from training.engine import evaluate_pgd

ROOT = Path(__file__).parent.parent
NAMESPACE = "sparta-hub"


def publish(run: Path, name: str, *, count: int, with_host: bool, remark: str, comparison: str) -> Path:
    """Write ``model_cards/NAME`` from a finished run; its folder."""
    record = json.loads((run / "training.json").read_text())
    config = record["config"]
    threat = ThreatModel(**config["threat"])
    data = load_images(config["dataset"], "test")
    size = int(data.x.shape[-1])
    origin = Origin(config["host"], data.num_classes, size, "3x3", config["dataset"], str(threat))
    model = timm.create_model(config["host"], num_classes=data.num_classes)
    arguments = {**find_family(config["family"]).defaults, **config["arguments"]}
    where = tuple(SiteSpec(site.name, site.channels) for site in sites(model, config["placement"]))
    inject(model, ActivationSpec(config["family"], arguments, config["placement"], where, origin))
    model.load_state_dict(load_file(run / "averaged.safetensors"))
    folder = ROOT / "model_cards" / name
    save_model(model, folder, with_host=with_host)
    trained = load(folder) if with_host else model.eval()
    training = {
        "recipe": config["name"],
        "method": config["method"],
        **{
            key: config[key]
            for key in ("batch_size", "epochs", "seed", "lr", "weight_decay", "label_smoothing", "ema_decay")
        },
        **{key: record[key] for key in ("steps", "images", "seconds", "commit", "torch", "python", "hardware")},
    }
    rows, measured = evaluate_pgd(trained, data, threat, count=count, steps=20, seed=0), provenance(torch.device("cpu"))
    results = {
        "training": training,
        "evaluation": [{**row, **measured} for row in rows],
        "remark": remark,
        "comparison": comparison,
    }
    written = save_model(model, folder, results=results, with_host=with_host)
    values = sum(t.numel() for t in read_artifact(folder).tensors.values())
    (folder / CARD).write_text(render_card(name, written, results, values=values), encoding="utf-8")
    register(name)
    return folder


def register(name: str) -> None:
    """Put the checksums of ``model_cards/NAME`` into the registry; changed files are no longer the published commit."""
    path = ROOT / "sparta_hub" / "registry.json"
    rows: dict[str, Any] = json.loads(path.read_text())
    folder = ROOT / "model_cards" / name
    listed = json.loads((folder / CONFIG).read_text())["files"]
    files = {CONFIG: sha256_of(folder / CONFIG), **listed}
    old = rows.get(name, {})
    revision = old.get("revision") if old.get("files") == files else None
    rows[name] = {"repo": f"{NAMESPACE}/{name}", "revision": revision, "files": files}
    path.write_text(json.dumps(dict(sorted(rows.items())), indent=2) + "\n")


def main() -> None:
    """Parse the command line and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--count", type=int, default=1000, help="test images to measure on")
    parser.add_argument("--with-host", action="store_true", help="keep the trained network's weights too")
    parser.add_argument("--remark", required=True, help="one honest paragraph about the training, for the card")
    parser.add_argument(
        "--comparison", required=True, help="how it did beside its ReLU twin, or that there is none yet"
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    print(publish(options.run, options.name, count=options.count, with_host=options.with_host, remark=options.remark,
                  comparison=options.comparison) / RESULTS)  # fmt: skip


if __name__ == "__main__":
    main()
