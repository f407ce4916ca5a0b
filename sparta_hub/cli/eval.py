"""``sparta-hub eval``. What it needs is imported when it runs, so that the command line starts at once."""

import json
from pathlib import Path
from typing import Literal

import click

from sparta_hub.cli.options import DATA, EPS, HOST, INPUT_SIZE, JSON, SEED, WEIGHTS


@click.command("eval")
@click.argument("name", required=False)
@DATA
@click.option("--attack", "attacks", multiple=True, default=("pgd",), show_default=True, help="May be repeated.")
@EPS
@click.option("--norm", type=click.Choice(["linf", "l2"]), help="linf by default.")
@click.option("--targeted", is_flag=True, help="Towards a wrong class, drawn uniformly for each image.")
@click.option("--steps", type=click.IntRange(1), help="Steps of the attacks that have some.")
@click.option("--step-size", help="Length of a step, as 1/255.")
@click.option("--restarts", type=click.IntRange(1), help="Random starts; the worst counts.")
@click.option("--cascade", is_flag=True, help="Later attacks see only images that withstood the ones before.")
@click.option("--fast", is_flag=True, help="Attack a faster copy if a sample shows it as good; PGD drops broken ones.")
@click.option("--compile", "compiled", is_flag=True, help="As --fast, with the copy compiled: for AutoAttack.")
@click.option("--sample", type=click.IntRange(1), help="Images that --fast compares copies on; 64 by default.")
@click.option("--limit", type=click.IntRange(1), help="Measure the first so many images.")
@click.option("--batch-size", type=click.IntRange(1), default=100, show_default=True)
@SEED
@INPUT_SIZE
@HOST
@WEIGHTS
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Report; a second run goes on from there.")
@JSON
def eval_command(
    name: str | None,
    data_name: str,
    attacks: tuple[str, ...],
    eps: str | None,
    norm: Literal["linf", "l2"] | None,
    targeted: bool,
    steps: int | None,
    step_size: str | None,
    restarts: int | None,
    cascade: bool,
    fast: bool,
    compiled: bool,
    sample: int | None,
    limit: int | None,
    batch_size: int,
    seed: int,
    input_size: int | None,
    host: str | None,
    weights: Path | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Measure the accuracy of the network NAME, clean and under attack, on the test images of a data set.

    Without NAME it is any timm network: --model NETWORK --weights FILE.safetensors, which takes images in [0, 1].
    An unknown --attack lists the attacks and presets. `accelerate launch -m sparta_hub.cli eval ...` shares the work.
    """
    from sparta_hub.cli.attacks import make_attacks
    from sparta_hub.cli.network import called, load_network, warn_if_untrained, warn_of_other_data
    from sparta_hub.data import load_images
    from sparta_hub.evaluation import SAMPLE, Speed, evaluate
    from sparta_hub.processes import launched_processes

    if sample is not None and not (fast or compiled):
        raise click.UsageError("--sample goes with --fast or --compile.")
    chosen = make_attacks(
        attacks, norm=norm, eps=eps, targeted=targeted, steps=steps, step_size=step_size, restarts=restarts,
        early_stop=fast or compiled,
    )  # fmt: skip
    speed: Speed = "compiled" if compiled else "fast" if fast else "exact"
    data = load_images(data_name, "test", size=input_size, limit=limit)
    model = load_network(name, host=host, weights=weights, num_classes=data.num_classes)
    with launched_processes() as (speaks, device):
        if speaks:
            warn_if_untrained(name, host=host, weights=weights)
            warn_of_other_data(name, host=host, data=data)
        report = evaluate(
            model.to(device), data, chosen, batch_size=batch_size, seed=seed, cascade=cascade, out=out, progress=True,
            speed=speed, sample=sample or SAMPLE, name=called(name, host),
        )  # fmt: skip
    if speaks:
        click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.table())
