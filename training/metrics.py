"""What is seen of a run: a bar, a JSONL file, TensorBoard where it is installed, and a curve at the end."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from tqdm import tqdm

from training.checkpoints import write_whole
from training.errors import CheckpointError

LOG, CURVE = "metrics.jsonl", "curve.png"


class Log:
    """Shows and keeps the metrics of a run. Only the process that speaks has one.

    Args:
        folder: for ``metrics.jsonl`` and TensorBoard's ``events``.
        rows: lines that are there already; what an interrupted run wrote after them is dropped.
        name: of the run.
        step, steps: done, and of the whole run.
    """

    def __init__(self, folder: Path, rows: Sequence[dict[str, Any]], *, name: str, step: int, steps: int) -> None:
        write_whole(folder / LOG, "".join(map(_line, rows)).encode())
        self._file = (folder / LOG).open("a", encoding="utf-8", buffering=1)
        self._board = _tensorboard(folder / "events", step)
        self._shown: dict[str, str] = {}
        self.bar = tqdm(total=steps, initial=step, desc=name, unit="step", mininterval=1)

    def add(self, row: dict[str, Any]) -> None:
        """Keep one line; its numbers appear beside the bar."""
        try:
            self._file.write(_line(row))
        except OSError as error:
            raise CheckpointError(
                f"{self._file.name} cannot be written: {error.strerror}. The last checkpoint beside it is whole."
            ) from error
        numbers = {k: v for k, v in row.items() if k not in ("step", "epoch", "seconds") and isinstance(v, int | float)}
        for key, value in numbers.items():
            if self._board is not None:
                self._board.add_scalar(key, value, row["step"])
        keys = {"loss": "loss", "clean": "clean", "pgd": "PGD-10", "images_per_second": "img/s"}
        self._shown |= {keys[k]: f"{v:.4g}" for k, v in numbers.items() if k in keys}
        self.bar.set_postfix(self._shown, refresh=False)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.bar.write(text)

    def close(self) -> None:
        """Close file and bar."""
        self._file.close()
        self.bar.close()
        if self._board is not None:
            self._board.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step)


def draw_curve(rows: Sequence[dict[str, Any]], path: Path, *, title: str) -> None:
    """Draw training loss and validation accuracies over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4))
    left = figure.subplots(gridspec_kw={"left": 0.1, "right": 0.9, "bottom": 0.2, "top": 0.92})
    losses = [row for row in rows if row["kind"] == "loss"]
    left.plot([row["epoch"] for row in losses], [row["loss"] for row in losses], color="0.6", label="training loss")
    left.set(xlabel="epoch", ylabel="training loss", title=title)
    right = left.twinx()
    found = [row for row in rows if row["kind"] == "validation"]
    for key, color, label in (("clean", "C0", "clean"), ("pgd", "C3", "PGD-10")):
        right.plot([row["epoch"] for row in found], [row[key] for row in found], color, marker=".", label=label)
    right.set(ylabel="validation accuracy, %", ylim=(0, 100))
    figure.legend(loc="lower center", ncols=3)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_whole(path, picture.getvalue())
