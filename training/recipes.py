"""Recipes: functions that return a complete configuration. Derive one by calling another and changing fields."""

from collections.abc import Callable
from dataclasses import replace

from training.config import TrainConfig


def cpu_sparta_res18_cifar() -> TrainConfig:
    """SPARTA in ResNet-18 on CIFAR-10, for CPU cores with bf16: N-FGSM, few epochs, small batches for more steps."""
    return TrainConfig(
        "cpu_sparta_res18_cifar", "resnet18_cifar", "sparta", epochs=4, batch_size=64, lr=0.1, precision="bf16"
    )


def cpu_relu_res18_cifar() -> TrainConfig:
    """The ReLU twin of ``cpu_sparta_res18_cifar``."""
    return replace(cpu_sparta_res18_cifar(), name="cpu_relu_res18_cifar", family="relu")


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "cpu_sparta_res18_cifar": cpu_sparta_res18_cifar,
    "cpu_relu_res18_cifar": cpu_relu_res18_cifar,
}
