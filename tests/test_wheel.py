"""The wheel: builds, holds ``sparta_hub`` alone, and works outside the checkout."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_it_holds_the_package_alone_and_the_bundled_weights_without_hosts(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"sparta_hub"}
    assert "sparta_hub/zoo/sparta-res18-cifar/activations.safetensors" in names
    assert "sparta_hub/registry.json" in names
    assert "sparta_hub/py.typed" in names  # or type checkers do not read our annotations
    assert "sparta_hub/assets/fashion_mnist_small.npz" in names
    assert not [name for name in names if "/model" in name and name.endswith(".safetensors")]
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 25_000_000


def test_it_works_in_a_clean_environment_outside_the_checkout(wheel, tmp_path):
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "others.pth").write_text(
        sysconfig.get_path("purelib")
    )  # torch and timm, as installed here; not this checkout
    code = (
        "import sparta_hub, torch; from pathlib import Path; "
        f"assert not Path(sparta_hub.__file__).is_relative_to({str(ROOT)!r}), sparta_hub.__file__; "
        "model = sparta_hub.load('sparta-res18-cifar', model='resnet18_cifar', frozen=True); "
        "print(tuple(model(torch.rand(2, 3, 32, 32)).shape), sparta_hub.list_models())"
    )
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(2, 10) [")
    assert "'sparta-res18-cifar'" in done.stdout
    command = subprocess.run(
        [python, "-m", "sparta_hub", "list"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "sparta-res18-cifar" in command.stdout
