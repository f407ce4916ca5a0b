"""FAB: the smallest change, by steps onto the boundary as it looks from here (Croce & Hein 2020, arXiv:1907.02044)."""

import torch
from torch import Tensor, nn

from sparta_hub.attacks.gradient import (
    check_batch,
    check_counts,
    check_finite,
    float32_inside,
    held_still,
    nothing_to_do,
)
from sparta_hub.attacks.losses import check_logits, margin, objective
from sparta_hub.threat import ThreatModel, per_image

ETA, ALPHA_MAX, BETA = 1.05, 0.1, 0.9  # overshoot, largest pull towards the clean image, way kept after a success


@float32_inside
def fab(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 100,
    targets: int = 9,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``x_{k+1} = Π((1 - α)(x_k + ηδ_k) + α(x + ηδ'_k))``, δ and δ' leading onto the boundary's plane within the box.

    The plane is the nearest of the linearised boundaries to the ``targets`` best other classes of where it stands, and
    α = ‖δ‖ / (‖δ‖ + ‖δ'‖), at most 0.1. After a success ``x_{k+1}`` goes back to ``x + β(x_{k+1} - x)``. A step is one
    forward and ``targets`` backward passes, a single backward pass if targeted, and one forward pass more. Without the
    paper's restarts.
    As with ``cw`` the radius only cuts what was found: for the distances give one that holds every image.

    Args:
        model: takes images in [0, 1], gives logits.
        x: images (B, C, H, W) in [0, 1].
        y: true classes (B,), or the wanted ones if ``threat.targeted``.
        threat: norm, in which changes are small, and the largest radius that counts.
        steps: number of steps.
        targets: other classes that are looked at; all of them where there are no more, as in the paper.
        generator: not used, nothing is drawn; here so that all attacks are called alike.

    Returns:
        Attacked images (B, C, H, W), in the ball and the box; the image itself where nothing was found.

    Raises:
        AttackError: bad images, classes or arguments, or a gradient that is not finite.
    """
    check_batch(x, y)
    check_counts(steps=steps, targets=targets)
    if nothing_to_do(x, threat):
        return x.clone()
    now, best, finite = x.clone(), x.clone(), []
    with held_still(model), torch.no_grad():
        ask = objective(model, y, threat.targeted, "margin")
        distance = torch.where(ask(x)[1], 0.0, float("inf")).to(x.dtype)
        for _ in range(steps):
            gap, normal, flag = _nearest_plane(model, now, y, threat, targets)
            finite.append(flag)
            step = _onto(now, gap, normal, threat)
            clean_step = _onto(x, gap + (normal * (x - now)).flatten(1).sum(1), normal, threat)
            here, there = threat.distance(step, 0 * step), threat.distance(clean_step, 0 * step)
            alpha = per_image((here / (here + there).clamp_min(1e-12)).clamp_max(ALPHA_MAX), x)
            now = ((1 - alpha) * (now + ETA * step) + alpha * (x + ETA * clean_step)).clamp(0, 1)
            success, length = ask(now)[1], threat.distance(now, x)
            closer = success & (length < distance)
            best = torch.where(per_image(closer, x), now, best)
            distance = torch.where(closer, length, distance)
            now = torch.where(per_image(success, x), x + BETA * (now - x), now)
    check_finite(finite)
    return threat.project(best, x)


def _nearest_plane(
    model: nn.Module, x: Tensor, y: Tensor, threat: ThreatModel, targets: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Height over the boundary nearest by ``|f| / ‖∇f‖_q`` (B,), positive beyond it, and its gradient (B, C, H, W).

    f is ``z_j - z_y`` for each of the best other classes j, or if targeted the margin of the wanted class alone. The
    third value tells whether all gradients are finite.
    """
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        logits = model(leaf)
        check_logits(logits, leaf)
        if threat.targeted:
            gaps = margin(logits, y, True)[:, None]
        else:
            other_logits = logits.detach().scatter(1, y[:, None], float("-inf"))
            best = other_logits.topk(min(targets, logits.shape[1] - 1)).indices
            gaps = logits.gather(1, best) - logits.gather(1, y[:, None])
        sums = gaps.sum(0).unbind()
    best_gap, best_normal = torch.zeros_like(gaps[:, 0]), torch.zeros_like(x)
    nearest, finite = torch.full_like(best_gap, float("inf")), torch.tensor(True, device=x.device)
    for j, gap in enumerate(gaps.detach().unbind(1)):
        normal = torch.autograd.grad(sums[j], leaf, retain_graph=j + 1 < len(sums))[0]
        slope = normal.abs().flatten(1).sum(1) if threat.norm == "linf" else normal.flatten(1).norm(dim=1)
        away = gap.abs() / slope.clamp_min(1e-12)
        nearer = away < nearest
        finite = finite & normal.isfinite().all()
        best_gap = torch.where(nearer, gap, best_gap)
        best_normal = torch.where(per_image(nearer, x), normal, best_normal)
        nearest = torch.where(nearer, away, nearest)
    return best_gap, best_normal, finite


def _onto(x: Tensor, gap: Tensor, normal: Tensor, threat: ThreatModel) -> Tensor:
    """The smallest δ with ``normal·δ = -gap`` and x + δ in the box; as near as the box allows where there is none.

    In both norms it is ``clip(x + λ·d) - x``, d the sign of the normal or the normal itself, and grows with λ, so λ is
    found by bisection of λ / (1 + λ).
    """
    up = normal * per_image(-gap.sign(), x)
    direction, wanted = threat.step(up), gap.abs()
    low, high = torch.zeros_like(wanted), torch.ones_like(wanted)
    for _ in range(40):
        share = (low + high) / 2
        delta = (x + per_image(share / (1 - share).clamp_min(1e-7), x) * direction).clamp(0, 1) - x
        enough = (up * delta).flatten(1).sum(1) >= wanted
        low, high = torch.where(enough, low, share), torch.where(enough, share, high)
    return (x + per_image(high / (1 - high).clamp_min(1e-7), x) * direction).clamp(0, 1) - x
