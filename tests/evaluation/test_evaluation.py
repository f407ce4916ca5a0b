"""The evaluator on models whose answers are known, with attacks that cheat, and cut in the middle."""

import json
from dataclasses import replace
from functools import partial, wraps
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparta_hub.attacks import fgsm, mpgd, pgd
from sparta_hub.data import Images
from sparta_hub.errors import AttackError, DataError, ReportError
from sparta_hub.evaluation import Attack, Report, evaluate
from sparta_hub.identity import modules_sha256, state_sha256
from sparta_hub.processes import leave_processes
from sparta_hub.records import read_json
from sparta_hub.threat import ThreatModel
from tests.processes import FORKS

LINF = ThreatModel("linf", 8 / 255)


class Threshold(nn.Module):
    """Class 1 if the mean is above 127.5/255: under L∞ ε the grey value v is safe exactly if |v - 127.5| > 255·ε."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.seen += 1
        score = x.flatten(1).mean(1) - self.middle
        return torch.stack([-score, score], 1)


VALUES = [10, 119, 120, 127, 128, 135, 136, 250, 126, 20]
RIGHT = [True] * 9 + [False]  # the last has a wrong label
SAFE = [v not in (120, 127, 128, 135, 126) and right for v, right in zip(VALUES, RIGHT, strict=True)]


def grey(values=VALUES):
    x = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2).contiguous()
    y = torch.tensor([int(v > 127.5) for v in values])
    y[-1] = 1 - y[-1]
    return Images(x, y, "grey")


def small_net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))


def noise(count=23):
    x = torch.randint(0, 256, (count, 3, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    data = Images(x, torch.zeros(count, dtype=torch.int64), "noise")
    guessed = small_net()(data.floats(slice(None))).argmax(1)
    return replace(data, y=torch.where(torch.arange(count) % 7 == 3, (guessed + 1) % 4, guessed))


def pgd_attack(threat=LINF, **arguments):
    return Attack("pgd", pgd, threat, {"steps": 3, **arguments})


def run(attacks, model=None, data=None, **options):
    return evaluate(model or Threshold(), data or grey(), attacks, **{"batch_size": 4, "seed": 0, **options})


def shifted(amount):
    def shift(model, x, y, threat):
        return (x + amount).clamp(0, 1)

    return Attack(f"shift {amount:.3f}", shift, LINF)


def still(model, x, y, threat):
    return x


def outcome(report):
    """All but the seconds."""
    return replace(report.outcome, attacks=tuple(replace(tally, seconds=0) for tally in report.outcome.attacks))


def test_a_model_with_known_answers_gives_exact_accuracies():
    report = run([Attack("fgsm", fgsm, LINF), pgd_attack(), pgd_attack(replace(LINF, targeted=True))])
    assert list(report.outcome.correct) == RIGHT
    assert report.clean.percent == 90
    for i in range(3):
        assert list(report.robust_flags(i)) == SAFE
        assert list(report.outcome.attacks[i].attacked) == RIGHT
    assert report.worst_case.correct == sum(SAFE) == 4
    assert report.worst_case.percent == 40


def test_without_radius_robust_is_clean():
    report = run([pgd_attack(ThreatModel("linf", 0)), pgd_attack(ThreatModel("l2", 0))])
    assert report.robust_flags(0) == report.robust_flags(1) == report.outcome.correct


def test_worst_case_is_taken_for_each_image():
    up, down = shifted(LINF.eps), shifted(-LINF.eps)
    report = run([up, down])
    lost_to_up, lost_to_down = (tally.broken for tally in report.outcome.attacks)
    assert [VALUES[i] for i in range(10) if lost_to_up[i]] == [120, 127, 126]
    assert [VALUES[i] for i in range(10) if lost_to_down[i]] == [128, 135]
    assert (report.robust(0).percent, report.robust(1).percent, report.worst_case.percent) == (60, 70, 40)
    cascade = run([up, down], cascade=True)
    assert cascade.worst_case_flags == report.worst_case_flags == cascade.robust_flags(1)
    assert sum(cascade.outcome.attacks[1].attacked) == 9 - 3


@pytest.mark.parametrize(
    "cheat",
    [
        lambda model, x, y, threat: 1 - x,
        lambda model, x, y, threat: x + torch.where(x > 0.5, -1.01, 1.01) * threat.eps,
        lambda model, x, y, threat: x * float("nan"),
        lambda model, x, y, threat: (1 - x).clamp(0, 1),
        lambda model, x, y, threat: x.mul_(0).add_(0.5),  # moves what it was given, to hide how far it went
    ],
)
def test_an_attack_that_leaves_the_ball_breaks_nothing_and_is_reported(cheat):
    data = grey([10, 30, 220, 250, 127, 128, 120, 135, 90, 20])
    report = run([Attack("cheat", cheat, LINF)], data=data)
    (tally,) = report.outcome.attacks
    outside = [a and o for a, o in zip(tally.attacked, tally.outside, strict=True)]
    assert sum(outside) >= 4
    assert not any(b and o for b, o in zip(tally.broken, tally.outside, strict=True))
    assert report.outside == sum(outside)
    assert f"warning: {report.outside} attacked images lay outside the ball or the box" in report.table()


@pytest.mark.parametrize(("side", "outside"), [(-1, (True, False, False)), (1, (False, True, False))])
def test_an_attack_that_leaves_the_box_is_caught(side, outside):
    def beyond(model, x, y, threat):
        return x + side * threat.eps

    report = run([Attack("beyond", beyond, LINF)], data=grey([2, 252, 120]))
    assert report.outcome.attacks[0].outside == outside


def test_success_is_what_the_evaluator_sees_not_what_the_attack_saw():
    def flatters_itself(model, x, y, threat):
        """Switches the model to another one while it looks, and returns images that break only that."""
        model.train()
        with torch.no_grad():
            model.middle.fill_(1.0)
            claimed.append(bool((model(x).argmax(1) != y).any()))
            model.middle.fill_(0.5)
            model.seen.zero_()
        return x

    model, claimed = Threshold().eval(), []
    report = run([Attack("flatters", flatters_itself, LINF)], model)
    assert any(claimed)
    assert report.robust_flags(0) == report.outcome.correct
    assert not model.training
    assert model.seen == 0  # nor was a batch predicted in the mode the attack had left


def test_an_attack_that_changes_the_model_is_refused(tmp_path):
    def harm(model, x, y, threat):
        with torch.no_grad():
            model.middle.add_(0.01)
        return x

    with pytest.raises(AttackError, match="An attack changed the model's weights or statistics"):
        run([Attack("harm", harm, LINF)], out=tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("result", [torch.zeros(1), None])
def test_an_attack_that_gives_no_images_is_an_error(result):
    with pytest.raises(AttackError, match=r"bad gives .*; expected attacked images \(4, 3, 2, 2\)"):
        run([Attack("bad", lambda model, x, y, threat: result, LINF)])


def test_logits_that_are_not_finite_count_as_wrong_not_as_robust():
    class Hides(Threshold):
        def forward(self, x):
            return super().forward(x) / (x.flatten(1).mean(1, keepdim=True) < 0.9)

    assert run([], Hides()).outcome.correct[7] is False

    class Masks(Threshold):
        def forward(self, x):
            return torch.cat([super().forward(x), torch.full((len(x), 1), float("-inf"))], 1)

    assert list(run([], Masks()).outcome.correct) == RIGHT  # a class that is never chosen is no fault

    class Knows(Threshold):
        def forward(self, x):
            return torch.cat([super().forward(x), torch.full((len(x), 1), float("nan"))], 1)

    assert not any(run([], Knows()).outcome.correct)  # measured all the same: not all of its logits are NaN


class Noisy(Threshold):
    def forward(self, x):
        return super().forward(x) + 0.05 * torch.randn(len(x), 2)


def test_the_seed_decides_what_a_random_model_predicts():
    torch.manual_seed(1)
    first = run([pgd_attack()], Noisy())
    assert outcome(first) == outcome(run([pgd_attack()], Noisy()))
    assert any(outcome(first) != outcome(run([pgd_attack()], Noisy(), seed=seed)) for seed in range(1, 5))


def test_every_batch_has_random_numbers_of_its_own():
    drawn, predicted = [], []

    class Draws(Threshold):
        def forward(self, x):
            predicted.append(float(torch.rand(())))
            return super().forward(x)

    def note(model, x, y, threat, generator):
        drawn.append(float(torch.rand((), generator=generator)))
        return x

    run([], Draws())
    assert len({*predicted[1:]}) == 3  # before them one image was looked at
    run([Attack("note", note, LINF)])
    assert len({*drawn}) == len(drawn) == 3


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (small_net().half(), AttackError, r"weights are torch.float16; expected torch.float32: model.float\(\)"),
        (torch.jit.script(Threshold()), AttackError, r"scripted model takes no hooks.*nn.Sequential\(model\)"),
        (
            nn.Sequential(Threshold(), nn.Threshold(9e9, float("nan"))),
            AttackError,
            "All logits of the first image are NaN",
        ),
        (small_net().to("meta"), AttackError, "lies on the meta device and has no values; expected one with weights"),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(3, 2)),
            AttackError,
            r"fails on the first image \(1, 3, 2, 2\) of grey: mat1 and mat2.*Expected one that takes images",
        ),
    ],
)
def test_a_model_that_cannot_be_measured_is_refused_in_words(model, error, message):
    with pytest.raises(error, match=message):
        run([], model)


def test_the_report_goes_to_a_file_and_not_onto_a_folder(tmp_path):
    run([], out=str(tmp_path / "report.json"))
    assert (tmp_path / "report.json").is_file()
    with pytest.raises(ReportError, match="out is .*, which is a folder; expected a file .*such as .*report.json"):
        run([], out=tmp_path)


@pytest.mark.parametrize("steps", [1, 5])
def test_passes_are_counted_exactly(steps):
    report = run([pgd_attack(steps=steps), Attack("fgsm", fgsm, LINF), shifted(0.01)], data=noise(), model=small_net())
    attacked = sum(report.outcome.correct)
    assert 0 < attacked < 23
    first, second, third = report.outcome.attacks
    assert (first.forwards, first.backwards) == (steps * attacked, steps * attacked)
    assert (second.forwards, second.backwards) == (attacked, attacked)
    assert (third.forwards, third.backwards) == (0, 0)


def test_targets_are_wrong_classes_and_depend_on_the_seed_alone():
    seen = []

    def note(model, x, y, threat):
        seen[-1].append(y)
        return x

    attack, data = Attack("note", note, replace(LINF, targeted=True)), noise()
    right = torch.tensor(run([], small_net(), data).outcome.correct)
    for options in ({}, {"batch_size": 9}, {"limit": 15}, {"seed": 1}):
        seen.append([])
        run([attack], small_net(), data, **options)
    a, b, c, d = (torch.cat(targets) for targets in seen)
    assert (a != data.y[right]).all()
    assert torch.equal(a, b)
    assert torch.equal(a[: len(c)], c)
    assert not torch.equal(a, d)


def test_the_same_seed_gives_the_same_report_and_nothing_global_is_moved():
    def sloppy(model, x, y, threat):
        return threat.project(x + threat.eps * torch.randn_like(x), x)

    attacks = [Attack("sloppy", sloppy, replace(LINF, eps=0.2)), pgd_attack(replace(LINF, eps=0.1), steps=1)]
    model, data = small_net(), noise()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = run(attacks, model, data)
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    second = run(attacks, model, data)
    alone = run(attacks[1:], model, data)
    assert outcome(first) == outcome(second)
    assert outcome(alone).attacks[0] == outcome(first).attacks[1]  # whatever runs beside it


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was_found(fails):
    def attack(model, x, y, threat):
        if fails:
            raise RuntimeError("boom")
        return pgd(model, x, y, threat, steps=2)

    model = nn.Sequential(Threshold(), nn.Dropout()).train()
    model[1].eval()
    model[0].middle.requires_grad_(False)
    before = state_sha256(model)
    if fails:
        with pytest.raises(RuntimeError, match="boom"):
            run([Attack("a", attack, LINF)], model)
    else:
        run([Attack("a", attack, LINF)], model)
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert not model[0].middle.requires_grad
    assert not model._forward_hooks
    assert state_sha256(model) == before


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path):
    attacks = [pgd_attack(replace(LINF, eps=0.1)), Attack("fgsm", fgsm, LINF)]
    whole = run(attacks, small_net(), noise())
    calls = []

    @wraps(pgd)
    def interrupted(model, x, y, threat, *, steps, generator):
        calls.append(len(x))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pgd(model, x, y, threat, steps=steps, generator=generator)

    attacks[0] = replace(attacks[0], function=interrupted)
    out = tmp_path / "runs" / "report.json"
    with pytest.raises(KeyboardInterrupt):
        run(attacks, small_net(), noise(), out=out)
    assert [path.name for path in out.parent.iterdir()] == ["report.json.part0"]
    resumed = run(attacks, small_net(), noise(), out=out)
    assert len(calls) == 3 + 4  # six batches, two of them done before
    assert (resumed.protocol, outcome(resumed), resumed.provenance) == (
        whole.protocol, outcome(whole), whole.provenance,
    )  # fmt: skip
    assert [path.name for path in out.parent.iterdir()] == ["report.json"]
    again = run(attacks, small_net(), noise(), out=out)
    assert len(calls) == 7
    assert again == resumed


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_attacks_run_on_is_chosen_once_on_a_machine(tmp_path, elsewhere):
    """The choice of a long attack takes as long as batches do; one interrupted right after it keeps it."""
    whole = run([pgd_attack(LINF)], small_net(), noise(), speed="fast")
    calls, stop_at = [], 0

    @wraps(pgd)
    def counting(model, x, y, threat, *, steps, generator):
        calls.append(model)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        return pgd(model, x, y, threat, steps=steps, generator=generator)

    out, attacks = tmp_path / "report.json", [replace(pgd_attack(LINF), function=counting)]
    run(attacks, small_net(), noise(), speed="fast")
    sampled = len(calls) - 6  # batches, of 23 images 4 at a time
    assert sampled >= 2  # on the model, and on a copy of it
    calls, stop_at = [], sampled + 1
    with pytest.raises(KeyboardInterrupt):
        run(attacks, small_net(), noise(), speed="fast", out=out)
    part = out.with_name("report.json.part0")
    if elsewhere:
        part.write_text(part.read_text().replace('"hardware": "', '"hardware": "another '))
    calls, stop_at = [], 0
    model = small_net()
    resumed = run(attacks, model, noise(), speed="fast", out=out)
    assert len(calls) == 6 + (sampled if elsewhere else 0)
    assert not any(on is model for on in calls[-6:])  # but its copy
    assert outcome(resumed) == outcome(whole)
    assert resumed.provenance[-1] == whole.provenance[0]


def test_where_batches_were_evaluated_stays_with_them(tmp_path):
    calls, part = [], tmp_path / "report.json.part0"

    @wraps(still)
    def interrupted(model, x, y, threat):
        calls.append(len(x))
        if len(calls) in (2, 4):
            raise KeyboardInterrupt
        return x

    attacks = [Attack("twice", interrupted, LINF)]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(attacks, out=tmp_path / "report.json")
        if len(calls) == 2:
            part.write_text(json.dumps(json.loads(part.read_text()) | {"provenance": [{"hardware": "another"}]}))
    first, second = run(attacks, out=tmp_path / "report.json").provenance
    assert len(calls) == 2 + 2 + 1, "three batches, none of them twice"
    assert first == {"hardware": "another"}
    assert second["torch"] == torch.__version__


def other_weights():
    model = small_net()
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    return model


def other_modules():
    return nn.Sequential(*(nn.GELU() if isinstance(part, nn.ReLU) else part for part in small_net()))


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": other_weights()}, "weights_sha256 is '.*' there and '.*' here"),
        ({"model": other_modules()}, "modules_sha256 is"),
        ({"data": replace(noise(), y=(noise().y + 1) % 4)}, "data_sha256 is"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"batch_size": 5}, "batch_size is 4 there and 5 here"),
        ({"limit": 5}, "images is 23 there and 5 here"),
        (
            {"model": nn.Sequential(*small_net()[:2], nn.AdaptiveAvgPool2d((1, 1)), *small_net()[3:])},
            "modules_sha256 is",
        ),
        ({"attacks": [pgd_attack(steps=4)]}, "steps of pgd is 3 there and 4 here"),
        ({"attacks": [pgd_attack(replace(LINF, eps=0.1))]}, "the threat of pgd is ThreatModel.*eps=0.031.*eps=0.1"),
        ({"attacks": [Attack("fgsm", fgsm, LINF)]}, r"attacks is \['pgd'\] there and \['fgsm'\] here"),
        (
            {"attacks": [Attack("pgd", mpgd, LINF, {"steps": 3})]},
            r"the function of pgd is 'sparta_hub.attacks.pgd.pgd' there and 'sparta_hub.attacks.mpgd.mpgd' here",
        ),
    ],
)
def test_another_model_data_set_or_setting_is_refused(tmp_path, change, message, finished):
    arguments = {"attacks": [pgd_attack()], "model": small_net(), "data": noise(), "out": tmp_path / "report.json"}
    run(**arguments)
    if not finished:
        report = json.loads((tmp_path / "report.json").read_text())
        part = {"format": "sparta-hub evaluation in progress", "batches": {}}
        part |= {key: report[key] for key in ("format_version", "protocol", "provenance")}
        (tmp_path / "report.json.part0").write_text(json.dumps(part))
        (tmp_path / "report.json").unlink()
    with pytest.raises(ReportError, match=f"report.json.* holds another evaluation: .*{message}.*Choose another name"):
        run(**arguments | change)


def test_a_damaged_part_is_refused(tmp_path):
    (tmp_path / "report.json.part0").write_text('{"format"')
    with pytest.raises(ReportError, match="part0 cannot be read as JSON .*delete it to begin again"):
        run([], out=tmp_path / "report.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "sparta-hub evaluation"},
            "format is 'sparta-hub evaluation'; expected 'sparta-hub evaluation in pr",
        ),
        ({"batches": []}, r"part0 holds no batches, but \[\]; delete it to begin again"),
        ({"provenance": {}}, "part0 holds no batches"),
        ({"batches": {"3": None}}, "part0 names a batch '3' that there is not; delete it to begin again"),
        ({"batches": {"first": None}}, "names a batch 'first' that there is not"),
    ],
)
def test_a_part_that_holds_something_else_is_refused(tmp_path, change, message):
    protocol = run([], limit=9, batch_size=3).to_json()["protocol"]
    part = {"format": "sparta-hub evaluation in progress", "format_version": 1, "protocol": protocol}
    (tmp_path / "report.json.part0").write_text(json.dumps(part | {"batches": {}, "provenance": []} | change))
    with pytest.raises(ReportError, match=message):
        run([], limit=9, batch_size=3, out=tmp_path / "report.json")


def one_of_two(rank, folder, queue, attacks):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    try:
        report = run(attacks, small_net(), noise(), out=folder / "report.json")
        queue.put((rank, report.to_json()))
        with pytest.raises(Exception, match="process 1 stopped: AttackError" if rank == 0 else "fails gives"):
            run([Attack("fails", fails_in_the_second, LINF)], small_net(), noise())
        data = noise() if rank == 0 else replace(noise(), y=noise().y + 9)
        with pytest.raises(
            Exception, match="process 1 stopped: DataError" if rank == 0 else "expected the same number"
        ):
            run([], small_net(), data)
        if rank == 0:
            (folder / "damaged.json").write_text("{")
        with pytest.raises(Exception, match="cannot be read" if rank == 0 else "process 0 stopped: ReportError"):
            run([], small_net(), noise(), out=folder / "damaged.json")
        queue.put((rank, "both stopped"))
    finally:
        leave_processes()


def fails_in_the_second(model, x, y, threat) -> Any:
    return x if torch.distributed.get_rank() == 0 else None


def test_two_processes_give_the_flags_of_one(tmp_path):
    attacks = [pgd_attack(replace(LINF, eps=0.1)), Attack("fgsm", fgsm, LINF)]
    one = run(attacks, small_net(), noise())
    queue = FORKS.Queue()
    processes = [FORKS.Process(target=one_of_two, args=(rank, tmp_path, queue, attacks)) for rank in range(2)]
    try:
        for process in processes:
            process.start()
        messages = [queue.get(timeout=90) for _ in range(4)]
        for process in processes:
            process.join(30)
    finally:
        for process in processes:
            process.kill()
    reports = [Report.from_json(message) for _, message in messages if message != "both stopped"]
    assert len(reports) == 2
    for report in [*reports, Report.from_json(json.loads((tmp_path / "report.json").read_text()))]:
        assert report.protocol == one.protocol
        assert outcome(report) == outcome(one)
        assert report.provenance[0]["processes"] == 2
    assert not list(tmp_path.glob("*.part*"))


def test_classes_of_model_and_data_must_agree():
    with pytest.raises(
        DataError, match="The model gives 4 logits and cifar10 has 10 classes; expected the same number"
    ):
        run([], small_net(), replace(noise(), name="cifar10"))
    with pytest.raises(DataError, match="The model gives 4 logits and noise has 6 classes"):
        run([], small_net(), replace(noise(), y=noise().y + 2))
    with pytest.raises(AttackError, match=r"The model gives \(1, 3, 6, 6\) for 1 images; expected logits"):
        run([], nn.Identity(), noise())
    with pytest.raises(DataError, match="The model gives 4 logits and noise has"):
        run([], small_net(), replace(noise(), y=noise().y - 9))
    form = r"The model gives \({}\) for 1 images; expected logits \(1, 2 classes or more\)"
    with pytest.raises(AttackError, match=form.format("1, 1")):
        run([], nn.Sequential(nn.Flatten(), nn.Linear(12, 1)))
    with pytest.raises(AttackError, match=form.format("2, 2")):
        run([], nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Unflatten(1, (2, 2)), nn.Flatten(0, 1)))
    for few in ({"limit": 0}, {"batch_size": 0}):
        with pytest.raises(
            DataError, match=r"There are 10 images, batch_size=\d, sample=64, limit=.*; expected 1 or more"
        ):
            run([], **few)
    nothing = Images(torch.zeros(0, 3, 2, 2, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), "nothing")
    with pytest.raises(DataError, match="There are 0 images"):
        evaluate(Threshold(), nothing, [], batch_size=4, seed=0)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ({"batch_size": 4.0}, "batch_size is 4.0; expected a whole number"),
        ({"batch_size": "4"}, "batch_size is '4'; expected a whole number"),
        ({"seed": None}, "seed is None; expected a whole number"),
        ({"limit": 2.0}, "limit is 2.0; expected a whole number"),
        ({"sample": True}, "sample is True; expected a whole number"),
    ],
)
def test_numbers_that_are_none_are_refused(number, message):
    with pytest.raises(DataError, match=message):
        run([], **number)


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (("pgd", "pgd", LINF), "pgd has the function 'pgd'; expected one, such as sparta_hub.attacks.pgd"),
        (("pgd", pgd, 8 / 255), r"pgd has the threat 0.03137.*; expected ThreatModel\('linf', 8 / 255\)"),
        (("pgd", pgd, LINF, {"stepz": 3}), "pgd has the argument 'stepz'; its function takes steps, step_size"),
        (("fgsm", fgsm, LINF, {"steps": 3}), "fgsm has the argument 'steps'; its function takes loss"),
    ],
)
def test_an_attack_that_cannot_be_called_is_refused_before_it_is_needed(attack, message):
    with pytest.raises(AttackError, match=message):
        Attack(*attack)


def test_a_function_that_takes_anything_gets_it():
    def shift(model, x, y, threat, **arguments):
        return x + arguments["by"]

    report = run([Attack("shift", shift, LINF, {"by": 0.01})])
    assert report.robust_flags(0) == tuple(
        right and not 125 <= v <= 127 for v, right in zip(VALUES, RIGHT, strict=True)
    )


def test_arguments_must_be_plain_so_that_the_record_can_hold_them():
    arguments: Any = {"loss": nn.functional.cross_entropy}
    with pytest.raises(AttackError, match="pgd has the argument 'loss' = <function"):
        run([Attack("pgd", pgd, LINF, arguments)])


def test_reports_come_back_from_json_and_nothing_else_does():
    report = run([pgd_attack(step_size=0.01), Attack("fgsm", fgsm, ThreatModel("l2", 1.0))])
    text = json.dumps(report.to_json())
    assert Report.from_json(json.loads(text)) == report
    before = json.loads(text)
    del before["protocol"]["speed"]  # a record from before there was a choice
    assert Report.from_json(before) == report
    assert json.loads(text)["outcome"]["correct"] == "ff80"
    versions = json.loads(text)["provenance"][0]
    assert versions["torch"] == torch.__version__
    assert {"sparta_hub", "python", "hardware", "commit", "processes"} <= versions.keys()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("format_version",), 2, "format_version is 2; this sparta-hub reads 1"),
        (("format",), "other", "format is 'other'; expected 'sparta-hub evaluation'"),
        (("extra",), 1, "the report has unknown keys"),
        (("protocol", "images"), "10", "protocol.images is '10'; expected an integer"),
        (("protocol", "images"), 0, "protocol.images is 0; expected an integer, and at least 1"),
        (("protocol", "cascade"), 0, "protocol.cascade is 0; expected true or false"),
        (("protocol", "speed"), "quick", "protocol.speed is 'quick'; expected one of exact, fast, compiled"),
        (("protocol", "attacks", 0, "threat", "eps"), -1, "An attack is described as .*eps is -1"),
        (("protocol", "attacks", 0, "threat", "eps"), "8", "A threat is .*expected a number eps"),
        (("protocol", "attacks", 0, "threat", "targeted"), 0, "A threat is .*and targeted true or false"),
        (("protocol", "attacks", 0, "function"), 5, "The function of an attack is 5; expected a text"),
        (("outcome", "correct"), "ff", "correct is 'ff'; expected 10 bits, as 4 hexadecimal digits"),
        (("outcome", "correct"), "ffff", "expected 10 bits"),
        (("outcome", "correct"), "zz00", "expected 10 bits"),
        (("outcome", "correct"), "0180", "attacked though it was misclassified"),
        (("outcome", "attacks", 0, "attacked"), "0000", "An image that was not attacked is broken"),
        (("outcome", "attacks", 0, "broken"), "0000", "but the flags of the images amount to"),
        (("outcome", "attacks", 0, "outside"), "0040", "An image that was not attacked is broken, or one whose attack"),
        (("outcome", "attacks", 0, "outside"), "2000", "or one whose attack left the ball is"),
        (("outcome", "attacks", 0, "forwards"), -1, "forwards is -1; expected a number >= 0"),
        (("outcome", "attacks", 0, "forwards"), 1.5, "forwards is 1.5; expected a number >= 0"),
        (("outcome", "attacks", 0, "backwards"), 10**18, "backwards is 10+; expected a number >= 0"),
        (("outcome", "attacks"), [], "expected a list of 1"),
        (("summary", "worst_case", "percent"), 99.0, "The summary says"),
        (("provenance",), {}, "provenance is {}; expected a list"),
        (("provenance",), ["here"], "provenance is .*; expected a list of objects"),
    ],
)
def test_a_wrong_record_is_refused(place, value, message):
    record = run([pgd_attack()]).to_json()
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(ReportError, match=message):
        Report.from_json(record)


def test_export_for_robustbench():
    who: Any = {"link": "https://x", "name": "N", "authors": "A", "venue": "V"}
    entry = run([pgd_attack()]).to_model_info(**who, architecture="ResNet-18", additional_data=False)
    assert entry == {
        **who,
        "dataset": "grey", "architecture": "ResNet-18", "eps": "8/255", "clean_acc": "90.00", "reported": "40.00",
        "additional_data": False, "number_forward_passes": 1, "autoattack_acc": None, "unreliable": False,
        "footnote": "First 10 test images; worst case of pgd(steps=3), Linf 8/255.",
        "corruptions_acc": None, "external": None,
    }  # fmt: skip
    automatic = run([replace(pgd_attack(ThreatModel("l2", 0.5)), name="autoattack")])
    entry = automatic.to_model_info(**who, architecture="R", additional_data=True, external=12.3)
    assert (entry["eps"], entry["autoattack_acc"], entry["external"]) == ("0.5", entry["reported"], "12.30")
    faulty = [replace(pgd_attack(), name="thesis-aa"), Attack("far", lambda model, x, y, threat: 1 - x, LINF)]
    entry = run(faulty).to_model_info(**who, architecture="R", additional_data=True, reported=50.5)
    assert (entry["autoattack_acc"], entry["reported"], entry["unreliable"]) == ("40.00", "50.50", True)
    with pytest.raises(ReportError, match="The report has Linf 8/255 targeted; an entry of RobustBench"):
        run([pgd_attack(replace(LINF, targeted=True))]).to_model_info(**who, architecture="R", additional_data=False)


def test_checksums_tell_what_differs_and_nothing_else():
    model = small_net()
    assert state_sha256(model) == state_sha256(small_net().to(memory_format=torch.channels_last))
    assert state_sha256(model) != state_sha256(other_weights())
    assert state_sha256(model) == state_sha256(other_modules())
    assert modules_sha256(model) != modules_sha256(other_modules())


def with_buffer(value):
    model = small_net()
    model.register_buffer("mean", torch.tensor(value), persistent=False)
    return model


def with_function(function):
    model = small_net()
    model.act = function
    return model


def test_what_no_state_dict_has_is_told_apart_too():
    assert state_sha256(with_buffer(0.4)) == state_sha256(with_buffer(0.5))
    assert modules_sha256(with_buffer(0.4)) != modules_sha256(with_buffer(0.5))
    assert modules_sha256(with_buffer(0.4)) == modules_sha256(with_buffer(0.4))
    acts = [F.relu, F.gelu, torch.relu, partial(F.gelu, approximate="tanh"), partial(F.leaky_relu, negative_slope=0.1),
            partial(F.leaky_relu, negative_slope=0.2), lambda x: x.clamp(0), lambda x: x.clamp(0, 6)]  # fmt: skip
    assert len({modules_sha256(with_function(act)) for act in acts}) == len(acts)
    assert len({modules_sha256(with_function(scaled_by(0.5).function)) for _ in range(2)}) == 1


class Moving:
    def __init__(self, amount):
        self.amount = amount

    def __call__(self, model, x, y, threat):
        return (x + self.amount).clamp(0, 1)

    move = __call__


def scaled_by(factor):
    return Attack("scaled", lambda model, x, y, threat: (x * factor).clamp(0, 1), LINF)


def through(network):
    return Attack("through", lambda model, x, y, threat: pgd(network, x, y, threat, steps=1), LINF)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (shifted(0.01), replace(shifted(0.02), name="shift 0.010"), "the function of shift 0.010 is '.* there and"),
        (scaled_by(0.9), scaled_by(0.8), "the function of scaled is"),
        (through(with_buffer(0.4)), through(with_buffer(0.5)), "the function of through is"),
        (
            Attack("pgd", partial(pgd, steps=3), LINF),
            Attack("pgd", partial(pgd, steps=4), LINF),
            "steps of pgd is 3 there and 4 here",
        ),
        (
            Attack("pgd", partial(pgd, steps=3), LINF, {"steps": 2}),
            Attack("pgd", partial(pgd, steps=2), LINF, {"steps": 3}),
            "steps of pgd is 2 there and 3 here",
        ),
    ],
)
def test_an_attack_is_known_by_what_it_does(tmp_path, first, second, message):
    out = tmp_path / "report.json"
    model = small_net()
    report = run([first], model, noise(), out=out)
    assert run([first], model, noise(), out=out) == report
    with pytest.raises(ReportError, match=message):
        run([second], model, noise(), out=out)
    assert report.protocol == Report.from_json(read_json(out)).protocol


@pytest.mark.parametrize(
    ("function", "held"),
    [(Moving(0.1), "Moving"), (Moving(0.1).move, "Moving"), (partial(Moving(0.1)), "Moving")],
)
def test_an_attack_that_no_record_can_name_keeps_no_record(tmp_path, function, held):
    attack = Attack("moving", function, LINF)
    assert run([attack]).robust_flags(0)
    message = rf"The function of moving holds a {held}, so the evaluation in .*report.json could not be told"
    with pytest.raises(AttackError, match=message):
        run([attack], out=tmp_path / "report.json")
    assert not list(tmp_path.iterdir())


def test_an_attack_that_keeps_a_list_keeps_no_record(tmp_path):
    def keeping(model, x, y, threat):
        seen.append(len(x))
        return x

    seen = []
    with pytest.raises(AttackError, match="The function of keeping holds a list, so"):
        run([Attack("keeping", keeping, LINF)], out=tmp_path / "report.json")


def test_arguments_are_finite():
    with pytest.raises(AttackError, match="pgd has the argument step_size = nan; expected a finite number"):
        run([pgd_attack(step_size=float("nan"))])


def test_a_partial_call_with_the_model_in_it_is_refused():
    with pytest.raises(AttackError, match=r"pgd has a partial call with Sequential.* in front; expected keywords"):
        Attack("pgd", partial(pgd, small_net()), LINF)


def test_an_attack_that_changes_what_is_not_saved_is_refused():
    def harm(model, x, y, threat):
        model.mean.add_(0.01)
        return x

    with pytest.raises(AttackError, match="An attack changed the model's weights or statistics"):
        run([Attack("harm", harm, LINF)], with_buffer(0.4), noise())


def test_the_table_and_the_bar(capsys):
    report = run([pgd_attack(), shifted(0.01)], progress=True)
    bar = capsys.readouterr()
    assert bar.out == ""
    assert "robust 40.0 %" in bar.err
    lines = report.table().splitlines()
    assert lines[0].split() == ["clean", "90.0", "%", "[59.6,", "98.2]"]
    assert "pgd(steps=3), Linf 8/255" in lines[1]
    assert "3 forward, 3 backward" in lines[1]
    assert lines[3].startswith("worst case of each image  ")
    both = run([pgd_attack(), pgd_attack(ThreatModel("l2", 0.5, targeted=True)), shifted(0.01)]).table()
    assert both.splitlines()[4].startswith("worst case of each image, over Linf 8/255 and L2 0.5 targeted  ")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("sparta-res18-cifar", grey(), []), AttackError, "model is 'sparta-res18-cifar'; expected a network"),
        ((Threshold(), "cifar10", []), DataError, r"data is 'cifar10'; expected Images: .*load_images\('cifar10'"),
        ((Threshold(), [(1, 2)], []), DataError, r"data is \[\(1, 2\)\]; expected Images"),
        ((Threshold(), grey(), "pgd"), AttackError, r"attacks is 'pgd'; expected a list of Attack\(name, function"),
        ((Threshold(), grey(), ["pgd"]), AttackError, r"attacks is \['pgd'\]; expected a list of Attack"),
        ((Threshold(), grey(), pgd_attack()), AttackError, "attacks is Attack.*; expected a list of Attack"),
    ],
)
def test_what_is_of_another_kind_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        evaluate(*arguments, batch_size=2, seed=0)


def test_an_output_that_cannot_be_written_is_found_out_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    calls = []

    @wraps(still)
    def counting(model, x, y, threat):
        calls.append(1)
        return x

    with pytest.raises(OSError, match="file"):
        run([Attack("still", counting, LINF)], out=tmp_path / "file" / "report.json")
    assert not calls
