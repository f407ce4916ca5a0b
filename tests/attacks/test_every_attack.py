"""What holds for all attacks: optima on a plane, ball and box, the model left as found, randomness by argument."""

import pytest
import torch
from attack_cases import ALL, CASES, DETERMINISTIC, GRADIENT, SMALLEST, attack, distances, problem, worst_point
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sparta_hub import ThreatModel
from sparta_hub.errors import AttackError

RADIUS = {"linf": 0.004, "l2": 0.04}
every_case = pytest.mark.parametrize(("name", "norm"), CASES)


@pytest.mark.parametrize("name", GRADIENT)
def test_linf_attacks_reach_the_exact_optimum(name):
    model, x, y = problem()
    threat = ThreatModel("linf", 0.01)
    best = worst_point(model, x, y, threat)
    x_adv = attack(name, model, x, y, threat)
    if name == "pgd-restarts" or name.startswith("apgd"):  # they may stop at the first success: compare the rest
        held = model(best).argmax(1) == y
        assert torch.allclose(x_adv[held], best[held])
        assert (model(x_adv).argmax(1) == model(best).argmax(1)).all()
    else:
        assert torch.allclose(x_adv, best)


@pytest.mark.parametrize(("name", "close"), [("fgsm", 1e-7), ("pgd-dlr", 0.03), ("mpgd", 1e-4), ("apgd", 1e-4)])
def test_l2_attacks_reach_the_exact_optimum_away_from_the_box(name, close):
    model, x, y = problem()
    threat = ThreatModel("l2", 0.5 * float(distances(model, x, "l2").min()))  # so that none falls, and none stops early
    gained = (model.score(attack(name, model, x, y, threat)) - model.score(x)).abs()
    best = (model.score(worst_point(model, x, y, threat)) - model.score(x)).abs()
    assert torch.allclose(gained, best, rtol=close, atol=0)


@pytest.mark.parametrize("targeted", [False, True])
@every_case
def test_exactly_the_images_closer_than_eps_fall(name, norm, targeted):
    if targeted and name == "apgd_targeted":
        pytest.skip("picks its own targets")
    model, x, y = problem(12)
    away = distances(model, x, norm)
    threat = ThreatModel(norm, float(away.median()) * 1.0001, targeted)
    slack = {"square": 2.5 if norm == "l2" else 1.2, "cw": 1.02}.get(name, 1.05)
    x_adv = attack(name, model, x, 1 - y if targeted else y, threat)
    fallen = model(x_adv).argmax(1) == 1 - y
    assert fallen[away * slack < threat.eps].all()
    assert not fallen[away > threat.eps].any()
    assert fallen.any()


@every_case
@settings(max_examples=8, deadline=None, derandomize=True)
@given(eps=st.floats(0, 2), low=st.floats(0, 0.5), targeted=st.booleans(), seed=st.integers(0, 9))
def test_output_lies_in_ball_and_box(name, norm, eps, low, targeted, seed):
    model, x, y = problem(3)
    x = ((x - 0.3) / 0.4 * (1 - low) + low).round(decimals=1).clamp(0, 1)  # many pixels on the box's faces
    eps = min(eps, 1.0) if norm == "linf" else eps
    threat = ThreatModel(norm, eps, targeted and name != "apgd_targeted")
    x_adv = attack(name, model, x, y, threat, generator=torch.Generator().manual_seed(seed))
    assert x_adv.shape == x.shape
    assert x_adv.dtype == x.dtype
    assert (threat.distance(x_adv, x) <= eps + 1e-9).all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1


@every_case
def test_no_radius_gives_the_images_back_and_no_images_give_none(name, norm):
    model, x, y = problem()
    assert torch.equal(attack(name, model, x, y, ThreatModel(norm, 0.0)), x)
    assert attack(name, model, x[:0], y[:0], ThreatModel(norm, 0.1)).shape == (0, *x.shape[1:])


@every_case
def test_the_same_generator_gives_the_same_bits_and_the_global_one_is_left_alone(name, norm):
    model, x, y = problem()
    x, threat, state = x.clone(), ThreatModel(norm, RADIUS[norm]), torch.get_rng_state()
    before = x.clone()
    first, second = (attack(name, model, x, y, threat, generator=torch.Generator().manual_seed(3)) for _ in "ab")
    assert torch.equal(first, second)
    assert torch.equal(attack(name, model, x, y, threat), attack(name, model, x, y, threat))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(x, before)
    assert not first.requires_grad


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in DETERMINISTIC | SMALLEST for norm in RADIUS if (name, norm) != ("cw", "linf")],
)
def test_batch_of_one_equals_batch_of_many(name, norm):
    run = (DETERMINISTIC | SMALLEST)[name]
    model, x, y = problem()
    together = run(model, x, y, ThreatModel(norm, 0.3))
    alone = torch.cat([run(model, x[i : i + 1], y[i : i + 1], ThreatModel(norm, 0.3)) for i in range(len(x))])
    assert torch.allclose(together, alone, atol=1e-12)


class Nosy(nn.Module):
    """Counts calls by a hook, and fails at one of them."""

    def __init__(self, inner, fail_at):
        super().__init__()
        self.inner, self.calls, self.fail_at = inner, 0, fail_at

    def forward(self, x):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("out of memory, say")
        return self.inner(x)


@pytest.mark.parametrize("fail_at", [0, 1, 2])
@every_case
def test_the_model_is_left_as_found_also_on_an_error(name, norm, fail_at):
    inner, x, y = problem()
    model = Nosy(inner, fail_at).train()
    inner.bn.eval()
    inner.b.requires_grad_(False)
    inner.w.grad = torch.ones_like(inner.w)
    hook = inner.register_forward_hook(lambda *_: None)
    state = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    try:
        attack(name, model, x, y, ThreatModel(norm, RADIUS[norm]))
    except RuntimeError as error:
        assert "out of memory" in str(error)  # noqa: PT017
    assert model.calls >= max(fail_at, 1) or name == "fgsm"
    assert model.training
    assert inner.training
    assert not inner.bn.training
    assert inner.w.requires_grad
    assert not inner.b.requires_grad
    assert torch.equal(inner.w.grad, torch.ones_like(inner.w))
    assert inner.b.grad is None
    assert list(inner._forward_hooks) == [hook.id]
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[0] != "square"])
def test_a_gradient_that_is_not_a_number_is_an_error(name, norm):
    plane, x, y = problem()

    class Broken(nn.Module):
        def forward(self, x):
            return plane(x) + (0 * x.sum()).abs().sqrt()  # value 0, gradient 0 · inf

    with pytest.raises(AttackError, match="gradient that is not a finite number"):
        attack(name, Broken(), x, y, ThreatModel(norm, RADIUS[norm]))


@every_case
def test_classes_the_model_does_not_have_are_refused(name, norm):
    model, x, y = problem()
    with pytest.raises(AttackError, match="y ranges from 9 to 9; this model has classes 0 to 3"):
        attack(name, model, x, torch.full_like(y, 9), ThreatModel(norm, 0.1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@every_case
def test_models_of_any_precision(name, norm, dtype):
    model, x, y = problem(dtype=dtype)
    threat = ThreatModel(norm, 10 * RADIUS[norm])
    x_adv = attack(name, model, x, y, threat)
    assert x_adv.dtype == dtype
    assert (threat.distance(x_adv.double(), x.double()) <= threat.eps + x.numel() * torch.finfo(dtype).eps).all()
    assert (model(x_adv).argmax(1) != y).any() or name == "square"


@pytest.mark.parametrize("name", ALL)
def test_under_inference_of_the_caller(name):
    model, x, y = problem()
    with torch.no_grad():
        x_adv = attack(name, model, x, y, ThreatModel("l2" if name == "cw" else "linf", 0.1))
    assert (model(x_adv).argmax(1) != y).any()


class Features(nn.Module):
    """Gives its logits with something beside them."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x), x.mean((2, 3))


@every_case
def test_a_model_that_gives_more_than_logits_is_refused(name, norm):
    model, x, y = problem()
    with pytest.raises(AttackError, match=r"The model gives a tuple; an attack expects logits \(B, classes\)"):
        attack(name, Features(model), x, y, ThreatModel(norm, 0.1))
    with pytest.raises(AttackError, match="The model gives a tuple; an attack expects"):
        attack(name, Features(model), x, 1 - y, ThreatModel(norm, 0.1))
