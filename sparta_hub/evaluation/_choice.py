"""Which network an attack runs on: the cheapest copy that gives the same flags on a sample, else the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import device_of
from sparta_hub.data import Images
from sparta_hub.evaluation._attack import Attack
from sparta_hub.evaluation._attack_copy import Compiled, attack_copy, has_fast_bfloat16, in_bfloat16
from sparta_hub.evaluation._batch import Examples, logits_of, run_attack
from sparta_hub.seeds import derived_seed

SAMPLE = 64  # images whose flags are compared, out of four times as many, evenly spread over the set
DIFFER = 0.02  # share of them whose flags may differ, and at least one image may
ITSELF = "the model itself"  # how a reason ends where no copy was as good
UNLIKE = 0.1  # share of them that the copy may predict otherwise; more, and most images would be attacked twice


@dataclass(frozen=True)
class Choice:
    """The network that an attack runs on, and why, in words for the record."""

    model: nn.Module
    reason: str


def choose(
    model: nn.Module,
    data: Images,
    count: int,
    targets: Tensor,
    attacks: Sequence[Attack],
    seed: int,
    *,
    size: int = SAMPLE,
    compiled: bool = False,
    before: Sequence[str] = (),
) -> list[Choice]:
    """Run each attack on the model and on its copies, for a sample of images, and take the first copy that agrees.

    The outcome depends on the arguments and on the processor alone, so that all processes come to the same choice.

    Args:
        model: in eval mode, without parameter gradients.
        data: images and labels, of which the first ``count`` are evaluated.
        count: see ``data``.
        targets: the classes that targeted attacks want (N,).
        attacks: as they will be run.
        seed: of the evaluation.
        size: images of the sample.
        compiled: try compiled copies first.
        before: the reasons of this very choice, attack by attack, if it was made before on such a machine: for a long
            attack it can take as long as several batches.
    """
    device = device_of(model)
    spread = torch.linspace(0, count - 1, min(count, 4 * size)).long()
    x, y = data.floats(spread).to(device), data.y[spread].to(device)
    right = (logits_of(model, x).argmax(1) == y).nonzero()[:size, 0]
    sample = Examples(x[right], y[right], targets[spread].to(device)[right])
    if not len(right):
        return [Choice(model, f"{ITSELF}: no image of the sample is right") for _ in attacks]
    try:
        copies, failure = _copies(model, sample.x, compiled), ""
    except Exception as error:  # a stranger's module may not be one to copy; the attacks then run on the module itself
        copies, failure = [], f"{type(error).__name__} in a copy; "
    itself = Choice(model, f"{failure}{ITSELF}")
    if before and all(again := [_made_before(reason, copies, model) for reason in before]):
        return [choice for choice in again if choice]
    return [
        _choose_one(copies, sample, attack, derived_seed(seed, attack.name, "sample"), itself) for attack in attacks
    ]


def _choose_one(
    copies: Sequence[tuple[str, nn.Module]], sample: Examples, attack: Attack, seed: int, itself: Choice
) -> Choice:
    x, y = sample.x, sample.y
    every = torch.ones_like(y, dtype=torch.bool)
    _, expected = run_attack(itself.model, sample, attack, on=itself.model, chosen=every, seed=seed)
    allowed, seen = max(1, int(DIFFER * len(x))), []
    for name, candidate in copies:
        try:
            unlike = int((logits_of(candidate, x).argmax(1) != y).sum())
            if unlike > UNLIKE * len(x):
                seen.append(f"{name}: {unlike} of {len(x)} predictions differ")
                continue
            _, broken = run_attack(itself.model, sample, attack, on=candidate, chosen=every, seed=seed)
        except Exception as error:  # no compiler, say; the next copy may do
            seen.append(f"{name}: {type(error).__name__}")
            continue
        differ = int((broken ^ expected).sum())
        seen.append(f"{name}: {differ} of {len(x)} flags differ, {allowed} may")
        if differ <= allowed:
            return Choice(candidate, "; ".join(seen))
    return Choice(itself.model, "; ".join([*seen, itself.reason]))


def _made_before(reason: str, copies: Sequence[tuple[str, nn.Module]], model: nn.Module) -> Choice | None:
    """The network that a reason ends with, if there is one here."""
    name = reason.rpartition("; ")[2].partition(":")[0]
    here = {ITSELF: model, **dict(copies)}.get(name)
    return Choice(here, reason) if here else None


def _copies(model: nn.Module, x: Tensor, compiled: bool) -> list[tuple[str, nn.Module]]:
    """Copies of the model, and what each is, those first that are cheapest."""
    copied, folded = attack_copy(model, x)
    what = f"copy with {folded} BatchNorms folded"
    kinds = [(f"{what}, {str(x.dtype).removeprefix('torch.')}", copied)]
    if has_fast_bfloat16(x):
        kinds.insert(0, (f"{what}, bfloat16", in_bfloat16(copied, x)))
    if not compiled:
        return kinds
    return [copy for name, made in kinds for copy in ((f"{name}, compiled", Compiled(made)), (name, made))]
