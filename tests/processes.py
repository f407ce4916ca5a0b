"""Processes of their own that begin at once: each is forked from one that has imported torch and ours already.

Where what is imported first, or the environment at that moment, is what a test is about, it has to start Python anew.
"""

import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["training.run"])
ROOT = Path(__file__).parent.parent


def together(body: Callable[..., None], *arguments: Any, count: int = 2, seconds: float = 240) -> None:
    """Call ``body(rank, *arguments)`` in so many processes at once, which must all end well."""
    processes = [FORKS.Process(target=body, args=(rank, *arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(seconds)
    ends = [process.exitcode for process in processes]
    for process in processes:
        process.kill()  # else those that still wait for each other would outlive the test
    assert ends == [0] * count


class Program:
    """``python -m MODULE WORDS`` in the checkout, in ``environment`` and no other."""

    def __init__(self, module: str, *words: object, environment: dict[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp())
        self._said = [self._folder / name for name in ("out", "err")]
        self._process = FORKS.Process(target=_be, args=(module, [*map(str, words)], environment, self._said))
        self._process.start()

    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        os.kill(self._process.pid or 0, signal.SIGTERM)

    def finish(self, *, seconds: float = 240) -> str:
        """Wait; what it printed. It must end well."""
        self._process.join(seconds)
        end = self._process.exitcode
        self._process.kill()
        out, err = (path.read_text(encoding="utf-8") if path.exists() else "" for path in self._said)
        shutil.rmtree(self._folder)
        assert end == 0, f"exit code {end}\n{out}\n{err}"
        return out


def free_port() -> int:
    """Of this machine, a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _be(module: str, words: Sequence[str], environment: dict[str, str], said: Sequence[Path]) -> None:
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [module, *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
