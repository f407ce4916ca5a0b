"""``sparta-hub list | info | check | demo``, and the group that these and all other commands are in."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparta_hub import __version__
from sparta_hub.cli.diagnose import diagnose_command
from sparta_hub.cli.eval import eval_command
from sparta_hub.cli.hub import COMMANDS
from sparta_hub.cli.options import JSON, at_home
from sparta_hub.errors import SpartaError, in_a_line

if TYPE_CHECKING:
    from sparta_hub.hub import Info


class _Commands(click.Group):
    """Turns our errors, and files that cannot be written, into one line on standard error and exit code 1."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the command line."""
        return super().parse_args(ctx, at_home(args))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (SpartaError, OSError) as error:
            click.echo(f"sparta-hub: {in_a_line(error)}", err=True)
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
    from sparta_hub.hub import info, list_models

    if hub:
        names = list_models(hub=True, author=author)
        click.echo(json.dumps(names, indent=2) if as_json else "\n".join(names) or "Nothing yet.")
        return
    from sparta_hub.activations import FAMILIES
    from sparta_hub.zoo import bundled_folder

    if author is not None:
        raise click.UsageError("--author goes with --hub.")
    # not by the bare name: a folder that is called so here would be found first
    found = [replace(info(bundled_folder(name) or name), name=name) for name in list_models()]
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
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["frozen", "weights", "tuned", "joint"]),
    multiple=True,
    default=["frozen"],
    show_default=True,
    help="The set frozen, its weights frozen, trained on, or its family trained from scratch; may be repeated.",
)
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
def demo_command(
    name: str, modes: tuple[str, ...], seed: int, steps: int, images: int, out: Path, as_json: bool
) -> None:
    """Train a frozen SPARTA and its ReLU twin on real images, attack both, print a table and save a figure.

    About two minutes on two CPU cores, without the network; another --mode takes one more.
    """
    import torch

    from sparta_hub.demo import run_demo, table, write_demo
    from sparta_hub.provenance import provenance

    if out.exists() and not out.is_dir():
        raise SpartaError(f"--out {out} is a file; expected a folder, or the name of a new one.")
    out.mkdir(parents=True, exist_ok=True)  # rather than find out after minutes that it cannot be
    result = run_demo(name, modes=modes, seed=seed, steps=steps, test_count=images)
    path = write_demo(result, out)
    if as_json:
        twins = [{k: v for k, v in vars(twin).items() if k != "model"} for twin in (*result.sets, result.relu)]
        record = {"name": name, "seed": seed, "steps": steps, "images": result.test_count, "twins": twins}
        click.echo(json.dumps(record | {"machine": provenance(torch.device("cpu"))}, indent=2))
    else:
        click.echo(f"\n{table(result)}\nfigure: {path}")


for _command in (eval_command, diagnose_command, *COMMANDS):
    main.add_command(_command)


def _info_row(found: "Info") -> dict[str, Any]:
    return {
        "name": found.name,
        "values": found.parameters,
        "has_host": found.has_host,
        "folder": str(found.folder),
        "activation": found.spec.to_json(),
    }
