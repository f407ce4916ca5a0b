"""One batch under all attacks: what is predicted, what counts as broken, what it cost."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from inspect import signature

import torch
from torch import Tensor, nn

from sparta_hub.errors import AttackError
from sparta_hub.evaluation._outcome import Argument, AttackSettings, Flags, Outcome, Tally
from sparta_hub.threat import ThreatModel

TOLERANCE = 1e-6  # beyond the ball or the box, in units of the image range: what rounding in float32 can add


@dataclass(frozen=True)
class Attack:
    """An attack as the evaluator calls it: ``function(model, x, y, threat, **arguments, generator=...)``.

    Args:
        name: for the record.
        function: gives the attacked images; ``generator`` is passed if it takes one. With a targeted threat, ``y`` is
            a wrong class, drawn uniformly for each image.
        threat: what it may change.
        arguments: plain values, which the record repeats.
    """

    name: str
    function: Callable[..., Tensor]
    threat: ThreatModel
    arguments: Mapping[str, Argument] = field(default_factory=dict)

    @property
    def settings(self) -> AttackSettings:
        """What the record says of it."""
        return AttackSettings(self.name, self.threat, dict(self.arguments))

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Attack a batch."""
        extra = {"generator": generator} if "generator" in signature(self.function).parameters else {}
        return self.function(model, x, y, self.threat, **self.arguments, **extra)


def run_batch(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    targets: Tensor,
    attacks: Sequence[Attack],
    *,
    copies: Sequence[nn.Module],
    seed: int,
    index: int,
    cascade: bool,
) -> Outcome:
    """Predict a batch, attack what is right, predict again.

    Args:
        model: in eval mode.
        x: images (B, C, H, W).
        y: true classes (B,).
        targets: the classes that targeted attacks want (B,).
        attacks: in this order.
        copies: the network that each attack runs on: the model itself, or a copy of it.
        seed: of the evaluation.
        index: number of the batch. Randomness comes from it, the seed and the attack's name alone, so that an attack
            with more steps or a larger radius begins at the same points.
        cascade: attack only what the attacks before have left.
    """
    right = _predicted_right(model, x, y)
    alive, tallies = right, []
    for attack, attacked in zip(attacks, copies, strict=True):
        chosen = alive if cascade else right
        own_seed = derived_seed(seed, attack.name, index)
        tally, broken = run_attack(model, attacked, x, y, targets, attack, chosen, own_seed)
        alive = alive & ~broken
        tallies.append(tally)
    return Outcome(_flags(right), tuple(tallies))


def logits_of(model: nn.Module, x: Tensor) -> Tensor:
    """The logits (B, classes) without gradients; anything else is an ``AttackError``."""
    model.eval()  # an attack may have changed the mode
    with torch.no_grad():
        logits = model(x)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        seen = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise AttackError(f"The model gives {seen} for {len(x)} images; expected logits ({len(x)}, 2 classes or more).")
    return logits


def derived_seed(*parts: int | str) -> int:
    """A seed of 63 bits that belongs to these values; others give one that has nothing to do with it."""
    return int.from_bytes(sha256(json.dumps(parts).encode()).digest()[:8]) >> 1


@contextmanager
def counted(model: nn.Module) -> Iterator[list[int]]:
    """Count the images that go forward through ``model``, and those whose gradient comes back, in the list's two items.

    Hooks instead of a wrapper, so that the attack gets the model itself; closures, so that a copy that the attack makes
    of the model counts too.
    """
    counts = [0, 0]

    def backward(gradient: Tensor) -> None:
        counts[1] += len(gradient)

    def forward(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        counts[0] += len(output)
        if output.requires_grad:
            output.register_hook(backward)

    handle = model.register_forward_hook(forward)
    try:
        yield counts
    finally:
        handle.remove()


def run_attack(
    model: nn.Module,
    attacked: nn.Module,
    x: Tensor,
    y: Tensor,
    targets: Tensor,
    attack: Attack,
    chosen: Tensor,
    seed: int,
) -> tuple[Tally, Tensor]:
    """Run one attack on the ``chosen`` images (B,), and predict the whole batch with ``model``.

    Where ``attacked`` is a copy of the model, and images break the copy but not the model, the attack may have stopped
    for nothing: these images are attacked again, on the model itself.

    Returns:
        What the attack did, and which images are broken (B,).
    """
    tally, broken, fooled = _run_once(model, attacked, x, y, targets, attack, chosen, seed)
    if not fooled.any():
        return tally, broken
    again, more, _ = _run_once(model, model, x, y, targets, attack, fooled, seed)
    return Tally(
        tally.attacked,
        _flags(broken | more),
        tuple(
            new if tried else old for tried, old, new in zip(again.attacked, tally.outside, again.outside, strict=True)
        ),
        tally.forwards + again.forwards,
        tally.backwards + again.backwards,
        round(tally.seconds + again.seconds, 3),
    ), broken | more


def _run_once(
    model: nn.Module,
    attacked: nn.Module,
    x: Tensor,
    y: Tensor,
    targets: Tensor,
    attack: Attack,
    chosen: Tensor,
    seed: int,
) -> tuple[Tally, Tensor, Tensor]:
    """The same; and which images (B,) break the copy alone."""
    none = torch.zeros_like(chosen)
    if not chosen.any():
        return Tally(_flags(none), _flags(none), _flags(none), 0, 0, 0.0), none, none
    generator = torch.Generator(x.device).manual_seed(seed)
    wanted = (targets if attack.threat.targeted else y)[chosen]
    own = x[chosen]
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    with counted(attacked) as counts, torch.random.fork_rng(devices):
        torch.manual_seed(seed)  # for attacks and models that draw from the global state, which is put back
        started = _now(x)
        found = attack(attacked, own.clone(), wanted, generator)
        seconds = _now(x) - started
    if not isinstance(found, Tensor) or found.shape != own.shape:
        seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise AttackError(f"{attack.name} gives {seen}; expected attacked images {tuple(own.shape)}.")
    found = found.detach().to(own)
    inside = _inside(found, own, attack.threat)
    whole = x.clone()  # the whole batch again, so that the same image has the same rounding as before
    whole[chosen] = torch.where(inside[:, None, None, None], found, own)
    outside = none.masked_scatter(chosen, ~inside)
    missed = ~_predicted_right(model, whole, y) & chosen
    fooled = none
    if attacked is not model:
        fooled = none.masked_scatter(chosen, ~_predicted_right(attacked, whole[chosen], y[chosen])) & ~missed
    broken = missed & ~outside
    tally = Tally(_flags(chosen), _flags(broken), _flags(outside), counts[0], counts[1], round(seconds, 3))
    return tally, broken, fooled


def _inside(attacked: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """Which images (B,) lie in the ball and the box; one that is not a number lies outside."""
    near = threat.distance(attacked.double(), x.double()) <= threat.eps * (1 + 1e-5) + TOLERANCE
    flat = attacked.flatten(1)
    return near & (flat >= -TOLERANCE).all(1) & (flat <= 1 + TOLERANCE).all(1)


def _predicted_right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    logits = logits_of(model, x)
    return (logits.argmax(1) == y) & logits.isfinite().all(1)


def _flags(flags: Tensor) -> Flags:
    return tuple(flags.tolist())


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
