"""Where bfloat16 is worth having, and where it is emulated and takes many times as long as float32."""

import torch

from training.config import TrainConfig


def without_bfloat16(device: torch.device) -> str | None:
    """Why ``device`` has to emulate bfloat16; None where it has it."""
    if device.type == "cpu" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return "this CPU has no bf16 that oneDNN supports"
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return "this GPU has no bf16"
    return None


def slow_precision(config: TrainConfig, device: torch.device) -> str | None:
    """What to say, and to type, where the precision of ``config`` is emulated on ``device``; else None."""
    if config.precision != "bf16" or (reason := without_bfloat16(device)) is None:
        return None
    return f"precision is bf16, and {reason}: many times slower than --set precision=fp32."
