"""Robust accuracy that can be trusted: the evaluator decides what counts, an attack only proposes images.

It measures any module that takes images in [0, 1] and gives logits. It keeps its own copy of the images, checks the
ball and the box, predicts the returned images itself, whole batches at a time, as it predicted the clean ones, and
counts the passes. All randomness comes from the seed, the attack and the number of the batch, so that a run that
was interrupted, or shared between processes, gives the same flags as one in a piece.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sparta_hub.attacks.gradient import device_of, held_still
from sparta_hub.attacks.targets import uniform_wrong_class
from sparta_hub.data import Images
from sparta_hub.errors import AttackError, DataError, ReportError, short
from sparta_hub.evaluation._attack import Attack
from sparta_hub.evaluation._batch import Examples, run_batch
from sparta_hub.evaluation._checks import check_network, check_numbers, first_logits
from sparta_hub.evaluation._choice import SAMPLE, choose
from sparta_hub.evaluation._outcome import SPEEDS, Protocol, Speed, joined, worst_case
from sparta_hub.evaluation._progress import Done, check_same, part_of, parts, read_parts, write_part
from sparta_hub.evaluation._report import Report
from sparta_hub.identity import modules_sha256, state_sha256, tensors_sha256
from sparta_hub.paths import typed_path
from sparta_hub.processes import in_each, in_first, process
from sparta_hub.provenance import provenance
from sparta_hub.records import read_json, write_json
from sparta_hub.seeds import derived_seed


def evaluate(
    model: nn.Module,
    data: Images,
    attacks: Sequence[Attack],
    *,
    batch_size: int,
    seed: int,
    limit: int | None = None,
    cascade: bool = False,
    speed: Speed = "exact",
    sample: int = SAMPLE,
    out: Path | str | None = None,
    progress: bool = False,
    name: str = "",
) -> Report:
    """Measure clean accuracy, accuracy under each attack, and the worst case over attacks of each image.

    An image that is misclassified without attack is not attacked. One whose attack left the ball or the box counts as
    not broken, and the report says how many there are: one faulty image does not cost hours of work, and a faulty
    attack never looks strong. An image with a NaN among its logits, or an infinite largest one, counts as
    misclassified.

    Args:
        model: takes images (B, 3, H, W) in [0, 1], gives logits (B, classes); it is left as it was found.
        data: images and labels; they are moved to the model's device.
        attacks: run in this order.
        batch_size: images at a time. The attacks' random numbers depend on it.
        seed: of all randomness. The targets of the images depend on nothing else.
        limit: evaluate the first so many images.
        cascade: run each attack only on images that withstood the ones before: cheaper, the same worst case but for
            random numbers; the accuracies of the later attacks are then those of all attacks so far.
        speed: what attacks run on. ``"exact"``: the model. ``"fast"``: a copy of it with BatchNorm folded, in bfloat16
            where the processor has it, if on a sample of images at most one flag in 50 (of fewer than 100: one) differs
            from the exact run's; ``provenance`` says what was used. The model itself decides what counts as broken all
            the same. The sample is attacked on the model and on a copy first, which pays from a few hundred images on.
            ``"compiled"``: the same with the copy compiled, which pays for attacks of thousands of passes.
        sample: images of that sample. AutoAttack on 64 images of an uncompiled ResNet-18 is an hour of a CPU core.
        out: file for the report. Finished batches are kept beside it, and a second call goes on from there.
        progress: show a bar with the running worst case on standard error.
        name: what the report calls the model.

    Returns:
        The report, in every process if there are several.

    Raises:
        DataError: no images, or the model has not the classes of the data; or a number that is none.
        AttackError: an unknown speed; no model; a model of another precision than float32, scripted, without values,
            that fails on one image or gives NaN; no attacks, or one that its threat model does not fit, that gave no
            images of the shape of its own, or changed the model; or with ``out`` one whose function holds what no
            record can name.
        ReportError: ``out`` holds the evaluation of another model, other data or other settings.
    """
    _check_kinds(model, data, attacks)
    check_numbers(batch_size=batch_size, seed=seed, sample=sample, limit=limit)
    if min(batch_size, sample, len(data), 1 if limit is None else limit) < 1:
        raise DataError(
            f"There are {len(data)} images, batch_size={batch_size}, sample={sample}, limit={limit}; "
            "expected 1 or more."
        )
    if speed not in SPEEDS:
        raise AttackError(f"speed is {speed!r}; expected one of {', '.join(SPEEDS)}.")
    out = None if out is None else typed_path(out, ReportError)
    for attack in attacks if out is not None else ():
        if attack.unknown:
            raise AttackError(
                f"The function of {attack.name} holds a {attack.unknown}, so the evaluation in {out} could not be told "
                "from another one's later. Expected a function of a module, with what it needs as plain values in "
                "Attack(arguments=...); or give no out."
            )
    if out is not None and out.is_dir():
        raise ReportError(
            f"out is {out}, which is a folder; expected a file for the report, such as {out / 'report.json'}."
        )
    rank, processes = process()
    device = device_of(model)
    with held_still(model):
        buffers = tensors_sha256(model.named_buffers())  # those that are not saved included
        protocol = _agreed(
            in_each(lambda: _protocol(model, data, attacks, batch_size, seed, limit, cascade, speed, name))
        )
        if finished := in_first(lambda: _finished(out, protocol)):
            return finished
        done, origins = in_first(lambda: _resumed(out, protocol))
        here = provenance(device, processes)
        work = [i for i in range(-(-protocol.images // batch_size)) if i not in done][rank::processes]
        bar = tqdm(work, desc=protocol.data, unit="batch", disable=not progress or rank > 0)

        def keep(mine: Done, origin: Mapping[str, Any]) -> None:
            if out is not None:
                kept = done | mine if rank == 0 else mine
                write_part(part_of(out, rank), protocol, kept, [*(o for o in origins if o != origin), origin])

        def own_share() -> tuple[Done, Mapping[str, Any]]:
            mine: Done = {}
            copies: Sequence[nn.Module] = [model] * len(attacks)
            origin, targets = here, _targets(data, protocol)
            if speed != "exact" and len(done) * batch_size < protocol.images:  # in all processes, or in none
                said = [f"{attack.settings} ran on" for attack in attacks]
                before = _said_before(origins, here, said)
                bar.set_postfix_str("comparing copies with the model on a sample")
                choices = choose(
                    model, data, protocol.images, targets, attacks, seed,
                    size=sample, compiled=speed == "compiled", before=before,
                )  # fmt: skip
                bar.set_postfix_str("")
                copies = [choice.model for choice in choices]
                origin = here | {key: choice.reason for key, choice in zip(said, choices, strict=True)}
                keep(mine, origin)
            for i in bar:
                part = slice(i * batch_size, min((i + 1) * batch_size, protocol.images))
                batch = Examples(*(t.to(device) for t in (data.floats(part), data.y[part], targets[part])))
                mine[i] = run_batch(model, batch, attacks, copies=copies, seed=seed, index=i, cascade=cascade)
                keep(mine, origin)
                flags = worst_case(joined([*done.values(), *mine.values()]))
                bar.set_postfix_str(f"robust {100 * sum(flags) / len(flags):.1f} %")
            _check_untouched(model, protocol, buffers, out, rank)
            return mine, origin

        for theirs, there in in_each(own_share):
            done |= theirs
            origins += [there] if there not in origins else []
    report = Report(protocol, joined([done[i] for i in sorted(done)]), tuple(origins))
    in_first(lambda: _keep(out, report))  # no process goes on before the report is there
    return report


def _check_kinds(model: nn.Module, data: Images, attacks: Sequence[Attack]) -> None:
    """Raise the error of each argument that is of another kind: a name or a loader, say."""
    check_network(model)
    if not isinstance(data, Images):
        raise DataError(
            f"data is {short(data)}; expected Images: sparta_hub.data.load_images('cifar10', 'test'), or of your own "
            "sparta_hub.data.Images(pixels, y, name)."
        )
    if not isinstance(attacks, Sequence) or not all(isinstance(attack, Attack) for attack in attacks):
        raise AttackError(f"attacks is {short(attacks)}; expected a list of Attack(name, function, threat, arguments).")


def _protocol(
    model: nn.Module,
    data: Images,
    attacks: Sequence[Attack],
    batch_size: int,
    seed: int,
    limit: int | None,
    cascade: bool,
    speed: Speed,
    name: str,
) -> Protocol:
    images = min(len(data), limit or len(data))
    logits = first_logits(model, data)
    classes = logits.shape[1]
    known, largest = len(data.class_names), int(data.y[:images].max())
    if (known and classes != known) or classes <= largest or int(data.y[:images].min()) < 0:
        raise DataError(
            f"The model gives {classes} logits and {data.name} has {known or largest + 1} classes; expected the same "
            f"number. Give a model that was trained for {data.name}, or the data that it was trained for."
        )
    return Protocol(
        model=name or type(model).__name__,
        data=data.name,
        images=images,
        num_classes=classes,
        batch_size=batch_size,
        seed=seed,
        cascade=cascade,
        speed=speed,
        attacks=tuple(attack.settings for attack in attacks),
        weights_sha256=state_sha256(model),
        modules_sha256=modules_sha256(model),
        data_sha256=data.sha256(images),
    )


def _targets(data: Images, protocol: Protocol) -> Tensor:
    """A wrong class for every image of the set (N,), the same whatever the limit, the batches and the model."""
    generator = torch.Generator().manual_seed(derived_seed(protocol.seed, "targets"))
    return uniform_wrong_class(data.y, protocol.num_classes, generator=generator)


def _agreed(protocols: Sequence[Protocol]) -> Protocol:
    """What this process is to evaluate, which must be what all others are."""
    own = protocols[process()[0]]
    for i, other in enumerate(protocols):
        if different := other.differences(own):
            raise DataError(f"Process {i} evaluates something else than process {process()[0]}: {different}.")
    return own


def _finished(out: Path | None, protocol: Protocol) -> Report | None:
    """The report that is there already."""
    if out is None or not out.exists():
        return None
    report = Report.from_json(read_json(out))
    check_same(out, report.protocol, protocol)
    return report


def _resumed(out: Path | None, protocol: Protocol) -> tuple[Done, list[Mapping[str, Any]]]:
    """What earlier runs have finished, all of it in the file of the first process from now on."""
    if out is None:
        return {}, []
    found = read_parts(out, protocol)
    write_part(part_of(out, 0), protocol, *found)  # even if empty: what cannot be written is found out before the work
    for path in parts(out):
        if path != part_of(out, 0):
            path.unlink()
    return found


def _said_before(origins: Sequence[Mapping[str, Any]], here: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """What an earlier run said under all these keys on a machine as this one, whatever the commit; or nothing."""
    for origin in origins:
        if all(origin.get(key) == value for key, value in here.items() if key != "commit") and set(keys) <= set(origin):
            return [str(origin[key]) for key in keys]
    return []


def _keep(out: Path | None, report: Report) -> None:
    if out is not None:
        write_json(out, report.to_json())
        for path in parts(out):
            path.unlink()


def _check_untouched(model: nn.Module, protocol: Protocol, buffers: str, out: Path | None, rank: int) -> None:
    if state_sha256(model) != protocol.weights_sha256 or tensors_sha256(model.named_buffers()) != buffers:
        if out is not None:
            part_of(out, rank).unlink(missing_ok=True)
        raise AttackError(
            "An attack changed the model's weights or statistics; expected it to leave them as they were."
        )
