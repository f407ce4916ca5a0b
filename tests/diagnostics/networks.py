"""Small networks, trained for a moment on real images, and fakes made of them that hide their gradient."""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from sparta_hub import ActivationSpec, ThreatModel
from sparta_hub.activations import build
from sparta_hub.attacks import pgd
from sparta_hub.data import load_bundled
from sparta_hub.injected import InjectedActivation
from sparta_hub.spec import SiteSpec

THREAT = ThreatModel("linf", 12 / 255)
IMAGES = 60  # of them, 40 and more are right


def injected_activation(module: nn.Module, channels: int, name: str) -> InjectedActivation:
    """``module`` as surgery would put it into a host; the spec is that of the family it stands in for."""
    site = SiteSpec(name, channels)
    return InjectedActivation(
        module, nn.ReLU(), site, ActivationSpec("se_gated_relu", {"hidden": None}, "all", (site,))
    )


def network(family: str = "relu") -> nn.Sequential:
    """A small network whose second activation is of this family."""
    second = nn.ReLU() if family == "relu" else injected_activation(build(family, 32), 32, "G1.B1")
    return nn.Sequential(
        nn.AvgPool2d(4), nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), second, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
    )  # fmt: skip


def trained(model: nn.Module, *, steps: int, adversarial: bool) -> nn.Module:
    """Train on the bundled images, on clean ones or on those that PGD-3 makes of them."""
    data = load_bundled("train")
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        index = torch.randint(len(data), (64,), generator=generator)
        x, y = data.floats(index), data.y[index]
        if adversarial:
            x = pgd(model, x, y, THREAT, steps=3, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model.train()(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


def made(family: str, *, steps: int, adversarial: bool) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return trained(network(family), steps=steps, adversarial=adversarial)


class Scale(nn.Module):
    """Logits so far apart that the softmax is 1 in float32."""

    def forward(self, logits):
        return 1e4 * logits


class Quantise(nn.Module):
    """Eight levels of grey, and no gradient."""

    def forward(self, x):
        return torch.round(7 * x) / 7


class Noise(nn.Module):
    """Another draw at every pass."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


class MixesBatch(nn.Module):
    """Draws every image towards the mean of its batch."""

    def forward(self, x):
        return x + 0.3 * (x.mean(0, keepdim=True) - x.mean())


class ShatteredGate(nn.Module):
    """A gate that hardly changes what comes out, but whose slope drowns that of everything else."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def gate(self, x):
        return self.inner.gate(x) * (1 + 0.1 * torch.sin(1000 * x))

    def forward(self, x):
        return F.relu(x) * self.gate(x)


class DetachedGate(ShatteredGate):
    """Lets no gradient through at all."""

    def gate(self, x):
        return self.inner.gate(x)

    def forward(self, x):
        return (F.relu(x) * self.gate(x)).detach() + 0 * x


def with_gate(model, kind):
    """A copy of a gated network whose gate is a fake of this kind."""
    model = copy.deepcopy(model)
    (place,) = [module for module in model.modules() if isinstance(module, InjectedActivation)]
    place.activation = kind(place.activation)
    return model
