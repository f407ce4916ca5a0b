"""Places in a host where an activation can be replaced, and how a set of them is written."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from sparta_hub.errors import SiteError, SpecError

_BLOCK = re.compile(r"G([1-9]\d{0,3})\.B([1-9]\d{0,3})")
_NUMBERS = r"(\d{1,4}|\{\d{1,4}(?:,\d{1,4})*\})"
_EXPLICIT = re.compile(rf"G{_NUMBERS}\.B{_NUMBERS}")


@dataclass(frozen=True)
class Site:
    """One place in a host.

    Args:
        name: ``G4.B2``: stage 4, block 2, both from 1, its last activation; with placement ``every`` the path.
        path: where the host keeps it, such as ``layer4.1.act2``.
        channels: channels of the map there; None where nobody asked (elementwise families, placement ``every``).
    """

    name: str
    path: str
    channels: int | None

    @property
    def key(self) -> str:
        """Prefix of its tensors in a file."""
        return site_key(self.name)


def block_of(name: str) -> tuple[int, int] | None:
    """``"G4.B2"`` -> ``(4, 2)``; None for a path."""
    match = _BLOCK.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def site_key(name: str) -> str:
    """``"G4.B2"`` -> ``"stage4.block2"``, free of any host's names; a path stays a path."""
    block = block_of(name)
    return f"stage{block[0]}.block{block[1]}" if block else name


def check_placement(placement: str) -> str:
    """Return ``placement`` without blanks; raise ``SpecError`` unless it is written in one of the known ways."""
    placement = placement.replace(" ", "") if isinstance(placement, str) else placement
    if placement in ("last", "all", "every") or (isinstance(placement, str) and _EXPLICIT.fullmatch(placement)):
        return placement
    raise SpecError(
        f"placement is {repr(placement)[:80]}; expected 'last' (last block of every stage), 'all' (every block), "
        "'every' (every activation of the host), or blocks such as 'G4.B2' or 'G{1,2}.B{1,2}'."
    )


def select(sites: Sequence[Site], placement: str) -> tuple[Site, ...]:
    """Pick from a host's block sites, in the host's order, those that ``placement`` (not ``every``) names."""
    placement = check_placement(placement)
    blocks = {block_of(site.name): site for site in sites}
    last = {block[0]: site for block, site in blocks.items() if block}
    if placement == "last":
        return tuple(last.values())
    if placement == "all":
        return tuple(sites)
    match = _EXPLICIT.fullmatch(placement)
    assert match is not None  # check_placement let it through, and "every" is no matter of blocks
    stages, numbers = ([int(n) for n in part.strip("{}").split(",")] for part in match.groups())
    wanted = {(stage, number) for stage in stages for number in numbers}
    if missing := sorted(wanted - blocks.keys()):
        have = ", ".join(f"G{stage}.B1 to {site.name}" for stage, site in last.items())
        raise SiteError(f"The host has no {', '.join(f'G{s}.B{b}' for s, b in missing)}; it has {have}.")
    return tuple(site for block, site in blocks.items() if block in wanted)
