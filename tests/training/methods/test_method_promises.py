"""What every method promises: the ball, the model left as found, no wait for the device, autocast, compiled models."""

import copy
from dataclasses import replace

import pytest
import torch
from method_cases import ARGUMENTS, IN_BALL, L2, LINF, SMOOTHED, batch, made, network, train
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparta_hub import ThreatModel
from sparta_hub.activations import ReluSmoothBackward
from training.methods import Draws
from training.methods._ascent import noise
from training.methods.fgsm_ga import misalignment

EVERY = [*((name, 0.0) for name in ARGUMENTS), ("pgd", 0.01), ("free", 0.01), ("fgsm_sdi", 0.01)]
A, OWN, BOTH = (True, False), (False, True), (True, True)  # pass of the attacker, with gradients in the weights
PASSES = {
    "standard": [OWN], "pgd": [A, A, OWN], "free": [OWN], "fgsm_rs": [A, OWN], "fgsm_ga": [A, OWN, BOTH, BOTH],
    "fgsm_ckpt": [A, A, A, A, OWN], "fgsm_sdi": [A, A, A, A, OWN], "n_fgsm": [A, OWN], "trades": [A, A, A, OWN, OWN],
}  # fmt: skip


def rightly_labelled(model, now):
    """With the classes that the model sees: FGSM-CKPT leaves others alone."""
    with torch.no_grad():
        return replace(now, y=copy.deepcopy(model).eval()(now.x).argmax(1))


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("name", IN_BALL)
def test_images_lie_in_ball_and_box_and_keep_their_form(name, threat):
    method, model = made(name), network().train()
    if name == "free":
        train(method, network(), threat=threat)
    now = rightly_labelled(model, batch(1, threat))
    x_adv = method.attack(model, now)
    assert (threat.distance(x_adv, now.x) <= threat.eps * (1 + 1e-6)).all()
    assert 0 <= x_adv.min() <= x_adv.max() <= 1
    assert name == "standard" or (threat.distance(x_adv, now.x) > threat.eps / 9).any()
    assert x_adv.dtype == now.x.dtype
    assert x_adv.is_contiguous(memory_format=torch.channels_last)


def test_fgsm_sdi_starts_in_an_l2_ball_too():
    now = batch(0, L2)
    with torch.no_grad():
        start = made("fgsm_sdi")._start(now, torch.ones_like(now.x))
    torch.testing.assert_close(L2.distance(start, now.x), torch.full((len(now.x),), L2.eps, dtype=torch.float64))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("name", "awp"), EVERY)
def test_eps_0_is_the_clean_image(name, awp, norm):
    method, now = made(name, awp=awp), batch(0, ThreatModel(norm, 0.0))
    assert torch.equal(method.attack(network().train(), now), now.x)
    model = train(method, network(), threat=now.threat)
    assert all(tensor.isfinite().all() for tensor in [*model.state_dict().values(), *method.state_dict().values()])


@pytest.mark.parametrize(("name", "awp"), EVERY)
def test_the_model_is_left_as_found_and_every_pass_says_whose_it_is(name, awp):
    model = network(lambda: ReluSmoothBackward(smooth="attacker")).train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    seen = []
    model[2].register_forward_hook(lambda module, *_: seen.append((module.attacking, model[0].weight.requires_grad)))

    def flags():
        return (
            [module.training for module in model.modules()], [p.requires_grad for p in model.parameters()],
            [p.grad is None for p in model.parameters()], model[2].attacking, model[4].track_running_stats,
        )  # fmt: skip

    before = flags()
    made(name, awp=awp).loss(model, batch(), SMOOTHED)
    assert flags() == before
    if not awp:
        assert seen == PASSES[name]


@pytest.mark.parametrize(("name", "awp"), EVERY)
def test_what_a_pass_without_gradient_gave_is_not_read_after_the_next(name, awp):
    """Where passes are CUDA graphs, the next one writes over it."""
    losses = []
    for overwrites in (False, True):
        model, given = network().train(), []

        def overwrite(_module, _inputs, logits, given=given):
            while given:
                given.pop().zero_()
            if not logits.requires_grad:
                given.append(logits)

        if overwrites:
            model.register_forward_hook(overwrite)
        losses.append(made(name, awp=awp).loss(model, batch(), SMOOTHED).item())
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ["pgd", "trades", "fgsm_rs"])
def test_the_model_is_left_as_found_after_an_error_too(name):
    model = network().train()
    model[3].weight.requires_grad_(False)
    model[8].weight = nn.Parameter(model[8].weight[:, :-1].detach())  # no longer fits
    with pytest.raises(RuntimeError):
        made(name).loss(model, batch(), SMOOTHED)
    assert all(module.training for module in model.modules())
    assert [key for key, p in model.named_parameters() if not p.requires_grad] == ["3.weight"]


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "free"])
def test_label_smoothing_never_enters_the_attack(name):
    inputs = []
    for smoothing in (0.0, 0.9):
        model, seen = network().train(), []
        model.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].detach()))
        made(name).loss(model, batch(), nn.CrossEntropyLoss(label_smoothing=smoothing))
        inputs.append(seen)
    assert all(torch.equal(a, b) for a, b in zip(*inputs, strict=True))


class NoWaiting(TorchDispatchMode):
    """Fails on operations that make the host wait for a device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in ("_local_scalar_dense", "item", "nonzero", "masked_select", "equal", "is_nonzero"), name
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "awp"), EVERY)
def test_nothing_waits_for_the_device(name, awp):
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.ones(1).item()
    method, model, now = made(name, awp=awp), network().train(), batch()
    with NoWaiting():
        method.loss(model, now, SMOOTHED).backward()
        method.after_backward(model)


@pytest.mark.parametrize(("name", "awp"), EVERY)
def test_two_steps_under_one_autocast(name, awp):
    """One autocast keeps casts of weights from pass to pass: those of an attack must not reach what is trained on."""
    model, method = network(dtype=torch.float32), made(name, awp=awp, dtype=torch.float32)
    if name == "fgsm_sdi":
        method = made(name, awp=awp, dtype=torch.float32, every=1)
    with torch.autocast("cpu", torch.bfloat16):
        for step in range(2):
            now = batch(step, dtype=torch.float32)
            attacked = method.attack(model, now)
            assert attacked.dtype == torch.float32
            model.zero_grad()
            method.loss(model, now, SMOOTHED).backward()
            method.after_backward(model)
            for key, parameter in model.named_parameters():
                assert parameter.grad is not None, key
                assert parameter.grad.isfinite().all()
                assert parameter.grad.abs().sum() > 0 or key in ("0.bias", "3.bias"), key  # before BatchNorm: none
    if name == "fgsm_sdi":
        assert (method if not awp else method.method).get_buffer("square0").sum() > 0


@pytest.mark.parametrize(("name", "awp"), [("pgd", 0.01), ("free", 0.0), ("fgsm_sdi", 0.0)])
def test_a_compiled_model_gives_the_same(name, awp):
    torch._dynamo.reset()
    eager, compiled = network(), network()
    compiled.compile(backend="aot_eager")
    for model in (eager, compiled):
        train(made(name, awp=awp), model, steps=2)
    for key, tensor in eager.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[key], tensor, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", [name for name in ARGUMENTS if name != "fgsm_sdi"])  # whose generator mixes images
def test_two_halves_with_their_rows_are_the_whole(name):
    model, threats = network().eval(), [LINF, L2]
    if name == "pgd":
        threats.append(ThreatModel("linf", 0.1, targeted=True))
    for threat in threats:
        whole, *halves = (
            made(name).attack(model, rightly_labelled(model, batch(1, threat, rows=rows)))
            for rows in (slice(0, 6), slice(0, 3), slice(3, 6))
        )
        torch.testing.assert_close(torch.cat(halves), whole, rtol=0, atol=1e-12)


def test_draws_have_the_right_range_and_form():
    like = torch.empty(500, 2, 3, 3, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    draws = Draws(torch.Generator().manual_seed(0), slice(0, 500), 500)
    u, n, i = draws.uniform(like, -2, 3), draws.normal(like), draws.integers(4, like.device)
    assert -2 <= u.min() < -1.9
    assert 2.9 < u.max() < 3
    assert abs(n.mean()) < 0.05
    assert abs(n.std() - 1) < 0.05
    assert set(i.tolist()) == {0, 1, 2, 3}
    for drawn in (u, n):
        assert drawn.dtype == like.dtype
        assert drawn.stride() == like.stride()


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_noise_is_uniform_in_the_ball(threat):
    """Then a share s^d of the volume lies within the share s of the radius."""
    now = batch(0, threat, size=500)
    share = threat.distance(now.x + noise(now, 0.7), now.x) / 0.7
    if threat.norm == "l2":
        share = share ** now.x[0].numel()
        assert abs(share.mean() - 0.5) < 0.05
        assert share.min() < 0.02
    assert 0.95 < share.max() <= 1 + 1e-9


def test_an_image_without_gradient_is_left_out_of_the_alignment():
    a = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    a[1], b = 0, a.clone()
    b[2] *= -3
    a.requires_grad_()
    value = misalignment(a, b)
    value.backward()
    assert value.item() == pytest.approx(2 / 3)
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert misalignment(0 * a, b).item() == 0


def test_autocast_sees_the_generator_that_has_just_climbed():
    """Then the same images come out once more, in a step without a climb and under a fresh autocast."""
    method, model = made("fgsm_sdi", dtype=torch.float32, lr=0.1), network(dtype=torch.float32).train()
    now = batch(dtype=torch.float32)
    attacked = []
    for step in (0, 1):
        with torch.autocast("cpu", torch.bfloat16):
            attacked.append(method.attack(model, replace(now, step=step)))
    assert torch.equal(*attacked)
