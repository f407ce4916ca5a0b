"""The tiny pair as the Space sees it."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from space_cases import tiny  # first: it makes the Space's modules importable

# isort: split

from demo import Network
from networks import Entry, find_entries
from show import open_show, read_network
from state import State


@pytest.fixture(scope="session")
def zoo(tmp_path_factory) -> Path:
    """A folder with ``sparta-tiny`` and its twin ``relu-tiny``. Do not write into it."""
    root = tmp_path_factory.mktemp("zoo")
    tiny(root / "sparta-tiny", "sparta")
    tiny(root / "relu-tiny", "relu")
    return root


@pytest.fixture(scope="session")
def entries(zoo) -> dict[str, Entry]:
    return find_entries([zoo])


@pytest.fixture(scope="session")
def networks(entries) -> list[Network]:
    return [read_network(entry, torch.device("cpu")) for entry in entries.values()]


@pytest.fixture(scope="session")
def show(entries, tmp_path_factory):
    """The pair, with nothing stored."""
    return open_show(entries, torch.device("cpu"), stored=tmp_path_factory.mktemp("nothing"))


@pytest.fixture
def state(show) -> State:
    return replace(show.first, eps=8.0, steps=2)


@pytest.fixture(scope="session")
def server(zoo, tmp_path_factory):
    """The app in a process of its own."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install --group dev")
    script = Path(__file__).parent / "serve.py"
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as errors:
        command = [sys.executable, str(script), str(zoo), str(zoo / "nothing")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
            yield process
            process.terminate()
    raised = re.findall(r"^([\w.]+(?:Error|Exception|Warning))\b", log.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(raised) <= {"gradio.exceptions.Error"}  # sentences for visitors, and nothing else, whatever they did


@pytest.fixture(scope="session")
def url(server):
    """Where the app is."""
    address = server.stdout.readline().strip()
    assert address.startswith("http"), "the app did not start"
    return address.rstrip("/")
