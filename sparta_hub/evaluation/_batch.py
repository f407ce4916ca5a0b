"""One batch under all attacks: what is predicted, what counts as broken, what it cost."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.counting import counted
from sparta_hub.errors import AttackError
from sparta_hub.evaluation._attack import Attack
from sparta_hub.evaluation._outcome import Flags, Outcome, Tally
from sparta_hub.seeds import derived_seed, global_seed
from sparta_hub.threat import ThreatModel

TOLERANCE = 1e-6  # beyond the ball or the box, in units of the image range: what rounding in float32 can add


@dataclass(frozen=True)
class Examples:
    """A batch of images.

    Args:
        x: (B, C, H, W) in [0, 1].
        y: true classes (B,).
        targets: the classes that targeted attacks want (B,).
    """

    x: Tensor
    y: Tensor
    targets: Tensor


def run_batch(
    model: nn.Module,
    batch: Examples,
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
        batch: what to attack.
        attacks: in this order.
        copies: the network that each attack runs on: the model itself, or a copy of it.
        seed: of the evaluation.
        index: number of the batch. Randomness comes from it, the seed and the attack's name alone, so that an attack
            with more steps or a larger radius begins at the same points.
        cascade: attack only what the attacks before have left.
    """
    right = _predicted_right(model, batch.x, batch.y, derived_seed(seed, "clean", index))
    alive, tallies = right, []
    for attack, copy in zip(attacks, copies, strict=True):
        chosen = alive if cascade else right
        own_seed = derived_seed(seed, attack.name, index)
        tally, broken = run_attack(model, batch, attack, on=copy, chosen=chosen, seed=own_seed)
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


def run_attack(
    model: nn.Module, batch: Examples, attack: Attack, *, on: nn.Module, chosen: Tensor, seed: int
) -> tuple[Tally, Tensor]:
    """Attack some images of a batch, and predict the whole batch.

    Where the attack runs on a copy of the model, and images break the copy but not the model, it may have stopped for
    nothing: these images are attacked again, on the model itself.

    Args:
        model: decides what counts as broken.
        batch: what to attack.
        attack: how.
        on: the network that the attack gets: the model, or a copy of it.
        chosen: which images (B,) are attacked.
        seed: of the attack.

    Returns:
        What the attack did, and which images are broken (B,).
    """
    tally, broken, fooled = _run_once(model, batch, attack, on=on, chosen=chosen, seed=seed)
    if not fooled.any():
        return tally, broken
    again, more, _ = _run_once(model, batch, attack, on=model, chosen=fooled, seed=seed)
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
    model: nn.Module, batch: Examples, attack: Attack, *, on: nn.Module, chosen: Tensor, seed: int
) -> tuple[Tally, Tensor, Tensor]:
    """The same; and which images (B,) break the copy alone."""
    x, y = batch.x, batch.y
    none = torch.zeros_like(chosen)
    if not chosen.any():
        return Tally(_flags(none), _flags(none), _flags(none), 0, 0, 0.0), none, none
    generator = torch.Generator(x.device).manual_seed(seed)
    wanted = (batch.targets if attack.threat.targeted else y)[chosen]
    own = x[chosen]
    with counted(on) as counts, global_seed(seed):
        started = _now(x)
        found = attack(on, own.clone(), wanted, generator)
        seconds = _now(x) - started
    if not isinstance(found, Tensor) or found.shape != own.shape:
        seen = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise AttackError(f"{attack.name} gives {seen}; expected attacked images {tuple(own.shape)}.")
    found = found.detach().to(own)
    inside = _inside(found, own, attack.threat)
    whole = x.clone()  # the whole batch again, so that the same image has the same rounding as before
    whole[chosen] = torch.where(inside[:, None, None, None], found, own)
    outside = none.masked_scatter(chosen, ~inside)
    after = derived_seed(seed, "after")
    missed = ~_predicted_right(model, whole, y, after) & chosen
    fooled = none
    if on is not model:
        fooled = none.masked_scatter(chosen, ~_predicted_right(on, whole[chosen], y[chosen], after)) & ~missed
    broken = missed & ~outside
    tally = Tally(_flags(chosen), _flags(broken), _flags(outside), counts[0], counts[1], round(seconds, 3))
    return tally, broken, fooled


def _inside(attacked: Tensor, x: Tensor, threat: ThreatModel) -> Tensor:
    """Which images (B,) lie in the ball and the box; one that is not a number lies outside."""
    near = threat.distance(attacked.double(), x.double()) <= threat.eps * (1 + 1e-5) + TOLERANCE
    flat = attacked.flatten(1)
    return near & (flat >= -TOLERANCE).all(1) & (flat <= 1 + TOLERANCE).all(1)


def _predicted_right(model: nn.Module, x: Tensor, y: Tensor, seed: int) -> Tensor:
    """Which images (B,) are classified right; none whose logits hold a NaN, or whose largest is infinite."""
    with global_seed(seed):
        logits = logits_of(model, x)
    return (logits.argmax(1) == y) & ~logits.isnan().any(1) & logits.amax(1).isfinite()


def _flags(flags: Tensor) -> Flags:
    return tuple(flags.tolist())


def _now(x: Tensor) -> float:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
