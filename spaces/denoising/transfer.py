"""Does this activation set fit that network, and what was measured where it was put into another one?"""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from networks import Entry
from show import Show

import sparta_hub
from sparta_hub.hub import Info

HOSTS = ("resnet18_cifar", "resnet34_cifar", "resnet50_cifar", "resnet18", "resnet34", "resnet50", "resnext50_32x4d",
         "seresnet33ts", "resnest14d", "skresnet18")  # fmt: skip


def activation_sets(show: Show) -> dict[str, Info]:
    """Every set that can be chosen by name: those on show, and those that came with the library."""
    names = [name for name in sparta_hub.list_models() if name not in show.entries]
    known = {name: entry.info for name, entry in show.entries.items() if entry.family != "relu"}
    return known | {name: found for name in names if (found := sparta_hub.info(name)).spec.family != "relu"}


def fits(name: str, found: Info, host: str) -> str:
    """In HTML, whether a set fits a network, why, what to mind, and what to type.

    Raises:
        SpartaError: nobody knows the network.
    """
    origin = found.spec.origin
    told = sparta_hub.check(found.spec, host, input_size=origin.input_size if origin else None)
    head = f"{name} {'fits' if told.compatible else 'does not fit'} {host}."
    parts = [f"<p><b>{escape(head)}</b> {escape(told.reason)}</p>"]
    parts += [f"<p class='note'>Mind: {escape(warning)}</p>" for warning in told.warnings]
    if told.compatible:
        line = f'model = sparta_hub.load("{name}", model="{host}", num_classes=10, frozen=True)'
        parts.append(f"<pre><code>{escape(line)}</code></pre>")
    elif told.hosts:
        parts.append(f"<p>It fits: {escape(', '.join(told.hosts))}.</p>")
    return "".join(parts)


def matrix(entries: Iterable[Entry]) -> str:
    """Measured accuracies of everything on show, from the records; a row for each network and attack."""
    rows = "".join(
        f"<tr><th scope='row'>{escape(entry.name)}</th><td>{escape(entry.origin.host)}</td>"
        f"<td>{escape(entry.origin.dataset)}</td><td>{escape(str(row['attack']))}</td>"
        f"<td>{row['accuracy']:.1f} % [{row['low']:.1f}, {row['high']:.1f}]</td><td>{row['images']:,}</td></tr>"
        for entry in entries
        for row in _evaluations(entry.info.results)
    )
    head = "".join(
        f"<th scope='col'>{name}</th>" for name in ("network", "host", "data", "attack", "accuracy", "images")
    )
    return (
        "<div class='scroll' tabindex='0' role='region' aria-label='Measured accuracies'><table><caption>What was "
        "measured of the networks on this page, with 95 % intervals, from their records. A network with the activation "
        "set of another one appears here as soon as its artifact is on show.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _evaluations(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        row for row in results.get("evaluation", []) if {"attack", "accuracy", "low", "high", "images"} <= row.keys()
    ]
