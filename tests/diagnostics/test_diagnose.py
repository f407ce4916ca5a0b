"""Honest networks pass, planted fakes do not."""

import copy
import json
from typing import Any

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.diagnostics import CHECKS, Diagnosis, diagnose
from sparta_hub.diagnostics._probes import probe
from sparta_hub.errors import AttackError, DataError, ReportError
from sparta_hub.evaluation import Report
from sparta_hub.identity import state_sha256
from sparta_hub.injected import InjectedActivation
from sparta_hub.seeds import global_seed
from tests.diagnostics.networks import (
    IMAGES,
    THREAT,
    DetachedGate,
    MixesBatch,
    Noise,
    Quantise,
    Scale,
    ShatteredGate,
    with_gate,
)

HONEST = ("undefended", "robust", "gated", "sparta")


def looked_at(model, images, *, twin=None, quick=True, limit=IMAGES, batch_size=IMAGES, **kwargs):
    return diagnose(model, images, THREAT, limit=limit, batch_size=batch_size, twin=twin, quick=quick, **kwargs)


def verdicts(diagnosis):
    return {finding.name: finding.verdict for finding in diagnosis.findings}


@pytest.fixture
def network(request):
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("network", HONEST, indirect=True)
@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_honest_networks_have_nothing_suspect(network, images, undefended, quick):
    found = looked_at(network, images, twin=undefended, quick=quick)
    e = found.evidence
    assert found.suspect == (), found.table()
    assert e.right >= 35
    assert found.worst_case < e.report.clean.percent - 10  # the radius is one at which attacks do something
    cost = sum(tally.backwards for tally in e.report.outcome.attacks) / e.right
    assert cost <= (137 if quick else 917) + (20 if quick else 100) * ("gate frozen" in e.roles)  # as documented
    gates = "ok" if isinstance(network[4], InjectedActivation) else "not applicable"
    assert verdicts(found) == dict.fromkeys(CHECKS, "ok") | {"gate detached": gates, "gate frozen": gates}


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_saturated_logits_are_caught(undefended, images, quick):
    found = looked_at(nn.Sequential(undefended, Scale()), images, quick=quick)
    assert {"logit scale", "zero gradients", "radius"} <= set(found.suspect)
    scale = next(finding for finding in found.findings if finding.name == "logit scale")
    assert scale.figures["images of probability 1"] > 0.9 * scale.figures["of images"]  # but for a near tie
    assert scale.figures["accuracy"] < scale.figures["accuracy under the others"] - 10


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_quantised_input_is_caught(robust, images, quick):
    found = looked_at(nn.Sequential(Quantise(), robust), images, twin=robust, quick=quick)
    assert {"zero gradients", "radius", "transfer"} | (set() if quick else {"black box"}) <= set(found.suspect)
    assert found.evidence.probes.zero_values == 1


class Bytes(nn.Module):
    """Rounds to bytes, which cuts the images out of the graph."""

    def forward(self, x):
        return (x * 15).byte().float() / 15


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_model_without_any_gradient_is_caught(robust, images, quick):
    found = looked_at(nn.Sequential(Bytes(), robust), images, twin=robust, quick=quick)
    assert {"zero gradients", "radius", "transfer"} <= set(found.suspect)
    assert found.evidence.report.protocol.model == "Sequential"


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_noise_is_caught_and_the_global_state_is_left_alone(robust, images, quick):
    state = torch.get_rng_state()
    found = looked_at(nn.Sequential(Noise(), robust), images, quick=quick)
    assert "randomness" in found.suspect
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("first", [MixesBatch(), nn.BatchNorm2d(3, track_running_stats=False)], ids=["mean", "norm"])
def test_images_that_decide_on_each_other_are_caught(robust, images, first):
    found = looked_at(nn.Sequential(first, robust), images, limit=10)
    assert "randomness" in found.suspect
    assert "in halves of the batch, differ" in found.table()


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_gate_that_shatters_the_gradient_is_caught_by_attacks_that_leave_it_out(gated, images, quick):
    found = looked_at(with_gate(gated, ShatteredGate), images, quick=quick)
    assert {"gate detached", "gate frozen", "radius"} <= set(found.suspect)
    assert abs(found.evidence.report.clean.percent - looked_at(gated, images).evidence.report.clean.percent) < 5


def test_a_gate_that_detaches_everything_is_caught(gated, images):
    assert {"zero gradients", "radius"} <= set(looked_at(with_gate(gated, DetachedGate), images).suspect)


def test_a_network_that_is_never_right_has_nothing_to_be_asked(images):
    class Wrong(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10] * 0 + nn.functional.one_hot(absent, 10)

    absent = torch.tensor(min({*range(10)} - {*images.y[:5].tolist()}))
    found = looked_at(Wrong(), images, limit=5)
    assert set(verdicts(found).values()) == {"ok", "not applicable"}
    assert verdicts(found)["randomness"] == "ok"
    assert "No image is right without attack." in found.table()


def test_l2_balls_and_batches_that_do_not_divide(robust, images):
    found = diagnose(robust, images, ThreatModel("l2", 1.0), limit=7, batch_size=3, quick=True)
    largest = found.evidence.threat(found.evidence.roles["radius"][-1])
    assert largest.eps == pytest.approx(0.5 * 3072**0.5)  # a grey image is within reach of every image
    assert found.suspect == ()


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.0), ThreatModel(targeted=True)], ids=str)
def test_threats_that_make_no_sense_here(robust, images, threat):
    with pytest.raises(AttackError, match="expected an untargeted one with a radius above 0"):
        diagnose(robust, images, threat)


def test_a_model_that_gives_no_logits_is_refused_in_words(images):
    class Pair(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :10], x

    with pytest.raises(AttackError, match=r"gives tuple for 1 images; expected logits"):
        looked_at(Pair(), images, limit=2)


def test_there_must_be_something_to_look_at(robust, images):
    with pytest.raises(DataError, match="expected 1 or more"):
        looked_at(robust, images, limit=0)
    with pytest.raises(DataError, match="expected 1 or more"):
        looked_at(robust, images, limit=2, batch_size=0)


def test_record_plot_and_resumption(undefended, robust, images, tmp_path, capsys):
    found = looked_at(robust, images, twin=undefended, limit=8, out=tmp_path, progress=True, name="small")
    assert "gate" not in capsys.readouterr().err  # no such attack where there is no gate
    record = json.loads((tmp_path / "diagnosis.json").read_text())
    assert Diagnosis.from_json(record) == found
    assert {"commit", "torch", "hardware"} <= record["evaluation"]["provenance"][0].keys()
    assert Report.from_json(json.loads((tmp_path / "evaluation.json").read_text())) == found.evidence.report
    assert (tmp_path / "diagnosis.png").stat().st_size > 10_000
    again = looked_at(robust, images, twin=undefended, limit=8, out=tmp_path, name="small")
    assert again == found  # seconds and all: nothing was measured anew
    with pytest.raises(ReportError, match="holds another evaluation: twin of transfer is"):
        looked_at(robust, images, twin=robust, limit=8, out=tmp_path, name="small")
    other = nn.Sequential(*(nn.GELU() if isinstance(part, nn.ReLU) else part for part in undefended))
    assert state_sha256(other) == state_sha256(undefended)
    with pytest.raises(ReportError, match="holds another evaluation: the function of transfer is"):
        looked_at(robust, images, twin=other, limit=8, out=tmp_path, name="small")


class Beside(nn.Module):
    """A network with two more classes, whose logits are no finite numbers."""

    def __init__(self, network, values):
        super().__init__()
        self.network, self.values = network, values

    def forward(self, x):
        return torch.cat([self.network(x), torch.tensor(self.values).expand(len(x), 2)], 1)


@pytest.mark.parametrize("values", [(-float("inf"), -float("inf")), (-float("inf"), float("nan"))])
def test_logits_without_end_do_not_hide_noise(robust, images, values):
    parts = [(images.floats(slice(8)), images.y[:8])]
    assert probe(Beside(robust, values), parts).change == 0
    with global_seed(0):
        assert probe(Beside(nn.Sequential(Noise(), robust), values), parts).change > 0.01


def test_nothing_but_nan_is_no_noise(images):
    parts = [(images.floats(slice(8)), images.y[:8])]
    linear = nn.Linear(parts[0][0][0].numel(), 10)
    nn.init.constant_(linear.weight, float("nan"))
    assert probe(nn.Sequential(nn.Flatten(), linear), parts).change == 0


def test_any_seed_will_do(undefended, images):
    assert looked_at(undefended, images, limit=2, seed=10**30).evidence.report.protocol.seed == 10**30


def test_arguments_of_another_kind_are_refused(undefended, images):
    radius: Any = 0.1
    name: Any = "cifar10"
    with pytest.raises(AttackError, match=r"threat is 0.1; expected ThreatModel\('linf', 8 / 255\), for example"):
        diagnose(undefended, images, radius)
    with pytest.raises(DataError, match="data is 'cifar10'; expected Images: "):
        diagnose(undefended, name, THREAT)
    with pytest.raises(AttackError, match="model is 'cifar10'; expected a network"):
        diagnose(name, images, THREAT)
    with pytest.raises(AttackError, match="twin is 'cifar10'; expected a network"):
        diagnose(undefended, images, THREAT, twin=name)
    with pytest.raises(DataError, match="batch_size is 'cifar10'; expected a whole number"):
        diagnose(undefended, images, THREAT, batch_size=name)
    with pytest.raises(AttackError, match="weights are torch.float16; expected torch.float32"):
        diagnose(copy.deepcopy(undefended).half(), images, THREAT)


def test_a_twin_of_another_task_is_refused(undefended, images):
    other = nn.Sequential(nn.Flatten(), nn.Linear(images.x[0].numel(), 7))
    with pytest.raises(DataError, match=r"The twin gives 7 logits and the model \d+; expected a twin of the same task"):
        diagnose(undefended, images, THREAT, twin=other)
