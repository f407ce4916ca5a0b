"""The loop: what a run leaves, the same bits after an interruption, when it stops and why."""

import json
import signal
import time
from dataclasses import replace
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import sparta_hub
from sparta_hub.artifacts import sha256_of
from sparta_hub.identity import tensors_sha256
from sparta_hub.small_maps import ProductConv2d
from sparta_hub.surgery import state_of
from tests.training.conftest import noise
from training import engine, records
from training.artifact import trained_network
from training.checkpoints import read_checkpoint, write_checkpoint
from training.config import Schedule, TrainConfig
from training.data import in_memory
from training.engine import Options, train
from training.errors import CheckpointError, ConfigError, LossError
from training.models import make_model
from training.parallel import World
from training.step import assemble, length_of
from training.stopping import Stop
from training.validation import Validation, is_due

OFTEN = Options(log_every=2, checkpoint_seconds=0)


def go(config, out, *, images=None, options=OFTEN, **more):
    return train(config, in_memory(config, images or noise(), World()), out, options=options, **more)


def bits(folder):
    return {
        name: tensors_sha256(sorted(load_file(folder / f"{name}.safetensors").items())) for name in ("last", "best")
    }


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_time(found):
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in found]


@pytest.fixture
def whole(trained, tiny, tmp_path):
    """The folder of a run of ``tiny`` that nothing interrupted."""
    return trained(tmp_path / "whole", tiny, OFTEN)


def test_a_run_leaves_weights_activations_a_record_and_a_curve(tiny, tmp_path):
    outcome = go(tiny, tmp_path)
    assert (outcome.step, outcome.steps, outcome.reason) == (8, 8, "")
    record = json.loads((tmp_path / "training.json").read_text())
    assert (record["steps"], record["images"]) == (8, 64)
    assert {"commit", "torch", "hardware", "seconds", "python", "config"} <= record.keys()
    assert record["data"] | {"sha256": ""} == {
        "dataset": "cifar10", "limit": 1.0, "images": 32, "validation": 8, "sha256": "",
    }  # fmt: skip
    assert [(v["step"], v["epoch"]) for v in record["validations"]] == [(4, 1.0), (8, 2.0)]
    best = max(record["validations"], key=lambda v: v["pgd"])
    assert (record["best"]["step"], record["best"]["pgd"]) == (best["step"], best["pgd"])
    assert record["last"]["step"] == 8
    found = rows(tmp_path)
    assert [row["step"] for row in found if row["kind"] == "loss"] == [2, 4, 6, 8]
    assert record["losses"] == [[row["step"], round(row["loss"], 4)] for row in found if row["kind"] == "loss"]
    losses = [row["loss"] for row in found if row["kind"] == "loss"]
    assert record["validations"][1]["loss"] == pytest.approx((losses[2] + losses[3]) / 2, abs=1e-6)
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"
    model = sparta_hub.load(tmp_path / "artifact", model=tiny.host, num_classes=10)
    chosen = load_file(tmp_path / "best.safetensors")
    own = {k: t for k, t in model.state_dict().items() if ".activation." in k}
    assert own
    assert all(torch.equal(t, chosen[k]) for k, t in own.items())


def test_the_average_is_measured_and_kept_and_not_the_weights_of_the_moment(tiny, whole):
    last, held = load_file(whole / "last.safetensors"), read_checkpoint(whole)
    assert torch.equal(last["fc.weight"], held.part("average")["fc.weight"])
    assert not torch.equal(last["fc.weight"], held.part("model")["fc.weight"])
    make_model(tiny, 10).load_state_dict(last)


def test_without_averaging_and_validation_the_last_weights_are_all_there_is(tiny, tmp_path):
    go(replace(tiny, ema_decay=0, validation=0, family="relu", arguments={}), tmp_path)
    record = json.loads((tmp_path / "training.json").read_text())
    assert "best" not in record
    assert record["validations"] == []
    assert not (tmp_path / "best.safetensors").exists()
    assert not (tmp_path / "artifact").exists()
    held = read_checkpoint(tmp_path).part("model")
    assert all(torch.equal(t, held[k]) for k, t in load_file(tmp_path / "last.safetensors").items())


METHODS = [
    {},
    {"method": "fgsm_sdi", "method_arguments": {"every": 2}},
    {"method": "free", "method_arguments": {"replays": 3}},
    {"method": "pgd", "method_arguments": {"steps": 2}, "awp": 0.01, "precision": "bf16"},
    {"family": "relu", "arguments": {}, "ema_decay": 0, "validation": 0},
]


@pytest.mark.parametrize(("changes", "at"), [(METHODS[0], 1), *((changes, 5) for changes in METHODS)])
def test_an_interrupted_run_goes_on_to_the_same_bits(tiny, trained, tmp_path, monkeypatch, changes, at):
    config = replace(tiny, **changes)
    trained(tmp_path / "whole", config, OFTEN)
    step, calls = engine.train_step, count()

    def interrupted(*arguments, **more):
        if next(calls) == at:
            raise KeyboardInterrupt
        return step(*arguments, **more)

    monkeypatch.setattr(engine, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(config, tmp_path / "parts")
    monkeypatch.setattr(engine, "train_step", step)
    go(config, tmp_path / "parts")
    names = ("last", "best") if config.validation else ("last",)
    for name in names:
        whole, parts = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "parts"))
        assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert without_time(rows(tmp_path / "parts")) == without_time(rows(tmp_path / "whole"))
    launches = json.loads((tmp_path / "parts/training.json").read_text())["launches"]
    assert [s["step"] for s in launches] == [0, at - at % 2]


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(t, two[key]) for key, t in one.items())


def test_of_equal_validations_the_first_gives_the_best_weights_also_where_the_run_was_stopped_after_it(
    tiny, tmp_path, monkeypatch
):
    seen, stop = [], Stop()

    def measured(model, *_):
        seen.append({key: t.clone() for key, t in model.state_dict().items()})
        return 60.0, 40.0

    def moved(_config, parts, *_, step, **__):
        stop.signalled = "enough" if step == 4 else ""
        with torch.no_grad():
            for parameter in parts.measured.parameters():
                parameter.add_(1)
        return torch.zeros(())

    monkeypatch.setattr(engine, "measure", measured)
    monkeypatch.setattr(engine, "train_step", moved)
    monkeypatch.setattr(records, "draw_curve", lambda *_, **__: None)
    assert go(tiny, tmp_path, options=Options(), stop=stop).step == 5
    assert read_checkpoint(tmp_path).progress.step == 5, "what was done since the validation is lost"
    go(tiny, tmp_path)
    first, second = seen
    assert not torch.equal(first["fc.weight"], second["fc.weight"])
    assert same(load_file(tmp_path / "best.safetensors"), first)
    assert same(load_file(tmp_path / "last.safetensors"), second)
    own = state_of(sparta_hub.load(tmp_path / "artifact", model=tiny.host, num_classes=10))
    assert same(own, state_of(trained_network(tiny, first, num_classes=10, size=32)))


def test_how_often_it_is_logged_and_kept_changes_nothing(tiny, whole, tmp_path):
    go(tiny, tmp_path / "seldom", options=Options(log_every=3, checkpoint_seconds=1e9))
    assert bits(whole) == bits(tmp_path / "seldom")


def test_another_seed_is_another_run(tiny, whole, tmp_path):
    go(replace(tiny, seed=4), tmp_path / "other")
    assert bits(whole) != bits(tmp_path / "other")


def test_a_finished_run_is_left_as_it_is(tiny, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.suffix in (".safetensors", ".json")}
    assert go(tiny, whole).step == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_last_weights_can_be_split_into_small_files(tiny, tmp_path):
    go(tiny, tmp_path, options=replace(OFTEN, max_shard_bytes=500_000))
    files = json.loads((tmp_path / "training.json").read_text())["last"]["files"]
    assert len(files) > 2
    assert {path.name for path in tmp_path.glob("last*")} == {*files}
    merged = {key: t for name in files for key, t in load_file(tmp_path / name).items()}
    make_model(tiny, 10).load_state_dict(merged)


@pytest.mark.parametrize(
    ("change", "images", "message"),
    [
        ({"epochs": 3}, None, "is of another run: epochs is 2 there and 3 here. Give another --out"),
        ({"threat": {"eps": 0.1}}, None, r"threat.eps is 0.031\d+ there and 0.1 here"),
        ({}, noise(seed=1), r"data.sha256 is '\w+' there and '\w+' here"),
        ({}, noise(count=41), "data.images is 32 there and 33 here"),
    ],
)
def test_the_checkpoint_of_another_run_is_refused(tiny, tmp_path, change, images, message):
    go(tiny, tmp_path, stop=Stop(deadline=0))
    if "threat" in change:
        change = {"threat": replace(tiny.threat, **change["threat"])}
    with pytest.raises(CheckpointError, match=message):
        go(replace(tiny, **change), tmp_path, images=images)


def test_a_loss_that_is_no_number_stops_with_the_last_good_checkpoint(tiny, tmp_path, monkeypatch):
    step, calls = engine.train_step, count()

    def poisoned(*arguments, **more):
        return step(*arguments, **more) * (float("nan") if next(calls) == 5 else 1)

    monkeypatch.setattr(engine, "train_step", poisoned)
    with pytest.raises(LossError, match=r"The loss is nan at step 5; .*last good checkpoint is .*--set lr=0.05"):
        go(tiny, tmp_path)
    held = read_checkpoint(tmp_path)
    assert held.progress.step == 4
    assert all(t.isfinite().all() for t in held.tensors.values())


def test_weights_that_are_no_numbers_are_not_kept(tiny, tmp_path, monkeypatch):
    step, calls = engine.train_step, count()

    def poisoned(config, parts, *arguments, **more):
        loss = step(config, parts, *arguments, **more)
        if next(calls) == 3:
            with torch.no_grad():
                next(parts.model.parameters()).fill_(float("inf"))
        return loss

    monkeypatch.setattr(engine, "train_step", poisoned)
    with pytest.raises(LossError, match="A weight is not a finite number at step 4"):
        go(replace(tiny, validation=0), tmp_path)
    assert read_checkpoint(tmp_path).progress.step == 2


def test_catastrophic_overfitting_is_said_and_recorded(tiny, tmp_path, monkeypatch, capsys):
    accuracies = iter([(60.0, 40.0), (80.0, 1.0)])
    monkeypatch.setattr(engine, "measure", lambda *_: next(accuracies))
    go(replace(tiny, lr=0.05), tmp_path)
    record = json.loads((tmp_path / "training.json").read_text())
    losses = [v["loss"] for v in record["validations"]]
    assert losses[1] < losses[0], "the rule asks for a falling loss"
    assert record["overfitted_at_step"] == 8
    assert record["best"]["step"] == 4
    assert rows(tmp_path)[-1]["overfitted"] is True
    said = "".join(capsys.readouterr())
    assert "Catastrophic overfitting at step 8: PGD-10 accuracy fell to 1.0 %" in said


def test_standard_training_is_chosen_by_what_it_aims_at(tiny, tmp_path, monkeypatch, capsys):
    accuracies = iter([(60.0, 40.0), (80.0, 1.0)])
    monkeypatch.setattr(engine, "measure", lambda *_: next(accuracies))
    go(replace(tiny, lr=0.05, method="standard", method_arguments={}), tmp_path)
    record = json.loads((tmp_path / "training.json").read_text())
    losses = [v["loss"] for v in record["validations"]]
    assert losses[1] < losses[0], "the rule of overfitting would hold"
    assert record["overfitted_at_step"] is None
    assert (record["best"]["step"], record["best"]["clean"]) == (8, 80.0)
    assert bits(tmp_path)["best"] == bits(tmp_path)["last"]
    assert rows(tmp_path)[-1]["overfitted"] is False
    assert "overfitting" not in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("schedule", "advice"),
    [
        (Schedule("one_cycle"), "Try a smaller learning rate: --set lr=0.05, with another"),
        (Schedule("cyclic"), "Try a smaller learning rate: --set lr=0.05, with another"),
        (Schedule("cosine", warmup=2), "longer warm-up: --set lr=0.05 --set schedule.warmup=3, with another"),
        (Schedule("constant"), "longer warm-up: --set lr=0.05 --set schedule.warmup=1, with another"),
    ],
)
def test_advice_after_divergence_is_of_use(tiny, tmp_path, monkeypatch, schedule, advice):
    monkeypatch.setattr(engine, "train_step", lambda *_, **__: torch.tensor(float("nan")))
    with pytest.raises(LossError, match=advice):
        go(replace(tiny, schedule=schedule), tmp_path)


def test_a_used_up_budget_stops_at_once_and_the_run_goes_on_later(tiny, tmp_path):
    outcome = go(tiny, tmp_path, stop=Stop(deadline=time.monotonic()))
    assert (outcome.step, outcome.reason) == (0, "the time budget is used up")
    assert go(tiny, tmp_path).step == 8


class Clock:
    """Time that passes only where a test says so, in seconds."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(engine.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(engine.time, "monotonic", lambda: self.now)

    def let_pass(self, monkeypatch, owner, name, seconds):
        """Let every call of a function take the next of ``seconds``, and its last one from then on."""
        function, durations = getattr(owner, name), [*seconds]

        def timed(*arguments, **more):
            self.now += durations.pop(0) if len(durations) > 1 else durations[0]
            return function(*arguments, **more)

        monkeypatch.setattr(owner, name, timed)


def test_a_validation_that_does_not_fit_into_the_budget_is_left_for_later(tiny, whole, tmp_path, monkeypatch):
    clock, stop = Clock(monkeypatch), Stop()
    clock.let_pass(monkeypatch, engine, "train_step", [0.01])
    clock.let_pass(monkeypatch, engine, "measure", [2])
    step, calls = engine.train_step, count()

    def timed(*arguments, **more):
        if next(calls) == 5:  # after the first validation, which took two seconds
            stop.deadline = clock.now + 1.5
        return step(*arguments, **more)

    monkeypatch.setattr(engine, "train_step", timed)
    outcome = go(tiny, tmp_path / "parts", stop=stop)
    assert (outcome.step, outcome.reason) == (8, "the time budget is used up")
    assert len(read_checkpoint(tmp_path / "parts").progress.history) == 1
    go(tiny, tmp_path / "parts")
    assert bits(tmp_path / "parts") == bits(whole)


def idle(monkeypatch, clock, seconds=1.0):
    """Let steps take so long and do nothing, and leave out what a finished run writes."""
    monkeypatch.setattr(engine, "train_step", lambda *_, **__: torch.zeros(()))
    monkeypatch.setattr(engine, "finish", lambda *_, **__: None)
    clock.let_pass(monkeypatch, engine, "train_step", [seconds])


def keeps(monkeypatch):
    """The steps at which checkpoints are written from now on."""
    kept, write = [], engine.write_checkpoint
    monkeypatch.setattr(
        engine, "write_checkpoint", lambda out, held: (kept.append(held.progress.step), write(out, held))
    )
    return kept


def test_checkpoints_come_as_often_as_was_asked_and_at_the_end_and_seconds_count_over_all_launches(
    tiny, tmp_path, monkeypatch
):
    clock = Clock(monkeypatch)
    idle(monkeypatch, clock)
    kept, config = keeps(monkeypatch), replace(tiny, validation=0)  # ten steps
    how = Options(log_every=1, checkpoint_seconds=2.5)
    assert go(config, tmp_path, options=how, stop=Stop(deadline=5.5)).step == 5
    assert kept == [0, 3, 5]
    assert read_checkpoint(tmp_path).progress.seconds == 5
    clock.now = 1000
    kept.clear()
    assert go(config, tmp_path, options=how).step == 10
    assert kept == [5, 8, 10]
    held = read_checkpoint(tmp_path).progress
    assert (held.step, held.seconds, [row["seconds"] for row in held.log]) == (10, 10, [*range(1, 11)])


def test_the_budget_holds_the_time_to_keep_a_checkpoint_on_the_way_and_one_at_the_end(tiny, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    idle(monkeypatch, clock)
    clock.let_pass(monkeypatch, engine, "write_checkpoint", [5])
    outcome = go(replace(tiny, validation=0), tmp_path, options=Options(), stop=Stop(deadline=16))
    assert (outcome.step, clock.now) == (1, 11)


def test_a_validation_is_broken_off_when_the_time_is_used_up(tiny, whole, tmp_path, monkeypatch):
    """Also the first of a launch, of which nobody knows how long it takes."""
    measure, began = engine.measure, []

    def slow(*arguments):
        began.append(time.monotonic())
        time.sleep(30)

    class Soon(Stop):  # however long the steps before it took
        def at_once(self, needed=0.0):
            self.deadline = time.monotonic() + needed + 0.5
            return super().at_once(needed)

    monkeypatch.setattr(engine, "measure", slow)
    for launch in (1, 2):
        outcome = go(tiny, tmp_path, stop=Soon())
        assert (outcome.step, outcome.reason) == (4, "the time budget is used up")
        assert len(began) == launch
        assert time.monotonic() - began[-1] < 10
    assert read_checkpoint(tmp_path).progress.history == []
    monkeypatch.setattr(engine, "measure", measure)
    go(tiny, tmp_path)
    assert bits(tmp_path) == bits(whole)


def test_several_processes_take_a_first_validation_to_cost_as_many_passes_as_it_has():
    """Eleven: one without attack and the ten of PGD-10, each as long as a step of as many images."""
    run: Any = SimpleNamespace(pace=2.0, config=SimpleNamespace(batch_size=4))
    assert engine._Run.guess(run, images=8) == 2.0 * 2 * 11


def test_the_speed_of_training_leaves_out_the_time_of_a_validation(tiny, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    idle(monkeypatch, clock, 0.5)
    monkeypatch.setattr(engine, "measure", lambda *_: (60.0, 40.0))
    clock.let_pass(monkeypatch, engine, "measure", [100])
    go(tiny, tmp_path)
    assert [row["images_per_second"] for row in rows(tmp_path) if row["kind"] == "loss"] == [16.0] * 4


@pytest.mark.parametrize(
    ("every", "per_epoch", "steps", "due"),
    [
        (1, 4, 8, [4, 8]),
        (2, 4, 10, [8, 10]),  # and at the end
        (0.5, 4, 8, [2, 4, 6, 8]),
        (1 / 3, 4, 8, [2, 3, 4, 6, 7, 8]),
        (0.1, 12, 12, [2, 3, 4, 5, 6, 8, 9, 10, 11, 12]),  # 6 / (0.1 * 12) is less than 5 in floats
        (100, 4, 8, [8]),
    ],
)
def test_validations_come_after_whole_intervals_of_any_length_and_once(every, per_epoch, steps, due):
    history = []
    for step in range(steps + 1):
        while is_due(step, history, every * per_epoch, steps):
            history.append(Validation(step, step / per_epoch, 0, 0, 0))
    assert [found.step for found in history] == due


def test_the_rate_that_is_logged_is_the_one_of_the_schedule(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "finish", lambda *_, **__: None)
    config = replace(tiny, validation=0, batch_size=20, schedule=Schedule("multistep", milestones=(1,), gamma=0.1))
    go(config, tmp_path, options=Options(log_every=1))
    assert [row["lr"] for row in rows(tmp_path)] == pytest.approx([0.1, 0.1, 0.01, 0.01])


def test_processes_that_find_different_checkpoints_are_told_so(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "gathered", lambda value: [value, value + 2])
    with pytest.raises(CheckpointError, match="find different checkpoints in .*; expected a folder that all share"):
        go(tiny, tmp_path)


def test_a_run_that_was_killed_while_it_wrote_its_end_is_not_taken_for_finished(tiny, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    config = replace(tiny, family="relu", arguments={})
    monkeypatch.setattr(engine, "train_step", lambda *_, **__: torch.zeros(()))
    monkeypatch.setattr(engine, "measure", lambda *_: (60.0, 40.0))
    monkeypatch.setattr(records, "draw_curve", killed)  # after which the record alone is left
    with pytest.raises(KeyboardInterrupt):
        go(config, tmp_path)
    assert not (tmp_path / "training.json").exists()
    monkeypatch.setattr(records, "draw_curve", lambda *_, **__: None)
    assert go(config, tmp_path).step == 8
    files = json.loads((tmp_path / "training.json").read_text())["best"]["files"]
    assert files == {"best.safetensors": sha256_of(tmp_path / "best.safetensors")}


@pytest.mark.parametrize(("budget", "steps"), [(15, 8), (8.15, 2)])
def test_a_first_step_that_compiles_is_not_taken_for_the_pace(tiny, tmp_path, monkeypatch, budget, steps):
    """Nor for a guess of what a validation takes, which would stop the run before it; the second step is."""
    clock = Clock(monkeypatch)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *, mode: None)
    clock.let_pass(monkeypatch, engine, "train_step", [8, 0.1])
    outcome = go(tiny, tmp_path, options=Options(compiled="default"), stop=Stop(deadline=budget))
    assert outcome.step == steps


def test_without_compilation_the_first_step_tells_the_pace(tiny, tmp_path, monkeypatch):
    clock = Clock(monkeypatch)
    clock.let_pass(monkeypatch, engine, "train_step", [8])
    outcome = go(tiny, tmp_path, stop=Stop(deadline=15))
    assert (outcome.step, outcome.reason) == (1, "the time budget is used up")


def test_the_pace_holds_the_time_that_the_device_was_waited_for(tiny, tmp_path, monkeypatch):
    """As on a GPU: steps are asked for in no time, and done when their losses are fetched."""
    clock = Clock(monkeypatch)
    clock.let_pass(monkeypatch, engine, "train_step", [0.5])
    clock.let_pass(monkeypatch, engine._Run, "collect", [3])
    go(replace(tiny, validation=0), tmp_path)
    speeds = [row["images_per_second"] for row in rows(tmp_path) if row["kind"] == "loss"]
    assert speeds[1:] == [4.0] * 4  # two steps of 8 images in 0.5 + 0.5 + 3 s, not in one second


def test_a_validation_that_found_nothing_better_waits_for_the_next_checkpoint(tiny, tmp_path, monkeypatch):
    accuracies = iter([(60.0, 40.0), (80.0, 30.0), (80.0, 50.0), (80.0, 20.0)])
    monkeypatch.setattr(engine, "measure", lambda *_: next(accuracies))
    kept = keeps(monkeypatch)
    go(replace(tiny, epochs=4), tmp_path, options=Options(log_every=100))
    assert kept == [0, 4, 12, 16]  # at the end whatever was found
    assert read_checkpoint(tmp_path).progress.history[-1].pgd == 20.0


def test_a_signal_breaks_into_a_validation_which_is_done_again_later(tiny, whole, tmp_path, monkeypatch):
    measure, calls, stop = engine.measure, count(), Stop()

    def signalled(*arguments):
        if next(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the signal was not heard")
        return measure(*arguments)

    monkeypatch.setattr(engine, "measure", signalled)
    with stop.signals():
        outcome = go(tiny, tmp_path / "parts", stop=stop)
    assert (outcome.step, outcome.reason) == (8, "SIGTERM")
    assert len(read_checkpoint(tmp_path / "parts").progress.history) == 1
    go(tiny, tmp_path / "parts")
    assert bits(tmp_path / "parts") == bits(whole)


def test_a_checkpoint_from_before_a_field_was_added_goes_on(tiny, tmp_path):
    go(tiny, tmp_path, stop=Stop(deadline=0))
    held = read_checkpoint(tmp_path)
    config = {key: value for key, value in held.config.items() if key != "nesterov"}
    write_checkpoint(tmp_path, replace(held, config=config))
    assert go(tiny, tmp_path).step == 8


def test_lengths():
    assert length_of(TrainConfig("a", "b", epochs=2), 7).steps == 14
    assert length_of(TrainConfig("a", "b", epochs=0.96), 781).steps == 750
    assert length_of(TrainConfig("a", "b", epochs=0.1), 3).steps == 1


def test_twins_share_their_hosts_first_weights_and_the_global_state_is_left_alone(tiny):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    sparta, relu = (make_model(replace(tiny, family=f, arguments={}), 10) for f in ("sparta", "relu"))
    assert torch.equal(torch.rand(3), expected)
    own = sparta.state_dict()
    assert all(torch.equal(tensor, own[key]) for key, tensor in relu.state_dict().items())


def test_a_frozen_transfer_keeps_its_activations_bit_for_bit(tiny, trained, tmp_path):
    trained(tmp_path / "giver", tiny, OFTEN)
    config = replace(tiny, activation=str(tmp_path / "giver/artifact"), frozen=True, seed=9)
    go(config, tmp_path / "taker")
    first, second = (load_file(tmp_path / run / "artifact/activations.safetensors") for run in ("giver", "taker"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    moving = replace(config, frozen=False)
    go(moving, tmp_path / "free")
    third = load_file(tmp_path / "free/artifact/activations.safetensors")
    assert any(not torch.equal(first[key], third[key]) for key in first)


def test_a_batch_larger_than_the_data_is_answered(tiny, tmp_path):
    with pytest.raises(ConfigError, match="There are 32 images to train on and a batch has 64"):
        go(replace(tiny, batch_size=64), tmp_path)


def test_convolutions_are_timed_in_training_alone(tiny, tmp_path, monkeypatch):
    seen = {"step": set(), "validation": set()}

    def noted(what, function):
        def call(*args, **kwargs):
            seen[what].add(torch.backends.cudnn.benchmark)
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(engine, "train_step", noted("step", engine.train_step))
    monkeypatch.setattr(engine, "measure", noted("validation", engine.measure))
    go(tiny, tmp_path)
    assert seen == {"step": {True}, "validation": {False}}
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.parametrize(("precision", "unit"), [("bf16", True), ("bf16", False), ("fp32", True)])
def test_in_bf16_small_maps_are_products_where_there_is_a_matrix_unit(monkeypatch, tmp_path, tiny, precision, unit):
    monkeypatch.setattr("training.step.has_matrix_unit", lambda device: unit)
    config = replace(tiny, host="resnet18_w16_cifar", precision=precision, validation=0, batch_size=2, epochs=0.05)
    parts = assemble(config, 10, World())
    expected = 3 if unit and precision == "bf16" else 0  # of the last stage, which has 128 channels
    for network in (parts.model, parts.measured):
        assert sum(isinstance(module, ProductConv2d) for module in network.modules()) == expected
    assert go(config, tmp_path / "run").reason == ""
    assert len(rows(tmp_path / "run")) >= 1


def test_a_host_that_cannot_see_the_images_is_refused_before_anything_is_kept(tiny, tmp_path):
    config = replace(tiny, host="vit_tiny_patch16_224", family="relu", arguments={})
    with pytest.raises(ConfigError, match=r"vit_tiny_patch16_224 fails on the images \(3, 32, 32\) of cifar10: .* "
                       "Expected a host that takes their size"):  # fmt: skip
        go(config, tmp_path)
    assert not (tmp_path / "checkpoint.safetensors").exists()
