"""The loop: batches, steps, validations, checkpoints, until the end or a reason to stop."""

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sparta_hub.processes import gathered, in_each, in_first
from sparta_hub.provenance import provenance
from training.checkpoints import (
    NAME,
    Checkpoint,
    Progress,
    alone_in,
    on_cpu,
    read_checkpoint,
    restore,
    state_tensors,
    write_checkpoint,
)
from training.config import TrainConfig
from training.data import TrainingData
from training.errors import CheckpointError, LossError
from training.metrics import Log
from training.parallel import World
from training.records import RECORD, finish
from training.schedules import gentler
from training.settings import to_json
from training.step import Parts, assemble, check_sees, convolutions_timed, length_of, train_step
from training.stopping import USED_UP, Interrupted, Stop
from training.validation import STEPS, Validation, aim, best_of, has_overfitted, is_due, measure


@dataclass(frozen=True)
class Options:
    """What does not change the outcome of a run.

    Args:
        compiled: see ``assemble``.
        log_every: steps between two lines of the log; after the first two, the device is waited for no more often.
        checkpoint_seconds: between two checkpoints; better weights in a validation are kept at once.
        max_shard_bytes: of a file of weights at the end.
    """

    compiled: str | None = None
    log_every: int = 20
    checkpoint_seconds: float = 120.0
    max_shard_bytes: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a call of ``train`` ended.

    Args:
        step, steps: done, and of the whole run.
        reason: why it stopped before its end; empty if it did not.
    """

    step: int
    steps: int
    reason: str = ""


def train(
    config: TrainConfig,
    data: TrainingData,
    out: Path,
    *,
    world: World | None = None,
    options: Options | None = None,
    stop: Stop | None = None,
) -> Outcome:
    """Train, or go on from the checkpoint in ``out``.

    At the end, ``out`` holds ``last.safetensors``, ``best.safetensors`` (by PGD-10 on the validation images, or without
    attack where training is ``standard``), ``training.json`` with everything about the run, and ``curve.png``; all
    along, ``checkpoint.safetensors`` and ``metrics.jsonl``. On one CPU, a run that was interrupted, however, ends with
    the same bits as one that was not.

    Raises:
        CheckpointError: ``out`` holds another run, one is in it, or the disk is full.
        LossError: the loss is no longer a number.
    """
    world, options, stop = world or World(), options or Options(), stop or Stop()
    devices = [world.device] if world.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), ExitStack() as stack:
        in_first(lambda: stack.enter_context(alone_in(out)))
        stack.enter_context(convolutions_timed(True))  # batches keep their shape
        run = _Run(config, data, out, world, options, stop)
        stack.callback(run.close)
        return run.go()


class _Run:
    """The state of one call of ``train``."""

    def __init__(
        self, config: TrainConfig, data: TrainingData, out: Path, world: World, options: Options, stop: Stop
    ) -> None:
        self.config, self.data, self.out, self.world, self.options, self.stop = config, data, out, world, options, stop
        self.length = length_of(config, data.batches.per_epoch)
        self.parts: Parts = assemble(config, data.num_classes, world, compiled=options.compiled)
        self.progress, self.best = Progress(), dict[str, Tensor]()
        self.losses: list[Tensor] = []  # of the last steps, on the device
        self.every = config.validate_every * self.length.per_epoch
        if (out / NAME).exists():
            found = read_checkpoint(out)
            found.refuse_other(out / NAME, to_json(config), data.identity)
            restore(found, self.parts.model, self.parts.average, self.parts.optimizer, self.parts.method, world.rank)
            self.progress, self.best = found.progress, found.part("best")
        if len({*gathered(self.progress.step)}) > 1:
            raise CheckpointError(
                f"The processes find different checkpoints in {out}; expected a folder that all share."
            )
        self.progress.launches.append({"step": self.progress.step, **provenance(world.device, world.count)})
        self.log: Log | None = None
        if world.speaks:
            self.log = Log(out, self.progress.log, name=config.name, step=self.progress.step, steps=self.length.steps)
        self.stream = data.batches.stream(self.progress.step // self.parts.method.replays)
        self.clock = self.saved = self.row_at = time.perf_counter()
        self.row_step = self.begun = self.progress.step
        self.pace = self.saving = self.validating = 0.0  # seconds of a step, a checkpoint, a validation; 0: not known

    def close(self) -> None:
        self.stream.close()  # and with it the processes that read images
        if self.log:
            self.log.close()

    def go(self) -> Outcome:
        progress, steps, replays = self.progress, self.length.steps, self.parts.method.replays
        if progress.step == steps and (self.out / RECORD).exists():
            return Outcome(steps, steps)
        x, y = next(self.stream)
        check_sees(self.config, self.parts.model, x)
        self.save()  # at once, so that a full disk is found before the work and not after it
        self.row_at = time.perf_counter()
        while True:
            due = self.data.validation is not None and is_due(progress.step, progress.history, self.every, steps)
            if due and (reason := self.validate()):
                return self.stopped(reason)
            if progress.step == steps:
                break
            alone = self.world.count == 1
            if (alone or progress.step % self.options.log_every == 0) and (
                reason := self.reason(self.pace if alone else self.pace * self.options.log_every)
            ):
                return self.stopped(reason)
            loss = train_step(self.config, self.parts, x, y, step=progress.step, length=self.length, world=self.world)
            self.losses.append(loss)
            progress.step += 1
            if progress.step % replays == 0 and progress.step < steps:
                x, y = next(self.stream)
            self.after_step()
        if self.data.validation is None:  # else the last validation has kept everything
            self.save()
        if self.world.speaks:
            finish(
                self.out, self.config, self.data.identity, progress, self.weights(), self.best,
                num_classes=self.data.num_classes, size=x.shape[-1], max_shard_bytes=self.options.max_shard_bytes,
            )  # fmt: skip
        return Outcome(steps, steps)

    def after_step(self) -> None:
        step = self.progress.step
        if self.log:
            self.log.bar.update()
        due = step % self.options.log_every == 0 or step == self.length.steps
        if not due and step - self.begun > 2:  # the first two say early what a step takes
            return
        self.collect()  # which waits for the device: without that a step takes no time at all
        took = (time.perf_counter() - self.row_at) / (step - self.row_step)
        self.pace = 0.0 if self.options.compiled and step - self.begun == 1 else took  # most of it was compilation
        if due:
            self.add_row(
                "loss",
                loss=sum(self.progress.pending) / len(self.progress.pending),
                lr=self.parts.optimizer.param_groups[0]["lr"],
                images_per_second=round(self.config.batch_size / took, 1),
            )
            self.progress.pending.clear()
            if self.checkpoint_is_due():
                self.save()
        self.row_at, self.row_step = time.perf_counter(), step

    def checkpoint_is_due(self) -> bool:
        return self.world.any([time.perf_counter() - self.saved > self.options.checkpoint_seconds])[0]

    def collect(self) -> None:
        """Fetch the losses from the device and refuse those that are no numbers."""
        values = torch.stack(self.losses).tolist() if self.losses else []
        first = self.progress.step - len(values)
        self.losses.clear()
        for i, value in enumerate(values):
            if not math.isfinite(value):
                raise self.bad(f"The loss is {value} at step {first + i}")
            self.progress.pending.append(value)
            self.progress.loss_sum += value
            self.progress.loss_count += 1

    def bad(self, what: str) -> LossError:
        return LossError(
            f"{what}; training has diverged. The last good checkpoint is {self.out / NAME}. Try "
            f"{gentler(self.config)}, with another --out."
        )

    def validate(self) -> str:
        """Measure, and keep the best weights; the reason to stop instead, if there is one."""
        images, progress = self.data.validation, self.progress
        assert images is not None
        alone = self.world.count == 1
        if reason := self.reason(self.validating or (0.0 if alone else self.guess(len(images)))):
            return reason
        self.collect()
        started = time.perf_counter()
        try:
            with ExitStack() as stack:
                if alone:
                    stack.enter_context(self.stop.at_once(self.to_stop))
                stack.enter_context(convolutions_timed(False))  # batches of many sizes, and another mode:
                if self.options.compiled:  # not worth a search or a compilation each
                    stack.enter_context(torch.compiler.set_stance("force_eager"))
                clean, pgd = measure(self.parts.measured, images, self.config.threat)
        except Interrupted:
            return self.reason(0) or USED_UP
        self.validating = time.perf_counter() - started
        loss = progress.loss_sum / max(1, progress.loss_count)
        progress.loss_sum, progress.loss_count = 0.0, 0
        progress.history.append(Validation(progress.step, self.epoch, loss, clean, pgd))
        by = aim(self.config)
        is_best = best_of(progress.history, by) == progress.history[-1]
        if is_best:
            self.best = self.weights()
        collapsed = by == "pgd" and has_overfitted(progress.history)
        self.add_row("validation", train_loss=loss, clean=clean, pgd=pgd, best=is_best, overfitted=collapsed)
        if collapsed and self.log:
            self.log.say(
                f"Catastrophic overfitting at step {progress.step}: PGD-{STEPS} accuracy fell to {pgd:.1f} % while the "
                "training loss went on falling. The best weights are kept; a smaller ε or another method may help."
            )
        if is_best or progress.step == self.length.steps or self.checkpoint_is_due():
            self.save()
        self.row_at, self.row_step = time.perf_counter(), progress.step
        return ""

    def guess(self, images: int) -> float:
        """Seconds of a first validation, which several processes cannot break off: a step costs a pass at least."""
        return self.pace * images / self.config.batch_size * (STEPS + 1)

    @property
    def to_stop(self) -> float:
        """Seconds: a checkpoint may be on its way, and one more is the end."""
        return 2 * self.saving

    @property
    def epoch(self) -> float:
        return round(self.progress.step / self.length.per_epoch, 4)

    def add_row(self, kind: str, **values: float | bool) -> None:
        self.tick()
        row = {"kind": kind, "step": self.progress.step, "epoch": self.epoch, **values}
        row["seconds"] = round(self.progress.seconds, 1)
        self.progress.log.append(row)
        if self.log:
            self.log.add(row)

    def tick(self) -> None:
        now = time.perf_counter()
        self.progress.seconds += now - self.clock
        self.clock = now

    def reason(self, needed: float) -> str:
        """Why to stop before work of so many seconds, the same in all processes."""
        own = self.stop.reason(needed + self.to_stop)
        anyone = self.world.any([bool(own)])[0]  # whoever has a reason asks too: the others wait for its answer
        return own or ("another process was asked to" if anyone else "")

    def weights(self) -> dict[str, Tensor]:
        return {key: on_cpu(t) for key, t in self.parts.measured.state_dict().items()}

    def save(self) -> None:
        self.collect()
        self.tick()
        started = time.perf_counter()
        methods = gathered({key: on_cpu(t) for key, t in self.parts.method.state_dict().items()})
        in_each(lambda: self.write(methods) if self.world.speaks else None)
        self.saved = time.perf_counter()
        self.saving = self.saved - started

    def write(self, methods: list[dict[str, Tensor]]) -> None:
        tensors = state_tensors(self.parts.model, self.parts.average, self.parts.optimizer, methods)
        tensors |= {f"best.{key}": t for key, t in self.best.items()}
        if not all(t.isfinite().all() for t in tensors.values()):
            raise self.bad(f"A weight is not a finite number at step {self.progress.step}")
        write_checkpoint(self.out, Checkpoint(to_json(self.config), self.data.identity, self.progress, tensors))

    def stopped(self, reason: str) -> Outcome:
        self.save()
        return Outcome(self.progress.step, self.length.steps, reason)
