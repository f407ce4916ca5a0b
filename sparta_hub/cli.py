"""Command line: ``sparta-hub list | info | check | demo | eval``, and the commands of ``hub_command.py``.

Exit code 0: done; 1: an error that the message explains; 2: the command was typed wrongly; 3: ``check`` found that the
set does not fit.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import click

from sparta_hub import __version__, hub_command
from sparta_hub.diagnose_command import diagnose_command
from sparta_hub.errors import SpartaError
from sparta_hub.options import DATA, EPS, HOST, INPUT_SIZE, JSON, SEED, WEIGHTS


class _Commands(click.Group):
    """Turns our errors, and files that cannot be written, into one line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SpartaError as error:
            click.echo(f"sparta-hub: {error}", err=True)
            sys.exit(1)
        except OSError as error:
            if error.filename is None:  # no file of the user's: somebody should see where it comes from
                raise
            click.echo(f"sparta-hub: {error.filename} cannot be read or written: {error.strerror}.", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparta-hub")
def main() -> None:
    """Pretrained, adversarially robust activation functions for PyTorch CNNs.

    A NAME is a short name (see `sparta-hub list`), an artifact folder, or org/name[@revision] on the Hugging Face Hub.
    """


@main.command("list")
@click.option("--hub", is_flag=True, help="List all repositories on the Hub that are of sparta-hub.")
@click.option("--author", help="With --hub: only those of this user or organisation.")
@JSON
def list_command(hub: bool, author: str | None, as_json: bool) -> None:
    """List the activation sets that this installation knows, and the families."""
    if hub:
        hub_command.list_on_hub(author, as_json)
        return
    from sparta_hub.activations import FAMILIES
    from sparta_hub.hub import info, list_models

    if author is not None:
        raise click.UsageError("--author goes with --hub.")
    found = [info(name) for name in list_models()]
    if as_json:
        rows = [_info_row(i) for i in found]
        click.echo(json.dumps({"models": rows, "families": {k: f.source for k, f in FAMILIES.items()}}, indent=2))
        return
    for i in found:
        origin = i.spec.origin
        where = f"{origin.host} on {origin.dataset}, {origin.threat}" if origin else "untrained"
        click.echo(f"{i.name:<24}{i.spec.family}, {i.spec.placement}, {i.parameters:,} values; {where}")
    click.echo(f"\nFamilies for sparta_hub.inject: {', '.join(FAMILIES)}")


@main.command("info")
@click.argument("name")
@JSON
def info_command(name: str, as_json: bool) -> None:
    """Show what NAME is: family, sites, origin, measured figures."""
    from sparta_hub.hub import info

    found = info(name)
    if as_json:
        click.echo(json.dumps({**_info_row(found), "results": found.results}, indent=2))
        return
    spec, origin = found.spec, found.spec.origin
    arguments = ", ".join(f"{k}={v}" for k, v in spec.arguments.items())
    click.echo(f"{found.name}\n  family      {spec.family}({arguments})")
    click.echo(f"  sites       {', '.join(f'{s.name} ({s.channels})' for s in spec.sites)}  placement {spec.placement}")
    click.echo(f"  values      {found.parameters:,}\n  folder      {found.folder}")
    click.echo(
        f"  network     {'trained weights are here too' if found.has_host else 'activations only; load with model=...'}"
    )
    if origin:
        click.echo(
            f"  trained in  {origin.host} ({origin.stem} stem, {origin.num_classes} classes) on {origin.dataset} at "
            f"{origin.input_size}×{origin.input_size}\n  against     {origin.threat}"
        )
    for row in found.results.get("evaluation", []):
        click.echo(f"  measured    {row['attack']}: {row['accuracy']:.1f} % on {row['images']} images")


@main.command("check")
@click.argument("name")
@click.argument("model")
@click.option(
    "--input-size", type=click.IntRange(1), help="Height and width of the images; the network's default if absent."
)
@JSON
def check_command(name: str, model: str, input_size: int | None, as_json: bool) -> None:
    """Say whether NAME fits the timm network MODEL, and if not, which networks it fits. Exit code 3: it does not."""
    from sparta_hub.hub import check

    found = check(name, model, input_size=input_size)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        click.echo(f"{'compatible' if found.compatible else 'not compatible'}: {found.reason}")
        for warning in found.warnings:
            click.echo(f"warning: {warning}")
        if found.hosts:
            click.echo(f"fits: {', '.join(found.hosts)}")
    if not found.compatible:
        sys.exit(3)


@main.command("demo")
@click.option("--name", default="sparta-res18-cifar", show_default=True, help="Activation set.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights, batches and noise.")
@click.option("--steps", type=click.IntRange(1), default=100, show_default=True, help="Training steps of each twin.")
@click.option("--images", type=click.IntRange(1, 500), default=200, show_default=True, help="Test images.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder of the figure.",
)
@JSON
def demo_command(name: str, seed: int, steps: int, images: int, out: Path, as_json: bool) -> None:
    """Train a frozen SPARTA and its ReLU twin on real images, attack both, print a table and save a figure.

    About two minutes on two CPU cores, without the network.
    """
    import torch

    from sparta_hub.demo import run_demo, table, write_demo
    from sparta_hub.provenance import provenance

    if out.exists() and not out.is_dir():
        raise SpartaError(f"--out {out} is a file; expected a folder, or the name of a new one.")
    out.mkdir(parents=True, exist_ok=True)  # rather than find out after minutes that it cannot be
    result = run_demo(name, seed=seed, steps=steps, test_count=images)
    path = write_demo(result, out)
    if as_json:
        twins = [{k: v for k, v in vars(twin).items() if k != "model"} for twin in (result.sparta, result.relu)]
        record = {"name": name, "seed": seed, "steps": steps, "images": result.test_count, "twins": twins}
        click.echo(json.dumps(record | {"machine": provenance(torch.device("cpu"))}, indent=2))
    else:
        click.echo(f"\n{table(result)}\nfigure: {path}")


@main.command("eval")
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
@click.option("--fast", is_flag=True, help="Attack a faster copy where it proves as good; PGD drops broken images.")
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
    from sparta_hub.data import load_images
    from sparta_hub.eval_command import launched_processes, make_attacks
    from sparta_hub.evaluation import evaluate
    from sparta_hub.network_option import called, load_network

    chosen = make_attacks(
        attacks, norm=norm, eps=eps, targeted=targeted, steps=steps, step_size=step_size, restarts=restarts,
        early_stop=fast,
    )  # fmt: skip
    data = load_images(data_name, "test", size=input_size, limit=limit)
    model = load_network(name, host=host, weights=weights, num_classes=data.num_classes)
    with launched_processes() as (speaks, device):
        if speaks and name and host and not weights:
            click.echo(f"warning: {host} is untrained but for the activations of {name}; see --weights.", err=True)
        report = evaluate(
            model.to(device), data, chosen, batch_size=batch_size, seed=seed, cascade=cascade, out=out, progress=True,
            speed="fast" if fast else "exact", name=called(name, host),
        )  # fmt: skip
    if speaks:
        click.echo(json.dumps(report.to_json(), indent=2) if as_json else report.table())


for _command in hub_command.COMMANDS:
    main.add_command(_command)


main.add_command(diagnose_command)


def _info_row(found: Any) -> dict[str, Any]:
    return {
        "name": found.name,
        "values": found.parameters,
        "has_host": found.has_host,
        "folder": str(found.folder),
        "activation": found.spec.to_json(),
    }


if __name__ == "__main__":
    main()
