"""The commands of ``sparta-hub`` on published sets: ``push | load | verify | verify-files | release | push-space``."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparta_hub.cli.options import JSON
from sparta_hub.zoo import NAMESPACE

if TYPE_CHECKING:
    from sparta_hub.hub import Pushed

_DRY = click.option("--dry-run", is_flag=True, help="Check, and show what would be sent; no network.")
_PRIVATE = click.option("--private/--public", default=None, help="For a new repository; else as the namespace has it.")
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("push")
@click.argument("folder", type=_FOLDER)
@click.argument("repo")
@_PRIVATE
@click.option("--revision", help="Branch, made if need be.")
@click.option("--create-pr", is_flag=True, help="Propose it as a pull request.")
@click.option("--tag", "tags", multiple=True, help="Git tag for the commit, such as v1; may be repeated.")
@_DRY
@JSON
def push_command(
    folder: Path,
    repo: str,
    private: bool | None,
    revision: str | None,
    create_pr: bool,
    tags: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publish the artifact FOLDER as REPO (org/name). The token is that of `hf auth login` or HF_TOKEN."""
    from sparta_hub.hub import push_to_hub

    pushed = push_to_hub(
        folder, repo, private=private, revision=revision, create_pr=create_pr, tags=tags, dry_run=dry_run
    )
    _show_pushed([pushed], as_json)


@click.command("load")
@click.argument("name")
@click.option("--model", "host", help="timm network to put it into; else the one it was trained in.")
@click.option("--num-classes", type=click.IntRange(1), help="Classes of the head.")
@JSON
def load_command(name: str, host: str | None, num_classes: int | None, as_json: bool) -> None:
    """Fetch NAME if need be, put it into a network, and show what stands where. The cache then serves it offline."""
    from sparta_hub.hub import load
    from sparta_hub.surgery import status

    rows = status(load(name, model=host, num_classes=num_classes, frozen=True))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return
    for row in rows:
        click.echo(f"{row.site:<12}{row.path:<24}{row.family}, {row.parameters:,} values, checksum {row.checksum}")


@click.command("verify-files")
@click.argument("name")
@JSON
def verify_files_command(name: str, as_json: bool) -> None:
    """Compare the files of NAME that its config lists with their sha256; cards and pictures have none.

    Exit code 1: one is damaged, or one that is needed is missing.
    """
    from sparta_hub.artifacts import RESULTS
    from sparta_hub.hub import verify_files

    states = verify_files(name)
    if as_json:
        click.echo(json.dumps([asdict(state) for state in states], indent=2))
    else:
        for state in states:
            use = "the figures of `info`" if state.name == RESULTS else "the network it came from"
            note = "" if state.needed or state.state != "missing" else f" (only needed for {use})"
            click.echo(f"{state.state:<9}{state.name}{note}")
    if any(s.state == "damaged" or (s.needed and s.state == "missing") for s in states):
        sys.exit(1)


@click.command("verify")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many images; all of the record by default.")
@click.option("--attack", "attacks", multiple=True, help="Only this; may be repeated. Default: all but AutoAttack.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1.")
@JSON
def verify_command(name: str, limit: int | None, attacks: tuple[str, ...], device: str, as_json: bool) -> None:
    """Measure again, without attack and under each single attack, the accuracies on the card of NAME.

    Exit code 3: one lies outside the card's 95 % interval.
    """
    from sparta_hub.hub import verify

    verdicts = verify(name, limit=limit, attacks=attacks, device=device, progress=True)
    if as_json:
        rows = [{"attack": v.attack, "card": asdict(v.card), "here": asdict(v.here), "differ": v.differ,
                 "within": v.within} for v in verdicts]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
    else:
        for v in verdicts:
            place = "within" if v.within else "OUTSIDE"
            click.echo(
                f"{place:<8}{v.attack}: {v.here.percent:.1f} % of {v.here.images:,} images here, the card's record has "
                f"{v.card}; {v.differ} images differ"
            )
    if not all(v.within for v in verdicts):
        sys.exit(3)


@click.command("release")
@click.option("--source", type=_FOLDER, default=Path("model_cards"), show_default=True, help="Folder of the artifacts.")
@click.option("--namespace", default=NAMESPACE, show_default=True, help="User or organisation.")
@click.option("--tag", "tags", multiple=True, help="Git tag for the commits; may be repeated.")
@click.option("--registry", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Registry to update.")
@_DRY
@JSON
def release_command(
    source: Path, namespace: str, tags: tuple[str, ...], registry: Path | None, dry_run: bool, as_json: bool
) -> None:
    """For maintainers: publish every short name, write its commit into registry.json, and fill the Collection."""
    from sparta_hub.hub import release
    from sparta_hub.zoo import REGISTRY

    pushed = release(source, namespace=namespace, tags=tags, registry_file=registry or REGISTRY, dry_run=dry_run)
    _show_pushed(pushed, as_json)


@click.command("push-space")
@click.argument("folder", type=_FOLDER)
@click.argument("repo")
@click.option("--static", is_flag=True, help="Publish FOLDER/static instead: free, without compute.")
@_PRIVATE
@_DRY
@JSON
def push_space_command(
    folder: Path, repo: str, static: bool, private: bool | None, dry_run: bool, as_json: bool
) -> None:
    """Publish FOLDER (README.md, app.py, requirements.txt) as the Space REPO, with this version of sparta-hub."""
    from sparta_hub.hub import push_space

    _show_pushed([push_space(folder, repo, static=static, private=private, dry_run=dry_run)], as_json)


def _show_pushed(pushed: "Sequence[Pushed]", as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([asdict(one) for one in pushed], indent=2))
        return
    for one in pushed:
        click.echo(f"{'would push' if one.commit is None else 'pushed'} {one.repo}: {one.message}")
        for name, size in one.files:
            click.echo(f"  {size:>12,}  {name}")
        if one.commit:
            click.echo(f"  commit {one.commit}\n  {one.url}")


COMMANDS = (push_command, load_command, verify_command, verify_files_command, release_command, push_space_command)
