import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparta_hub.artifacts import WEIGHTS, sha256_of
from sparta_hub.data import Images
from tests.conftest import HOST
from training.card import BEGIN, END
from training.config import TrainConfig
from training.data import in_memory
from training.engine import Options, train
from training.parallel import World
from training.records import RECORD


def noise(count: int = 40, seed: int = 0) -> Images:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Images(x, torch.arange(count) % 10, "cifar10")


@pytest.fixture
def data() -> Images:
    return noise()


@pytest.fixture
def tiny() -> TrainConfig:
    """A run of eight steps with everything that has state: an activation set, averaging, momentum, validation."""
    return TrainConfig(
        "tiny", HOST, "sparta", arguments={"hidden": 8}, method="n_fgsm", epochs=2, batch_size=8, validation=8,
        ema_decay=0.9, seed=3,
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Makes the folder of a finished run on noise: a copy, where a run of the same was made before."""
    kept = tmp_path_factory.mktemp("kept")

    def make(folder: Path, config: TrainConfig, options: Options | None = None) -> Path:
        given = sha256_of(Path(config.activation) / WEIGHTS) if config.activation else ""
        same = hashlib.sha256(repr((replace(config, activation=given), options)).encode()).hexdigest()
        if not (kept / same / RECORD).exists():
            train(config, in_memory(config, noise(), World()), kept / same, options=options)
        shutil.copytree(kept / same, folder)
        record = json.loads((folder / RECORD).read_text())
        record["config"]["activation"] = config.activation  # in whichever test it was
        (folder / RECORD).write_text(json.dumps(record))
        return folder

    return make


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """For a process of its own, which finds 60 images of CIFAR-10's form and uses one thread."""
    x = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    y = np.arange(60) % 10
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    return {**os.environ, "SPARTA_DATA": str(tmp_path), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A place to publish to, with a data set."""
    images = noise()
    x = images.x.permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "cifar10.npz", x_train=x, y_train=images.y, x_test=x, y_test=images.y)
    monkeypatch.setenv("SPARTA_DATA", str(tmp_path))
    (tmp_path / "sparta_hub").mkdir()
    (tmp_path / "sparta_hub/registry.json").write_text("{}")
    (tmp_path / "README.md").write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    rows = [{"case": f"sparta{end}", "parameters": 7, "flops": 1.1, "ratios": {"train": 1.2, "inference": 1.3}}
            for end in ("", " (frozen)")]  # fmt: skip
    table = {"setting": {"host": HOST, "precision": "fp32"}, "rows": rows}
    overhead = {"machine": {"hardware": "a machine"}, "results": [table]}
    (tmp_path / "benchmarks/records").mkdir(parents=True)
    (tmp_path / "benchmarks/records/overhead.json").write_text(json.dumps(overhead))
    return tmp_path
