"""Python in other processes: each test of the cache or the machine gets its own, with a cache of its own."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
RESOLVE = "import sys; from sparta_hub.hub import resolve; print(resolve(sys.argv[1]))"


def start(
    code: str, *arguments: object, home: Path, wrapper: tuple[str, ...] = (), **env: str
) -> subprocess.Popen[str]:
    """Start ``python -c code`` with an empty or earlier Hub cache ``home``; settings are environment variables."""
    settings = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HF_HUB_OFFLINE")}
    return subprocess.Popen(
        [*wrapper, sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT, env={**settings, "HF_HOME": str(home), **env}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], *, fails: bool = False) -> str:
    """Wait; what it printed, or the last line of its error if it is to fail."""
    out, err = process.communicate(timeout=120)
    assert (process.returncode != 0) == fails, f"exit code {process.returncode}\n{out}\n{err}"
    return err.strip().splitlines()[-1] if fails else out.strip()
