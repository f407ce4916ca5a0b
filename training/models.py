"""The network of a run: a timm host with its activation set."""

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import nn

import sparta_hub
from sparta_hub.hosts import create_host
from sparta_hub.surgery import inject
from training.config import TrainConfig


def make_model(config: TrainConfig, num_classes: int, *, synchronised: bool = False) -> nn.Module:
    """The host with its activation set, freshly initialised from the seed; twins share the host's initial weights.

    A pretrained set is put in instead where ``config.activation`` names one, and frozen as ``config.frozen`` says.

    Args:
        config: host, activation set and seed are looked at.
        num_classes: of the head.
        synchronised: let BatchNorm take its statistics over all processes.

    Returns:
        The network on the CPU, channels_last, in training mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = create_host(config.host, num_classes)
        if config.activation:
            sparta_hub.load(config.activation, model=model)
        elif config.family != "relu":
            inject(model, config.family, placement=config.placement, arguments=config.arguments)
    if synchronised:
        model = convert_sync_batchnorm(model)
    if config.frozen:  # after the conversion, which knows no frozen weights
        sparta_hub.freeze(model, frozen=config.frozen)
    return model.to(memory_format=torch.channels_last).train()  # pyright: ignore  torch's own types lack the format
