"""Each method against its algorithm, transcribed line by line: same weights and BatchNorm statistics after some steps.

``gradient`` is the most naive there is: a whole backward pass, parameters included. Where the attack is in eval mode,
images are attacked one by one.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from method_cases import CLASSES, L2, LINF, SMOOTHED, assert_same_state, batch, descend, made, network, train

EPS = LINF.eps


def gradient(model, x, y):
    x = x.clone().requires_grad_()
    F.cross_entropy(model(x), y).backward()
    model.zero_grad()
    return x.grad


def uniform(step, x):
    """Numbers of U(-1, 1) as the step's generator gives them."""
    return 2 * torch.rand(x.shape, generator=torch.Generator().manual_seed(step), dtype=x.dtype) - 1


def project(x_adv, x):
    return torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)


def one_by_one(model, attack, *tensors):
    """Attack in eval mode, image by image."""
    model.eval()
    attacked = [attack(*[t[i : i + 1] for t in tensors]) for i in range(len(tensors[0]))]
    model.train()
    return torch.cat(attacked)


def trained(attack, objective=None, steps=3):
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    for step in range(steps):
        x, y = batch(step).x, batch(step).y
        x_adv = attack(model, x, y, step)
        loss = SMOOTHED(model(x_adv), y) if objective is None else objective(model, x_adv, x, y, step)
        descend(model, loss, optimizer)
    return model


def test_standard():
    assert_same_state(train(made("standard"), network()), trained(lambda model, x, y, step: x))


def pgd_point(model, x_adv, x, y, direction=1):
    for _ in range(2):
        x_adv = project(x_adv + direction * 0.06 * gradient(model, x_adv, y).sign(), x)
    return x_adv


@pytest.mark.parametrize("random_start", [True, False])
def test_pgd(random_start):
    def attack(model, x, y, step):
        start = (x + EPS * uniform(step, x)).clamp(0, 1) if random_start else x
        return one_by_one(model, lambda *images: pgd_point(model, *images), start, x, y)

    assert_same_state(train(made("pgd", random_start=random_start), network()), trained(attack))


def test_pgd_targeted_goes_towards_a_wrong_class():
    def attack(model, x, y, step):
        generator = torch.Generator().manual_seed(step)
        start = (x + EPS * (2 * torch.rand(x.shape, generator=generator, dtype=x.dtype) - 1)).clamp(0, 1)
        wanted = (y + 1 + torch.randint(CLASSES - 1, y.shape, generator=generator)) % CLASSES
        assert (wanted != y).all()
        return one_by_one(model, lambda *images: pgd_point(model, *images, direction=-1), start, x, wanted)

    targeted = type(LINF)("linf", EPS, targeted=True)
    assert_same_state(train(made("pgd"), network(), threat=targeted), trained(attack))


def test_pgd_in_train_mode_uses_the_batchs_statistics_and_moves_none():
    def attack(model, x, y, step):
        return pgd_point(copy.deepcopy(model), (x + EPS * uniform(step, x)).clamp(0, 1), x, y)

    model = trained(attack)
    assert_same_state(train(made("pgd", mode="train"), network()), model)
    with pytest.raises(AssertionError):
        assert_same_state(train(made("pgd"), network()), model)


def test_pgd_l2():
    def attack_one(model, x, y):
        x_adv = x
        for _ in range(2):
            g = gradient(model, x_adv, y)
            delta = x_adv + 0.3 * g / g.norm() - x
            x_adv = (x + delta * min(1, L2.eps / float(delta.norm()))).clamp(0, 1)
        return x_adv

    def attack(model, x, y, step):
        return one_by_one(model, lambda x, y: attack_one(model, x, y), x, y)

    assert_same_state(
        train(made("pgd", random_start=False, step_size=0.3), network(), threat=L2), trained(attack)
    )  # fmt: skip


def test_free():
    model = network().train()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    delta = torch.zeros_like(batch().x)
    for number in range(3):
        now = batch(number)
        for _ in range(2):
            x_adv = (now.x + delta).clamp(0, 1).requires_grad_()
            descend(model, SMOOTHED(model(x_adv), now.y), optimizer)
            assert x_adv.grad is not None
            delta = (delta + EPS * x_adv.grad.sign()).clamp(-EPS, EPS)
    assert_same_state(train(made("free"), network(), steps=6), model)


def test_fgsm_rs():
    def attack(model, x, y, step):
        start = (x + EPS * uniform(step, x)).clamp(0, 1)
        return project(start + 1.25 * EPS * gradient(model, start, y).sign(), x)

    assert_same_state(train(made("fgsm_rs"), network()), trained(attack))


def test_n_fgsm():
    def attack(model, x, y, step):
        start = x + 2 * EPS * uniform(step, x)
        return start + EPS * gradient(model, start, y).sign()

    assert_same_state(train(made("n_fgsm"), network()), trained(attack))


def test_n_fgsm_gives_the_same_bits_as_the_function_it_was():
    model, now = network(dtype=torch.float32).train(), batch(2, dtype=torch.float32)
    noise = torch.rand(now.x.shape, generator=torch.Generator().manual_seed(2))
    start = (now.x + 2.0 * EPS * (2 * noise - 1)).contiguous(memory_format=torch.channels_last).requires_grad_()
    slope = torch.autograd.grad(F.cross_entropy(model(start), now.y), start)[0]
    assert torch.equal(made("n_fgsm", dtype=torch.float32).attack(model, now), start + EPS * slope.sign())


def test_fgsm_ga():
    def attack(model, x, y, step):
        return project(x + 1.25 * EPS * gradient(model, x, y).sign(), x)

    def objective(model, x_adv, x, y, step):
        loss = SMOOTHED(model(x_adv), y)
        near = (x + EPS * uniform(step, x)).requires_grad_()
        x = x.clone().requires_grad_()
        a = torch.autograd.grad(F.cross_entropy(model(x), y), x, create_graph=True)[0]
        b = torch.autograd.grad(F.cross_entropy(model(near), y), near, create_graph=True)[0]
        for g, h in zip(a, b, strict=True):
            loss = loss + 2.0 * (1 - F.cosine_similarity(g.flatten(), h.flatten(), dim=0)) / len(x)
        return loss

    assert_same_state(train(made("fgsm_ga", lambda_=2.0), network()), trained(attack, objective))


def test_fgsm_ckpt():
    taken = []

    def attack_one(model, start, x, y):
        delta = project(start + 1.25 * EPS * gradient(model, start, y).sign(), x) - x
        for j in (0, 1, 2, 3):
            if j == 3 or model(x + j / 3 * delta).argmax() != y:
                break
        taken.append(j)
        return x + j / 3 * delta

    def attack(model, x, y, step):
        start = (x + EPS * uniform(step, x)).clamp(0, 1)
        return one_by_one(model, lambda *images: attack_one(model, *images), start, x, y)

    model = trained(attack, steps=12)
    assert {0, 1, 3} <= set(taken)  # or the test would say little
    assert_same_state(train(made("fgsm_ckpt"), network(), steps=12), model)


def test_trades():
    def attack_one(model, start, x):
        x_adv = start
        for _ in range(2):
            leaf = x_adv.clone().requires_grad_()
            p, q = model(x).softmax(1), model(leaf).softmax(1)
            (p * (p.log() - q.log())).sum().backward()
            x_adv = project(x_adv + 0.06 * leaf.grad.sign(), x)
        model.zero_grad()
        return x_adv

    def attack(model, x, y, step):
        normal = torch.randn(x.shape, generator=torch.Generator().manual_seed(step), dtype=x.dtype)
        return one_by_one(model, lambda *images: attack_one(model, *images), x + 0.001 * normal, x)

    def objective(model, x_adv, x, y, step):
        logits = model(x)
        p, q = logits.softmax(1), model(x_adv).softmax(1)
        return SMOOTHED(logits, y) + 6 * (p * (p / q).log()).sum() / len(x)

    assert_same_state(train(made("trades"), network()), trained(attack, objective))


def test_fgsm_sdi():
    generator = copy.deepcopy(made("fgsm_sdi").generator)
    weights = dict(generator.named_parameters())
    adam = torch.optim.Adam(generator.parameters(), 1e-3, maximize=True)

    def layer(z, name):
        z = F.conv2d(z, weights[f"{name}.0.weight"], padding=1)
        return F.batch_norm(z, None, None, weights[f"{name}.1.weight"], weights[f"{name}.1.bias"], training=True)

    def start_of(x, signs):
        z = layer(torch.cat([x, signs], 1), "enter").relu()
        z = (z + layer(layer(z, "inner").relu(), "outer")).relu()
        return x + EPS * torch.tanh(layer(z, "leave"))

    def step_from(model, start, x, y):
        return project(start + EPS * gradient(model, start.detach(), y).sign(), x)

    def attack(model, x, y, step):
        signs = gradient(model, x, y).sign()
        if step % 2 == 0:
            loss = F.cross_entropy(model(step_from(model, start_of(x, signs), x, y)), y)
            descend(generator, loss, adam)
            model.zero_grad()
        return step_from(model, start_of(x, signs), x, y).detach()

    model, method, own = trained(attack, steps=4), made("fgsm_sdi"), network()
    assert_same_state(train(method, own, steps=4), model)
    assert_same_state(method.generator, generator)
    assert not torch.equal(method.generator.leave[0].weight, made("fgsm_sdi").generator.leave[0].weight)
