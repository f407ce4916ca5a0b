"""What a finished run leaves: weights, activations, a curve, and a record with everything to run it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from sparta_hub.saving import save_model
from training.artifact import trained_network
from training.checkpoints import Progress, write_whole
from training.config import TrainConfig
from training.metrics import CURVE, draw_curve
from training.settings import to_json
from training.validation import Validation, aim, best_of, overfitted_at
from training.weights import write_weights

RECORD, ARTIFACT = "training.json", "artifact"
LOSSES = 200  # losses that a record keeps; all are in metrics.jsonl


def finish(
    out: Path,
    config: TrainConfig,
    data: Mapping[str, Any],
    progress: Progress,
    last: Mapping[str, Tensor],
    best: Mapping[str, Tensor],
    *,
    num_classes: int,
    size: int,
    max_shard_bytes: int | None = None,
) -> None:
    """Write the last and the best weights, the activations, the curve and, as the sign that all is there, the record.

    Args:
        out: folder of the run.
        config, data, progress: for the record.
        last, best: states of the network; the latter is empty without validation.
        num_classes, size: of the images, for ``artifact``, the folder with the best activations that ``load`` reads.
        max_shard_bytes: see ``write_weights``.
    """
    history = progress.history
    by = aim(config)
    chosen, measured = best_of(history, by), history[-1] if history else None
    found = {"last": _row(progress.step, measured, write_weights(out, "last", last, max_bytes=max_shard_bytes))}
    if chosen:
        found["best"] = _row(chosen.step, chosen, write_weights(out, "best", best, max_bytes=max_shard_bytes))
    if config.activation or config.family != "relu":
        save_model(trained_network(config, best or last, num_classes=num_classes, size=size), out / ARTIFACT)
    losses = [row for row in progress.log if row["kind"] == "loss"]
    record = {
        "config": to_json(config),
        "data": dict(data),
        "steps": progress.step,
        "images": progress.step * config.batch_size,
        "seconds": round(progress.seconds, 1),
        **found,
        "overfitted_at_step": overfitted_at(history) if by == "pgd" else None,
        "validations": [asdict(v) for v in history],
        "losses": [[row["step"], round(row["loss"], 4)] for row in losses[:: -(-len(losses) // LOSSES) or 1]],
        "launches": progress.launches,
        **{key: value for key, value in progress.launches[-1].items() if key != "step"},
    }
    draw_curve(progress.log, out / CURVE, title=f"{config.name}, seed {config.seed}")
    write_whole(out / RECORD, (json.dumps(record, indent=1, allow_nan=False) + "\n").encode())


def keep(record: Mapping[str, Any], folder: Path, *, name: str) -> Path:
    """Write a record as ``NAME.json``, or ``NAME-K.json`` where that is taken: none is ever replaced.

    Args:
        record: plain values.
        folder: made if need be.
        name: without an ending.
    """
    text = json.dumps(record, indent=1, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    k = 1
    while True:
        path = folder / (f"{name}.json" if k == 1 else f"{name}-{k}.json")
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
            return path
        except FileExistsError:
            k += 1
        except OSError:  # a full disk
            path.unlink(missing_ok=True)
            raise


def _row(step: int, measured: Validation | None, files: Mapping[str, str]) -> dict[str, Any]:
    accuracies = {"clean": measured.clean, "pgd": measured.pgd} if measured else {}
    return {"step": step, **accuracies, "files": dict(files)}
