"""Small honest networks, made once."""

from collections.abc import Iterator

import pytest
import torch

from sparta_hub.data import load_bundled
from tests.diagnostics.networks import made


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def images():
    return load_bundled("test")


@pytest.fixture(scope="session")
def undefended():
    return made("relu", steps=120, adversarial=False)


@pytest.fixture(scope="session")
def robust():
    return made("relu", steps=150, adversarial=True)


@pytest.fixture(scope="session")
def gated():
    return made("se_gated_relu", steps=120, adversarial=False)


@pytest.fixture(scope="session")
def sparta():
    return made("sparta", steps=120, adversarial=True)
