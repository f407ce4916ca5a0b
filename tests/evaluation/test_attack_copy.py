"""The copy that fast evaluations attack: equal by value, apart from the model, refused where it disagrees."""

from functools import partial

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

import sparta_hub.hosts  # noqa: F401  (registers the small hosts)
from sparta_hub.attacks import pgd
from sparta_hub.data import load_bundled
from sparta_hub.errors import AttackError, DataError
from sparta_hub.evaluation import Attack, evaluate
from sparta_hub.evaluation._attack_copy import Compiled, InBfloat16, attack_copy, has_fast_bfloat16, in_bfloat16
from sparta_hub.evaluation._batch import Examples, run_attack
from sparta_hub.evaluation._choice import choose
from sparta_hub.identity import state_sha256
from sparta_hub.small_maps import ProductConv2d
from sparta_hub.surgery import inject
from sparta_hub.threat import ThreatModel
from tests.conftest import HAS_PREACT

PLAIN = {  # network: BatchNorms that stand alone behind a convolution, all of its BatchNorm2d
    "resnet18_cifar": 20, "resnet34_cifar": 36, "resnet50_cifar": 53,
    "resnet10t": 14, "resnext50_32x4d": 53, "seresnet18": 20,
}  # fmt: skip
OTHER = ["densenet121", "mobilenetv3_small_050", "convnext_atto"]  # none, or a subclass that does more
PREACT = ["preact_resnet18", "wide_resnet34_10"] if HAS_PREACT else []
LINF = ThreatModel("linf", 8 / 255)


def lived_in(model):
    """With statistics and scales that are not those of a fresh BatchNorm, so that leaving one out shows."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, 0, 0.2)
    return model.eval()


def relative(seen, expected):
    return float((seen - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", [*PLAIN, *OTHER, *PREACT])
def test_the_copy_gives_the_same_logits(name):
    model = lived_in(timm.create_model(name, num_classes=10))
    side = 64 if name in OTHER else 16  # those halve the map five times
    x = torch.rand(2, 3, side, side)
    copied, folded = attack_copy(model, x)
    assert folded == PLAIN.get(name, 0)
    with torch.no_grad():
        expected, other = model(x), model(torch.rand_like(x) * torch.rand(2, 3, 1, 1))
        assert relative(copied(x), expected) < 1e-5
        assert relative(other, expected) > 1e-4  # logits that tell images apart
    assert not any(p.requires_grad for p in copied.parameters())


@pytest.mark.parametrize("frozen", [False, True])
def test_injected_activations_are_no_obstacle(frozen):
    model = timm.create_model("resnet18_cifar")
    inject(model, "sparta", frozen=frozen)
    lived_in(model)
    x = torch.rand(2, 3, 32, 32)
    copied, folded = attack_copy(model, x)
    assert folded == 20
    with torch.no_grad():
        assert relative(copied(x), model(x)) < 1e-5


def test_it_is_a_copy_and_the_model_is_left_alone():
    model = lived_in(timm.create_model("resnet18_cifar"))
    model.train()
    state, hooks = state_sha256(model), [len(module._forward_hooks) for module in model.modules()]
    copied, _ = attack_copy(model, torch.rand(2, 3, 32, 32))
    with torch.no_grad():
        for tensor in copied.parameters():
            tensor.zero_()
    assert state_sha256(model) == state
    assert [len(module._forward_hooks) for module in model.modules()] == hooks
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert all(m.__class__ is nn.BatchNorm2d for n, m in model.named_modules() if n.endswith("bn1"))


class Tangled(nn.Module):
    """A convolution and a BatchNorm that must not be made one, for the reason that ``kind`` names."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv, self.bn, self.head = (
            kind,
            nn.Conv2d(3, 3, 3, padding=1),
            nn.BatchNorm2d(3),
            nn.Linear(3, 4),
        )
        if kind == "parametrised":
            self.conv = nn.utils.parametrizations.weight_norm(self.conv)

    def forward(self, x):
        y = self.conv(x)
        if self.kind == "read again":
            y = self.bn(y) + y
        elif self.kind == "read by a view":
            y = self.bn(y) * y.flatten(2).mean(2)[:, :, None, None]
        elif self.kind == "called twice":
            y = self.bn(self.conv(self.bn(y)))
        elif self.kind == "changed on the way":
            y = self.bn(F.relu(y))
        else:
            y = self.bn(y)
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize(
    "kind", ["plain", "read again", "read by a view", "called twice", "changed on the way", "parametrised"]
)
def test_only_a_batchnorm_alone_behind_a_plain_convolution_is_folded(kind):
    model, x = lived_in(Tangled(kind)), torch.rand(4, 3, 8, 8)
    copied, count = attack_copy(model, x)
    assert count == (kind == "plain")
    assert relative(copied(x), model(x).detach()) < 1e-5


def test_folding_that_moves_the_logits_is_undone():
    class Knows(Tangled):
        """Looks at its BatchNorm's statistics, which a folded copy has no more."""

        def forward(self, x):
            return super().forward(x) * (2 if isinstance(self.bn, nn.BatchNorm2d) else 1)

    model, x = lived_in(Knows("plain")), torch.rand(4, 3, 8, 8)
    copied, count = attack_copy(model, x)
    assert count == 0
    assert relative(copied(x), model(x).detach()) < 1e-6


@pytest.mark.parametrize("unit", [False, True])
def test_in_bfloat16_small_maps_are_products_where_there_is_a_matrix_unit(monkeypatch, unit):
    monkeypatch.setattr("sparta_hub.evaluation._attack_copy.has_matrix_unit", lambda device: unit)
    model, x = lived_in(timm.create_model("resnet18_cifar", num_classes=10)), torch.rand(4, 3, 32, 32)
    folded, _ = attack_copy(model, x)
    state = state_sha256(folded)
    fast = in_bfloat16(folded, x)
    assert sum(isinstance(module, ProductConv2d) for module in fast.modules()) == (11 if unit else 0)
    assert state_sha256(folded) == state
    with torch.no_grad():
        expected = model(x)
        assert fast(x).dtype is torch.float32
        assert relative(fast(x), expected) < 0.05
        assert relative(fast(torch.rand_like(x)), expected) > 0.05


def test_compiled_it_gives_the_same_logits_and_gradients():
    net = lived_in(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)))
    folded, count = attack_copy(net, torch.rand(2, 3, 6, 6))
    assert count == 1
    compiled, x = Compiled(folded), torch.rand(3, 3, 6, 6, requires_grad=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), net(x))
    seen, expected = (torch.autograd.grad(each(x)[:, 0].sum(), x)[0] for each in (compiled, net))
    torch.testing.assert_close(seen, expected)
    assert expected.abs().max() > 0.01
    assert torch._dynamo.config.cache_size_limit < 64  # as it was


def attack(**arguments):
    return Attack("pgd", pgd, LINF, {"steps": 5, **arguments})


@pytest.fixture(scope="module")
def trained():
    data = load_bundled("train")
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2, bias=False), nn.BatchNorm2d(12), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(96, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(60):
        index = torch.randint(len(data), (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(data.floats(index)), data.y[index]).backward()
        optimizer.step()
    return model.eval()


def test_fast_gives_the_flags_of_exact_and_says_what_it_ran_on(trained):
    run = partial(evaluate, trained, load_bundled("test"), batch_size=50, seed=0, limit=100)
    exact, fast = run([attack()]), run([attack(early_stop=True)], speed="fast")
    assert 5 < exact.robust(0).correct < exact.clean.correct - 5
    differ = sum(a != b for a, b in zip(exact.robust_flags(0), fast.robust_flags(0), strict=True))
    assert differ <= 2
    assert (exact.protocol.speed, fast.protocol.speed) == ("exact", "fast")
    (reason,) = [value for key, value in fast.provenance[0].items() if key.endswith("ran on")]
    assert "copy with 2 BatchNorms folded" in str(reason)
    assert ("bfloat16" in str(reason)) == has_fast_bfloat16(torch.zeros(1))
    assert fast.outcome.attacks[0].forwards < exact.outcome.attacks[0].forwards


class Fragile(nn.Module):
    """In bfloat16 the logits, of size 1000, are steps of 4."""

    def __init__(self, model):
        super().__init__()
        self.model, self.out = model, nn.Linear(10, 10)
        nn.init.eye_(self.out.weight)
        nn.init.constant_(self.out.bias, 1000.0)

    def forward(self, x):
        return self.out(self.model(x))


class Blind(nn.Module):
    """Under autocast the logits are the same, and the gradient is 0: an attack finds nothing."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.detach() + 0 * x if torch.is_autocast_enabled(x.device.type) else x)


@pytest.mark.parametrize(("kind", "why"), [(Fragile, "of 64 predictions differ"), (Blind, "of 64 flags differ, 1 may")])
def test_a_copy_that_disagrees_is_not_used(trained, monkeypatch, kind, why):
    monkeypatch.setattr("sparta_hub.evaluation._choice.has_fast_bfloat16", lambda x: True)  # slow or fast, but right
    data = load_bundled("test")
    (choice,) = choose(kind(trained).eval(), data, 500, data.y, [attack()], 0)
    first, second = choice.reason.split("; ")
    assert not isinstance(choice.model, InBfloat16)
    assert "bfloat16: " in first
    assert why in first
    assert int(first.split(": ")[1].split()[0]) > 6
    assert second == "copy with 2 BatchNorms folded, float32: 0 of 64 flags differ, 1 may"


def test_a_compiled_copy_comes_first_where_it_is_asked_for(trained, monkeypatch):
    made = []

    class Noted(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
            made.append(model)

        def forward(self, x):
            return self.model(x)

    monkeypatch.setattr("sparta_hub.evaluation._choice.Compiled", Noted)
    monkeypatch.setattr("sparta_hub.evaluation._choice.has_fast_bfloat16", lambda x: False)
    data = load_bundled("test")
    (choice,) = choose(trained, data, 500, data.y, [attack()], 0, compiled=True, size=10)
    assert choice.reason == "copy with 2 BatchNorms folded, float32, compiled: 0 of 10 flags differ, 1 may"
    assert isinstance(choice.model, Noted)
    (again,) = choose(trained, data, 500, data.y, [attack()], 0, compiled=True, size=10, before=[choice.reason])
    assert isinstance(again.model, Noted)
    assert len(made) == 2
    (eager,) = choose(trained, data, 500, data.y, [attack()], 0, size=10)
    assert eager.reason == "copy with 2 BatchNorms folded, float32: 0 of 10 flags differ, 1 may"
    assert len(made) == 2


def test_one_copy_serves_all_attacks(trained, monkeypatch):
    monkeypatch.setattr("sparta_hub.evaluation._choice.has_fast_bfloat16", lambda x: False)
    data = load_bundled("test")
    first, second = choose(trained, data, 500, data.y, [attack(), attack(steps=2)], 0, size=10)
    assert first.model is second.model is not trained


def test_where_nothing_compiles_the_next_copy_is_tried(trained, monkeypatch):
    class NoCompiler(nn.Module):
        def __init__(self, model):
            super().__init__()

        def forward(self, x):
            raise RuntimeError("no C++ compiler")

    monkeypatch.setattr("sparta_hub.evaluation._choice.Compiled", NoCompiler)
    monkeypatch.setattr("sparta_hub.evaluation._choice.has_fast_bfloat16", lambda x: False)
    (choice,) = choose(trained, load_bundled("test"), 500, load_bundled("test").y, [attack()], 0, compiled=True)
    assert choice.reason == (
        "copy with 2 BatchNorms folded, float32, compiled: RuntimeError; "
        "copy with 2 BatchNorms folded, float32: 0 of 64 flags differ, 1 may"
    )


def test_a_compiled_evaluation_compares_as_many_images_as_asked(trained, monkeypatch):
    monkeypatch.setattr("sparta_hub.evaluation._choice.Compiled", nn.Sequential)  # which compiles nothing
    run = partial(evaluate, trained, load_bundled("test"), [attack()], batch_size=20, seed=0, limit=20)
    report = run(speed="compiled", sample=7)
    (reason,) = [str(value) for key, value in report.provenance[0].items() if key.endswith("ran on")]
    assert report.protocol.speed == "compiled"
    assert "compiled: " in reason
    assert " of 7 flags differ, 1 may" in reason
    differ = sum(a != b for a, b in zip(report.robust_flags(0), run().robust_flags(0), strict=True))
    assert differ <= 1
    with pytest.raises(DataError, match="sample=0, limit=20; expected 1 or more"):
        run(speed="compiled", sample=0)


def test_a_model_that_cannot_be_copied_is_attacked_itself(trained):
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = trained

        def __deepcopy__(self, memo):
            raise TypeError("there is but one of me")

        def forward(self, x):
            return self.model(x)

    model, data = Single().eval(), load_bundled("test")
    (choice,) = choose(model, data, 20, data.y, [attack()], 0)
    assert choice.model is model
    assert choice.reason == "TypeError in a copy; the model itself"


def test_images_that_break_the_copy_alone_are_attacked_again_on_the_model(trained):
    """A copy that calls everything broken stops the attack at once; the model's own run must find what it can find."""

    class Defeatist(nn.Module):
        def forward(self, x):
            return torch.full((len(x), 10), -1.0).scatter(1, wrong[: len(x), None], 1.0) + 0 * x.sum()

    data = load_bundled("test")
    wrong = (data.y + 1) % 10
    x, y, every = data.floats(slice(50)), data.y[:50], torch.ones(50, dtype=torch.bool)
    batch, early = Examples(x, y, y), attack(early_stop=True)
    own, expected = run_attack(trained, batch, early, on=trained, chosen=every, seed=0)
    tally, broken = run_attack(trained, batch, early, on=Defeatist(), chosen=every, seed=0)
    assert expected.sum() > 10
    assert (broken & expected).sum() >= expected.sum() - 3  # from other starts
    assert tally.attacked == own.attacked
    assert tally.broken == tuple(broken.tolist())


def test_an_unknown_speed_is_refused(trained):
    with pytest.raises(AttackError, match="speed is 'ludicrous'; expected one of exact, fast, compiled"):
        evaluate(trained, load_bundled("test"), [attack()], batch_size=5, seed=0, speed="ludicrous")  # pyright: ignore
