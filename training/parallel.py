"""Several processes as one: who has which part of a batch, and how gradients become the same everywhere.

Gradients are averaged after the backward pass by one flat all-reduce, and not by DDP: methods call the model several
times a step, and some differentiate twice. The statistics of BatchNorm are averaged in the same all-reduce, so that all
processes hold the same model after every step; on CUDA, BatchNorm is synchronised too, the model's and that of a
network that a method has of its own, so that a batch has one mean however many processes share it. Accelerate says
which process this is, and ``accelerate launch`` starts them.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.errors import ConfigError


@dataclass(frozen=True)
class World:
    """This process among all of them.

    Args:
        device: that it computes on.
        rank: its number.
        count: how many there are.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    count: int = 1

    @property
    def speaks(self) -> bool:
        """Whether this is the process that writes files and talks."""
        return self.rank == 0

    @property
    def synchronises(self) -> bool:
        """Whether BatchNorm takes its statistics over all processes, which torch's ``SyncBatchNorm`` cannot on CPUs."""
        return self.count > 1 and self.device.type == "cuda"

    def rows(self, total: int) -> slice:
        """This process's part of a batch of ``total`` images.

        Raises:
            ConfigError: the batch cannot be shared evenly.
        """
        if total % self.count:
            raise ConfigError(f"batch_size is {total}; expected a multiple of the {self.count} processes.")
        own = total // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """For each flag, whether it is true in any process. All processes have to ask."""
        if self.count == 1:
            return list(flags)
        seen = torch.tensor(flags, dtype=torch.int32, device=self.device)
        dist.all_reduce(seen, dist.ReduceOp.MAX)
        return [bool(flag) for flag in seen.tolist()]


def join_world(device: str) -> World:
    """Join the processes that a launcher started, if one did.

    Args:
        device: ``auto``, ``cpu``, or one of torch's, such as ``cuda`` or ``cuda:1``.

    Raises:
        ConfigError: torch knows no such device, or there is none.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"--device {device}: torch {torch.__version__} finds no CUDA here; type --device cpu.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if "LOCAL_RANK" in os.environ:  # which every launcher sets
        from accelerate import PartialState

        state = PartialState(cpu=device == "cpu")
        assert state.device is not None
        return World(state.device, state.process_index, state.num_processes)
    return World(device_named(device))


def device_named(name: str) -> torch.device:
    """The device that torch calls so.

    Raises:
        ConfigError: torch knows no such device, this machine has none, or nothing can be computed on it.
    """
    try:
        device = torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, ImportError) as error:  # torch's own words may be a page
        raise ConfigError(f"--device {name}: this machine has none; expected cpu, cuda or cuda:1.") from error
    if device.type == "meta":
        raise ConfigError("--device meta holds no values to compute with; expected cpu, cuda or cuda:1.")
    return device


@torch.no_grad()
def average_(tensors: Iterable[Tensor], world: World) -> None:
    """Replace each tensor by its mean over all processes, in place; all of them travel as one."""
    if world.count == 1:
        return
    whole = list(tensors)
    flat = torch.cat([t.reshape(-1).float() for t in whole])
    dist.all_reduce(flat)
    flat /= world.count
    for tensor, mean in zip(whole, flat.split([t.numel() for t in whole]), strict=True):
        tensor.copy_(mean.view(tensor.shape))


def statistics(model: nn.Module) -> list[Tensor]:
    """The running means and variances that the last step moved; frozen ones are not among them."""
    found = (m for m in model.modules() if isinstance(m, _BatchNorm) and m.training and m.track_running_stats)
    return [t for m in found for t in (m.running_mean, m.running_var) if t is not None]
