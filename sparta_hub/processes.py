"""Work that several processes share, each with its own part of it.

A process group is used if there is one: ``accelerate.Accelerator()`` or ``torch.distributed.init_process_group`` is
enough. Without one, there is one process, and nothing here waits.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from sparta_hub.errors import SpartaError

T = TypeVar("T")


def process() -> tuple[int, int]:
    """Number of this process and how many there are: (0, 1) without a process group."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else (0, 1)


@contextmanager
def launched_processes() -> Iterator[tuple[bool, torch.device]]:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started, if they did.

    Yields:
        Whether this process is the one that speaks, and the device it should use.
    """
    local, count = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    device = torch.device(f"cuda:{local}" if torch.cuda.is_available() else "cpu")
    if count == 1:
        yield True, device
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank() == 0, device
    finally:
        leave_processes()


def leave_processes() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        time.sleep(0.1)  # lets gloo's threads drop their last tensors: before torch 2.8 they and the next line deadlock
        dist.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order, in each of them. ``value`` must survive pickling."""
    count = process()[1]
    if count == 1:
        return [value]
    values: list[Any] = [None] * count
    dist.all_gather_object(values, value)
    return values


def in_each(work: Callable[[], T]) -> list[T]:
    """What each process makes, in order, in all of them; where one fails, all raise instead of waiting for it."""
    if process()[1] == 1:
        return [work()]
    value, failure = None, None
    try:
        value = work()
    except Exception as error:  # the other processes must not wait for this one
        failure = error
    found = gathered((value, None if failure is None else f"{type(failure).__name__}: {failure}"))
    if failure:
        raise failure
    if failed := [f"process {i} stopped: {text}" for i, (_, text) in enumerate(found) if text]:
        raise SpartaError("; ".join(failed))
    return [item for item, _ in found]


def in_first(work: Callable[[], T]) -> T:
    """What the first process makes, in all of them; none goes on before it is there, and where it fails, all raise."""
    return cast(T, in_each(lambda: work() if process()[0] == 0 else None)[0])
