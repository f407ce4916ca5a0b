"""Small honest networks, made once."""

import pytest

from sparta_hub.data import load_bundled
from tests.diagnostics.networks import made


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
