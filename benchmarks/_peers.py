"""Other attack libraries, each in a virtual environment of its own: torchattacks pins a requests from 2020."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

PEERS = {"torchattacks": "torchattacks==3.5.1", "foolbox": "foolbox==3.3.4", "pyautoattack": "pyautoattack==0.2.0"}


def python_of(peer: str, root: Path) -> Path:
    """The interpreter of an environment under ``root`` with this peer, made if it is not there yet.

    It sees the packages of the environment that runs this, torch and sparta_hub among them, behind its own: so both
    compute with the same torch.
    """
    folder = root / peer
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (folder / "ready").exists():
        return python
    venv.create(folder, with_pip=True, clear=True)
    own = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    ours = sysconfig.get_path("purelib")
    (Path(own) / "zz_ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    subprocess.run([python, "-m", "pip", "install", "--quiet", PEERS[peer], "setuptools<80"], check=True)
    (folder / "ready").touch()
    return python
