"""Does this activation set fit that network, and what was measured where it was put into another one?"""

from collections.abc import Iterable, Mapping
from html import escape

from networks import Entry
from show import Show

import sparta_hub
from sparta_hub.hub import Info
from sparta_hub.transfer import as_table, read_transfers

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
    rows = [
        (entry.name, entry.origin.host, entry.origin.dataset, str(row["attack"]),
         f"{row['accuracy']:.1f} % [{row['low']:.1f}, {row['high']:.1f}]", f"{row['images']:,}")
        for entry in entries
        for row in entry.info.results.get("evaluation", ())
    ]  # fmt: skip
    caption = "What was measured of the networks on this page, with 95 % intervals, from their records."
    return _table(caption, ("network", "host", "data", "attack", "accuracy", "images"), rows)


def transferred(found: Mapping[str, Info]) -> str:
    """Where the sets were put into other networks or trained on other data, beside what was trained alike there."""
    table = as_table(row for info in found.values() for row in read_transfers(info.results.get("transfers", ())))
    if not table:
        return "<p>No transfer of these sets was measured yet.</p>"
    caption = (
        "Where a set was put into another network or onto other data: each place with one recipe, seed and budget, "
        "95 % intervals, gains over ReLU in points, image by image."
    )
    head, *rows = table
    return _table(caption, head, rows)


def _table(caption: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table that scrolls by itself; the first cell of a row names it."""
    columns = "".join(f"<th scope='col'>{escape(name)}</th>" for name in head)
    lines = "".join(
        f"<tr><th scope='row'>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for first, *cells in rows
    )
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='{escape(caption)}'><table class='records'>"
        f"<caption>{escape(caption)}</caption><thead><tr>{columns}</tr></thead><tbody>{lines}</tbody></table></div>"
    )
