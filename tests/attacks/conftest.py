"""A small real network, trained for a moment on real images, and the images it has right."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sparta_hub.data import load_bundled


@pytest.fixture(scope="session")
def trained():
    """Network, 100 test images and their classes; about 80 % are right, and small changes break many."""
    data = load_bundled("train")
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(120):
            index = torch.randint(len(data), (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(data.floats(index)), data.y[index]).backward()
            optimizer.step()
    test = load_bundled("test")
    return model.eval(), test.floats(slice(100)), test.y[:100]
