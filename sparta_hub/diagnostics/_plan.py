"""Which attacks are run to answer the questions, and what they cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.attacks import apgd, pgd, square
from sparta_hub.diagnostics._gates import gate_detached, gate_frozen, gates
from sparta_hub.errors import AttackError
from sparta_hub.evaluation import Attack
from sparta_hub.identity import state_sha256
from sparta_hub.threat import ThreatModel


@dataclass(frozen=True)
class Effort:
    """How much is spent.

    Args:
        iterations: steps of PGD that are compared.
        base: the one of them that all other attacks of PGD's kind use.
        restarts: random starts.
        adaptive: steps of APGD, once with cross entropy and once with the margin.
        queries: of Square.
        radii: compared with the threat's own, as multiples of it; the ball that holds a grey image comes on top.
    """

    iterations: tuple[int, ...]
    base: int
    restarts: int
    adaptive: int
    queries: int
    radii: tuple[float, ...]


FULL = Effort((5, 10, 50, 200), base=50, restarts=5, adaptive=100, queries=1000, radii=(0.5, 2.0, 4.0))
QUICK = Effort((5, 10, 30), base=10, restarts=3, adaptive=20, queries=200, radii=(2.0,))


@dataclass(frozen=True)
class Plan:
    """Attacks, and their numbers by the question they belong to."""

    attacks: tuple[Attack, ...]
    roles: dict[str, tuple[int, ...]]


def make_plan(
    model: nn.Module, threat: ThreatModel, shape: Sequence[int], effort: Effort, twin: nn.Module | None
) -> Plan:
    """The attacks on images of ``shape`` (C, H, W); those that have nothing to ask of this model are left out.

    Raises:
        AttackError: a targeted threat, or one without radius.
    """
    if threat.targeted or threat.eps == 0:
        raise AttackError(f"The threat is {threat}; expected an untargeted one with a radius above 0, such as 8/255.")
    attacks: list[Attack] = []
    roles: dict[str, tuple[int, ...]] = {}

    def add(role: str, *new: Attack) -> None:
        roles[role] = (*roles.get(role, ()), *range(len(attacks), len(attacks) + len(new)))
        attacks.extend(new)

    base = {"steps": effort.base}
    add("iterations", *(Attack("pgd", pgd, threat, {"steps": steps}) for steps in effort.iterations))
    own = roles["iterations"][effort.iterations.index(effort.base)]
    for eps in radii(threat, shape, effort):
        if eps == threat.eps:
            roles["radius"] = (*roles.get("radius", ()), own)
        else:
            add("radius", Attack("pgd", pgd, ThreatModel(threat.norm, eps), base))
    roles["one start"] = (own,)
    add("restarts", Attack("pgd", pgd, threat, base | {"restarts": effort.restarts}))
    add("ce", Attack("apgd", apgd, threat, {"steps": effort.adaptive, "loss": "ce"}))
    add("margin", Attack("apgd", apgd, threat, {"steps": effort.adaptive, "loss": "margin"}))
    add("black box", Attack("square", square, threat, {"queries": effort.queries}))
    if twin is not None:
        add("transfer", Attack("transfer", _transfer_from(twin), threat, base | {"twin": state_sha256(twin)}))
    if gates(model):
        add("gate detached", Attack("gate-detached", gate_detached, threat, base))
        add("gate frozen", Attack("gate-frozen", gate_frozen, threat, base))
    return Plan(tuple(attacks), roles)


def radii(threat: ThreatModel, shape: Sequence[int], effort: Effort) -> list[float]:
    """The radii that are compared, rising; the last ball holds a grey image whatever the image."""
    grey = 0.5 if threat.norm == "linf" else 0.5 * torch.Size(shape).numel() ** 0.5
    below = [factor * threat.eps for factor in (1.0, *effort.radii) if factor * threat.eps < grey]
    return sorted({*below, threat.eps, max(grey, threat.eps)})


def _transfer_from(source: nn.Module) -> Callable[..., Tensor]:
    def transfer(
        model: nn.Module,
        x: Tensor,
        y: Tensor,
        threat: ThreatModel,
        *,
        steps: int,
        twin: str,
        generator: torch.Generator,
    ) -> Tensor:
        """PGD on the twin; the model that is measured gives nothing away. ``twin`` is for the record."""
        return pgd(source, x, y, threat, steps=steps, generator=generator)

    return transfer
