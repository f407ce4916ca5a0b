"""The two attacks that the demo and the first training need, by value on a linear model."""

import pytest
import torch
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.attacks import fgsm, pgd
from sparta_hub.errors import AttackError


class TwoClasses(nn.Module):
    """Logits (w·x, -w·x): the worst L∞ point of class 0 is ``x - ε·sign(w)``, cut with the box."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(12, dtype=torch.float64))
        self.bn = nn.BatchNorm1d(2, dtype=torch.float64)

    def forward(self, x):
        score = x.flatten(1) @ self.w
        return self.bn(torch.stack([score, -score], 1))


@pytest.fixture
def problem():
    model = TwoClasses().train()
    return model, torch.rand(6, 3, 2, 2, dtype=torch.float64), torch.zeros(6, dtype=torch.long)


def optimum(model, x, threat):
    return (x - threat.eps * model.w.detach().sign().view(3, 2, 2)).clamp(0, 1)


def test_fgsm_and_pgd_reach_the_exact_linf_optimum(problem):
    model, x, y = problem
    threat = ThreatModel("linf", 0.1)
    best = optimum(model, x, threat)
    assert torch.allclose(fgsm(model, x, y, threat), best)
    assert torch.allclose(pgd(model, x, y, threat, steps=20, generator=torch.Generator().manual_seed(0)), best)


def test_targeted_goes_the_other_way(problem):
    model, x, y = problem
    towards_1 = pgd(model, x, y + 1, ThreatModel("linf", 0.1, targeted=True), steps=20)
    assert torch.allclose(towards_1, optimum(model, x, ThreatModel("linf", 0.1)))


def test_l2_pgd_reaches_the_exact_optimum_away_from_the_box(problem):
    model, x, y = problem
    x = x * 0.2 + 0.4
    w = model.w.detach().view(1, 3, 2, 2)
    x_adv = pgd(
        model, x, y, ThreatModel("l2", 0.05), steps=40, step_size=0.05, generator=torch.Generator().manual_seed(0)
    )
    assert torch.allclose(x_adv, x - 0.05 * w / w.norm(), atol=1e-6)


def test_batch_of_one_equals_batch_of_many(problem):
    model, x, y = problem
    together = pgd(model, x, y, ThreatModel(), steps=3, random_start=False)
    alone = torch.cat(
        [pgd(model, x[i : i + 1], y[i : i + 1], ThreatModel(), steps=3, random_start=False) for i in range(6)]
    )
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda x, y: (x * 2 + 0.1, y),
            r"Images range from .* expected \[0, 1\]. Put the normalisation into the model",
        ),
        (lambda x, y: (x - 0.5, y), r"Images range from -0.\d+ to 0.\d+; expected \[0, 1\]"),
        (lambda x, y: ((x * 255).byte(), y), r"x is torch.uint8 \(6, 3, 2, 2\) and y \(6,\); expected floats"),
        (lambda x, y: (x.flatten(1), y), r"expected floats \(B, C, H, W\) and \(B,\)"),
        (lambda x, y: (x, y[:3]), r"y \(3,\)"),
    ],
)
def test_bad_batches_are_refused(problem, change, message):
    model, x, y = problem
    bad_x, bad_y = change(x, y)
    with pytest.raises(AttackError, match=message):
        pgd(model, bad_x, bad_y, ThreatModel())


def test_no_steps_is_refused(problem):
    model, x, y = problem
    with pytest.raises(AttackError, match="steps is 0; expected 1 or more"):
        pgd(model, x, y, ThreatModel(), steps=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_early_stop_breaks_what_is_broken_at_any_step(problem, norm):
    """Against a run that looks at every iterate and stops nothing."""
    model, x, _ = problem
    model.eval()
    y = model(x).argmax(1)
    margin = (model(x).detach() @ torch.tensor([1.0, -1.0], dtype=torch.float64)).abs()
    w = model.w.detach()
    reach = 2 * (w.abs().sum() if norm == "linf" else w.norm())
    threat = ThreatModel(norm, float(margin.median() / reach) * 1.05)
    points, settings = [], {"steps": 6, "step_size": threat.eps / 3}

    class Watched(nn.Module):
        def forward(self, x):
            points.append(x.detach().clone())
            return model(x)

    last = pgd(Watched(), x, y, threat, **settings, generator=torch.Generator().manual_seed(3))
    iterates = torch.stack([*points, last])
    broken = torch.stack([model(point).argmax(1) != y for point in iterates])
    points.clear()
    stopped = pgd(Watched(), x, y, threat, early_stop=True, **settings, generator=torch.Generator().manual_seed(3))
    assert 0 < broken.any(0).sum() < len(x)
    for i in range(len(x)):
        first = int(broken[:, i].int().argmax()) if broken[:, i].any() else -1
        assert torch.equal(stopped[i], iterates[first, i])
    left = [len(x), *(int((~done).sum()) for done in broken.cumsum(0).bool()[:5])]
    assert [len(point) for point in points] == [count for count in left if count]
    near = ThreatModel(norm, 1e-6)  # all are wrong from the start
    everything = pgd(model, x, 1 - y, near, early_stop=True, **settings)
    assert torch.equal(everything, near.random_start(x, torch.Generator().manual_seed(0)))
