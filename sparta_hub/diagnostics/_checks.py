"""The questions, one function each: from what was measured to a verdict.

Who asks about hidden gradients this way: Athalye et al. 2018, arXiv:1802.00420, section 3.1; Carlini et al. 2019,
arXiv:1902.06705; for smooth and gated activations Xie et al. 2020, arXiv:2006.14536. Where one attack should add
nothing to others, what it alone breaks is compared, image by image, with a share that is granted to an honest model
(``FEW`` or ``SOME``: our choice), by a one-sided exact binomial test at ``CHANCE``.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from sparta_hub.diagnostics._evidence import Evidence, Finding, Verdict, exceeds, rises

FEW = 0.02  # of the attacked images: what another kind of attack may break that all white-box attacks leave
SOME = 0.05  # what more of the same may break: steps, starts, or the margin where cross entropy fails
WHITE_BOX = ("iterations", "restarts", "ce", "margin")  # told everything, and taking no gradient but the model's own
CE = ("iterations", "restarts", "ce")


def _iterations(e: Evidence) -> Finding:
    tries = e.roles["iterations"]
    steps = [int(e.argument(i, "steps")) for i in tries]
    figures = {f"accuracy at {n} steps": e.report.robust(i).percent for n, i in zip(steps, tries, strict=True)}
    first, *_, last = map(e.report.robust_flags, tries)
    late = sum(a and not b for a, b in zip(e.report.robust_flags(tries[-2]), last, strict=True))
    figures["broken by the longest alone"] = late
    if rises(first, last):
        return Finding("iterations", "suspect", figures, f"Accuracy rises from {steps[0]} to {steps[-1]} steps.")
    if exceeds(late, e.right, SOME):
        why = f"Accuracy still falls from {steps[-2]} to {steps[-1]} steps: no attack as short as these has converged."
        return Finding("iterations", "suspect", figures, why)
    return Finding(
        "iterations",
        "ok",
        figures,
        "Accuracy does not rise with the steps, and the last ones break hardly an image more.",
    )


def _radius(e: Evidence) -> Finding:
    tries = e.roles["radius"]
    figures = {f"accuracy at {e.threat(i)}": e.report.robust(i).percent for i in tries}
    left = sum(e.report.robust_flags(tries[-1]))
    figures["images left in the largest ball"] = left
    if exceeds(left, e.right, SOME):
        why = f"{left} of {e.right} images hold in a ball that contains a grey image: the attack finds no way."
        return Finding("radius", "suspect", figures, why)
    for one, two in pairwise(tries):
        if rises(e.report.robust_flags(one), e.report.robust_flags(two)):
            why = f"Accuracy rises from {e.threat(one)} to {e.threat(two)}, though the larger ball contains the other."
            return Finding("radius", "suspect", figures, why)
    return Finding("radius", "ok", figures, "Accuracy falls as the ball grows, to next to nothing in the largest.")


def _restarts(e: Evidence) -> Finding:
    number = e.argument(e.roles["restarts"][0], "restarts")
    sentences = f"One random start finds nearly all that {number} find.", f"One start misses much that {number} find."
    return _adds("restarts", e, "restarts", ("one start",), SOME, sentences)


_OTHER_WAYS = {  # another kind of attack -> what is said where it adds nothing to the white-box ones, and where it does
    "black box": (
        "Queries alone break hardly an image that the gradient does not.",
        "Queries alone break images that no attack with the gradient does: the gradient leads astray.",
    ),
    "transfer": (
        "Attacks on the twin break hardly an image that attacks on the model itself do not.",
        "Attacks on the twin break images that no attack on the model itself does.",
    ),
    "gate detached": (
        "A gradient that takes the gate as a constant breaks hardly an image that the true one does not.",
        "A gradient that takes the gate as a constant breaks images that the true one does not: it is no guide.",
    ),
    "gate frozen": (
        "The gate of the clean image breaks hardly an image that the true gradient does not.",
        "The gate of the clean image breaks images that the true gradient does not: under attack the gate blocks it.",
    ),
}


def _another_way(e: Evidence, role: str) -> Finding:
    return _adds(role, e, role, WHITE_BOX, FEW, _OTHER_WAYS[role])


def _zero_gradients(e: Evidence) -> Finding:
    count = e.probes.zero_gradients
    figures = {
        "images without a gradient": count,
        "of images": e.probes.images,
        "zeros among all values": round(100 * e.probes.zero_values, 2),
    }
    if exceeds(count, e.probes.images, FEW):
        why = f"On {count} of {e.probes.images} images the gradient of the cross entropy is exactly zero."
        return Finding("zero gradients", "suspect", figures, why)
    return Finding("zero gradients", "ok", figures, "Hardly an image is without a gradient of the cross entropy.")


def _logit_scale(e: Evidence) -> Finding:
    sentences = (
        "The margin, which no scale of the logits changes, breaks hardly an image that cross entropy does not.",
        "The margin breaks images that cross entropy does not: the logits' scale starves its gradient, or it misleads.",
    )
    found = _adds("logit scale", e, "margin", CE, SOME, sentences)
    more = {"median gap of the two largest logits": e.probes.gap, "images of probability 1": e.probes.saturated}
    return Finding(found.name, found.verdict, {**found.figures, **more}, found.why)


def _randomness(e: Evidence) -> Finding:
    figures = {"largest change of a logit": e.probes.change}
    if e.probes.change > 1e-3:  # of the logits' standard deviation: rounding stays far below, also on a GPU
        why = (
            "Two passes of the same images, the second in halves of the batch, differ. Where a model draws at random, "
            "attacks need the mean gradient over many draws, which none here has; where images of a batch decide on "
            "each other, no figure is one image's own."
        )
        return Finding("randomness", "suspect", figures, why)
    return Finding("randomness", "ok", figures, "Two passes of the same images agree.")


CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    "iterations": _iterations,
    "radius": _radius,
    "restarts": _restarts,
    **{role: partial(_another_way, role=role) for role in _OTHER_WAYS},
    "zero gradients": _zero_gradients,
    "logit scale": _logit_scale,
    "randomness": _randomness,
}

_ABSENT = {
    "transfer": "No twin was given to attack in its place.",
    "gate detached": "No injected activation has a gate.",
    "gate frozen": "No injected activation has a gate.",
}


def find(e: Evidence) -> tuple[Finding, ...]:
    """All findings, in the order of ``CHECKS``."""
    findings = []
    for name, check in CHECKS.items():
        if name in _ABSENT and name not in e.roles:
            findings.append(Finding(name, "not applicable", {}, _ABSENT[name]))
        elif name != "randomness" and not (e.right and e.probes.images):
            findings.append(Finding(name, "not applicable", {}, "No image is right without attack."))
        else:
            findings.append(check(e))
    return tuple(findings)


def _adds(
    name: str, e: Evidence, role: str, others: Sequence[str], share: float, sentences: tuple[str, str]
) -> Finding:
    """Whether a role breaks more images that the others leave than this share explains; sentences for no and yes."""
    alone = e.only(role, *others)
    figures = {
        "accuracy": e.accuracy(role),
        "accuracy under the others": e.accuracy(*others),
        "broken by it alone": alone,
        "of images": e.right,
    }
    suspect = exceeds(alone, e.right, share)
    verdict: Verdict = "suspect" if suspect else "ok"
    return Finding(name, verdict, figures, sentences[suspect])
