"""``sparta-hub diagnose``. What it needs is imported when it runs, so that the command line starts at once."""

import json
import sys
from pathlib import Path
from typing import Literal

import click

from sparta_hub.cli.options import DATA, EPS, HOST, INPUT_SIZE, JSON, SEED, WEIGHTS


@click.command("diagnose")
@click.argument("name", required=False)
@DATA
@EPS
@click.option("--norm", type=click.Choice(["linf", "l2"]), default="linf", show_default=True)
@click.option("--twin", help="NAME of a network of the same task, such as a ReLU twin, whose attacks are tried too.")
@click.option("--quick", is_flag=True, help="A first look: fewer steps, and 50 images.")
@click.option("--limit", type=click.IntRange(1), help="Look at the first so many images; 200, or 50 with --quick.")
@click.option("--batch-size", type=click.IntRange(1), default=50, show_default=True)
@SEED
@INPUT_SIZE
@HOST
@WEIGHTS
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for record and plot.")
@click.option("--strict", is_flag=True, help="Exit code 1 if anything is suspect.")
@JSON
def diagnose_command(
    name: str | None,
    data_name: str,
    eps: str | None,
    norm: Literal["linf", "l2"],
    twin: str | None,
    quick: bool,
    limit: int | None,
    batch_size: int,
    seed: int,
    input_size: int | None,
    host: str | None,
    weights: Path | None,
    out: Path | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Ask whether the network NAME is robust, or whether its gradient is hidden, on the test images of a data set.

    Without NAME it is any timm network: --model NETWORK --weights FILE.safetensors, which takes images in [0, 1].
    --quick takes a few minutes for a ResNet-18 on one CPU core; the whole is for a GPU, or an hour and more. With
    --out, a second call goes on where the first was interrupted.
    """
    import torch

    from sparta_hub.cli.network import called, load_network, warn_if_untrained, warn_of_other_data
    from sparta_hub.data import load_images
    from sparta_hub.diagnostics import diagnose
    from sparta_hub.threat import USUAL, ThreatModel

    threat = ThreatModel.parse(eps or USUAL[norm], norm=norm)
    data = load_images(data_name, "test", size=input_size, limit=limit or (50 if quick else 200))
    classes = data.num_classes
    command = "diagnose"
    model = load_network(name, host=host, weights=weights, num_classes=classes, command=command)
    other = None if twin is None else load_network(twin, host=None, weights=None, num_classes=classes, command=command)
    warn_if_untrained(name, host=host, weights=weights)
    warn_of_other_data(name, host=host, data=data)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = diagnose(
        model.to(device), data, threat, batch_size=batch_size, seed=seed, twin=other, quick=quick, out=out,
        progress=True, name=called(name, host),
    )  # fmt: skip
    click.echo(json.dumps(found.to_json(), indent=2) if as_json else found.table())
    if out is not None and not as_json:
        click.echo(f"record and plot: {out}")
    if strict and found.suspect:
        sys.exit(1)
