"""Is a model robust, or is its gradient hidden? Attacks of many kinds compared image by image."""

from functools import wraps
from pathlib import Path

from torch import Tensor, nn
from tqdm import tqdm

from sparta_hub.attacks.gradient import device_of, held_still
from sparta_hub.data import Images
from sparta_hub.diagnostics._diagnosis import Diagnosis
from sparta_hub.diagnostics._evidence import Evidence
from sparta_hub.diagnostics._gradient import with_some_gradient
from sparta_hub.diagnostics._plan import FULL, QUICK, make_plan
from sparta_hub.diagnostics._plot import plot
from sparta_hub.diagnostics._probes import probe
from sparta_hub.errors import AttackError, DataError, ReportError, short
from sparta_hub.evaluation import Attack, check_network, check_numbers, evaluate, first_logits
from sparta_hub.paths import typed_path
from sparta_hub.records import write_json
from sparta_hub.seeds import derived_seed, global_seed
from sparta_hub.threat import ThreatModel


def diagnose(
    model: nn.Module,
    data: Images,
    threat: ThreatModel,
    *,
    batch_size: int = 50,
    seed: int = 0,
    limit: int | None = None,
    twin: nn.Module | None = None,
    quick: bool = False,
    out: Path | str | None = None,
    progress: bool = False,
    name: str = "",
) -> Diagnosis:
    """Look for hidden gradients in any model that takes images; see ``CHECKS`` for the questions.

    "suspect" says that an attack which should add nothing alone breaks significantly more than 2 % of the attacked
    images (5 % for more steps, more starts and the margin), by a one-sided exact binomial test at 1 %, each check by
    itself; where accuracy must not rise, it is McNemar's exact test. It is a reason to look, and "ok" is no proof:
    few images prove little, and an attack that is made for the model may do better than all of these.

    A model whose logits have no gradient at all (it rounds to bytes, detaches, computes under ``no_grad``) is attacked
    with a gradient of zero.

    Cost of each image that is right without attack: at most 137 passes forward and backward with ``quick`` and 917
    without, and 200 or 1,000 queries (forward passes) of Square; less where restarts, APGD and Square succeed early.
    Gates add 20 or 100 passes, a twin 10 or 50 of its own. A ResNet-18 on one CPU core makes about 35 passes forward
    and backward a second at 32×32, and 100 forward.

    Args:
        model: takes images (B, 3, H, W) in [0, 1], gives logits (B, classes); left as it was found. The checks of gates
            need injected activations (``sparta_hub.inject``, ``sparta_hub.load``).
        data: images and labels.
        threat: the ball, untargeted.
        batch_size: images at a time.
        seed: of all randomness.
        limit: look at the first so many images.
        twin: another model for the same task, without what might hide gradients (a ReLU twin): its attacks should not
            do better on ``model`` than the model's own. It is moved to the model's device.
        quick: fewer steps: a first look.
        out: folder for ``diagnosis.json``, ``diagnosis.png`` and the evaluation, from which a second call goes on.
        progress: show a bar on standard error.
        name: what the record calls the model.

    Raises:
        AttackError: the threat is none, is targeted or has no radius; the model or the twin is none, or cannot be
            measured (see ``evaluate``); or the model's gradient is not finite.
        DataError: no images, the model has not the classes of the data or of the twin, or a number that is none.
        ReportError: ``out`` holds the evaluation of another model, other data or other settings.
    """
    if not isinstance(threat, ThreatModel):
        raise AttackError(f"threat is {short(threat)}; expected ThreatModel('linf', 8 / 255), for example.")
    if not isinstance(data, Images):
        raise DataError(f"data is {short(data)}; expected Images: sparta_hub.data.load_images('cifar10', 'test').")
    check_network(model)
    check_numbers(batch_size=batch_size, seed=seed, limit=limit)
    if twin is not None:
        check_network(twin, "twin")
    out = None if out is None else typed_path(out, ReportError)
    name = name or type(model).__name__
    device = device_of(model)
    images = min(len(data), limit or len(data))
    if twin is not None:
        twin.to(device)
    if len(data):  # an empty set is refused below
        with global_seed(derived_seed(seed)):
            _check_twin(model, twin, data)
    parts = [slice(start, min(start + batch_size, images)) for start in range(0, images, max(1, batch_size))]
    with global_seed(derived_seed(seed)):
        if len(data):
            model = with_some_gradient(model, data.floats(slice(0, 1)).to(device))
        plan = make_plan(model, threat, data.shape[1:], QUICK if quick else FULL, twin)
        with tqdm(total=len(parts) * len(plan.attacks), unit="attack", disable=not progress) as bar:
            report = evaluate(
                model, data, [_shown(attack, bar) for attack in plan.attacks], batch_size=batch_size, seed=seed,
                limit=limit, out=None if out is None else out / "evaluation.json", name=name,
            )  # fmt: skip
        probes = probe(model, ((data.floats(part).to(device), data.y[part].to(device)) for part in parts))
    diagnosis = Diagnosis(Evidence(report, plan.roles, probes))
    if out is not None:
        write_json(out / "diagnosis.json", diagnosis.to_json())
        plot(diagnosis).savefig(out / "diagnosis.png", dpi=120)
    return diagnosis


def _check_twin(model: nn.Module, twin: nn.Module | None, data: Images) -> None:
    """Refuse models that cannot be measured, and a twin of another task: its attacks would say nothing."""
    with held_still(model):
        classes = first_logits(model, data).shape[1]
    if twin is None:
        return
    with held_still(twin):
        others = first_logits(twin, data).shape[1]
    if others != classes:
        raise DataError(f"The twin gives {others} logits and the model {classes}; expected a twin of the same task.")


def _shown(attack: Attack, bar: tqdm) -> Attack:
    """The same attack, which moves the bar when it is done with a batch."""

    @wraps(attack.function)
    def function(*args: object, **kwargs: object) -> Tensor:
        bar.set_description(attack.name)
        result = attack.function(*args, **kwargs)
        bar.update()
        return result

    return Attack(attack.name, function, attack.threat, attack.arguments)
