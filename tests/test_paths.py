"""Paths as users type them: ~ is the home folder, and what cannot be a path is said to be none."""

from pathlib import Path

import pytest
import torch
from torch import nn

import sparta_hub
from sparta_hub.data import Images, load_images
from sparta_hub.diagnostics import diagnose
from sparta_hub.errors import ArtifactError, DataError, HubError, ReportError
from sparta_hub.evaluation import evaluate
from sparta_hub.hosts import create_host
from sparta_hub.hub.space_pushing import push_space
from sparta_hub.paths import typed_path
from sparta_hub.threat import ThreatModel

NOBODY, NULL = "~no-such-user-here/x", "a\0b"
SAID = {
    NOBODY: "there is no user no-such-user-here here; expected ~/... or another path",
    NULL: r"'a\\x00b' holds a null",
}


def test_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert typed_path("~/set", ArtifactError) == tmp_path / "set"
    assert typed_path(Path("~"), ArtifactError) == tmp_path
    assert typed_path("a~/b", ArtifactError) == Path("a~/b")


def network():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


def with_sparta():
    host = create_host("resnet18_w16_cifar")
    sparta_hub.inject(host, "sparta")
    return host


def images():
    return Images(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64), "grey")


@pytest.mark.parametrize("path", [NOBODY, NULL], ids=["nobody", "null"])
@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda path: sparta_hub.save(with_sparta(), path), ArtifactError),
        (lambda path: sparta_hub.push_to_hub(path, "me/set", dry_run=True), ArtifactError),
        (lambda path: push_space(path, "me/space", dry_run=True), HubError),
        (lambda path: load_images("tiny", "test", path), DataError),
        (lambda path: load_images(Path(path), "test"), DataError),
        (lambda path: evaluate(network(), images(), [], batch_size=1, seed=0, out=path), ReportError),
        (lambda path: diagnose(network(), images(), ThreatModel("linf", 0.1), out=path), ReportError),
    ],
    ids=["save", "push_to_hub", "push_space", "load_images root", "load_images", "evaluate", "diagnose"],
)  # fmt: skip
def test_what_cannot_be_a_path_is_said_to_be_none(use, error, path):
    with pytest.raises(error, match=SAID[path]):
        use(path)
