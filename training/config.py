"""One training run, complete."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sparta_hub.activations import Argument
from sparta_hub.threat import ThreatModel


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides the outcome of a run, apart from the machine.

    Args:
        name: name of the recipe.
        host: timm name.
        family, arguments, placement: the activation set; family ``relu`` leaves the host as it is.
        dataset: a name that ``sparta_hub.data`` knows.
        method: a key of ``training.methods.METHODS``.
        threat: the ball the method attacks in.
        epochs, batch_size, lr, momentum, weight_decay: SGD with a one-cycle learning rate that peaks at ``lr``.
        label_smoothing: of the training loss.
        ema_decay: weights are averaged with this decay at every step, with warm-up; BatchNorm statistics likewise.
        precision: ``fp32``, or ``bf16`` for autocast: twice as fast where the processor has bf16 instructions, and
            many times slower where it has not.
        seed: of initialisation, order, augmentation and noise.
    """

    name: str
    host: str
    family: str
    dataset: str = "cifar10"
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    placement: str = "last"
    method: str = "n_fgsm"
    threat: ThreatModel = field(default_factory=ThreatModel)
    epochs: float = 3
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    ema_decay: float = 0.998
    precision: str = "fp32"
    seed: int = 0
