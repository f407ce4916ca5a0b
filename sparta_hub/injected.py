"""The module that stands at a site of a host in place of its activation."""

from typing import Literal, Self

from torch import Tensor, nn

from sparta_hub.spec import ActivationSpec, SiteSpec

Frozen = bool | Literal["weights"]


class InjectedActivation(nn.Module):
    """An activation in place of a host's own, which it keeps for ``eject`` and ``disabled``.

    Frozen means that nothing moves it: its parameters are turned into buffers, so that no optimiser, weight decay or
    ``requires_grad_`` on the host can reach them, and it stays in eval mode whatever mode the host is put in, so that
    its BatchNorm statistics stay too. ``frozen="weights"`` lets only those statistics follow the host's mode.

    Args:
        activation: the new activation.
        original: the host's own.
        site: which site of ``spec`` this is.
        spec: the set it belongs to.
    """

    def __init__(self, activation: nn.Module, original: nn.Module, site: SiteSpec, spec: ActivationSpec) -> None:
        super().__init__()
        self.activation = activation
        self.original = original
        self.site = site
        self.spec = spec
        self.enabled = True
        self.frozen: Frozen = False
        self.frozen_parameters: dict[str, list[str]] = {}
        self.train(original.training)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, or the host's own while disabled. x: (B, C, H, W)."""
        return self.activation(x) if self.enabled else self.original(x)

    def train(self, mode: bool = True) -> Self:
        """Follow the host's mode, but for a frozen activation."""
        super().train(mode)
        if self.frozen is True:
            self.activation.eval()
        return self

    def freeze(self, frozen: Frozen = True) -> None:
        """Turn the activation's parameters into buffers; unless ``"weights"``, hold its statistics too."""
        for path, module in self.activation.named_modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
                self.frozen_parameters.setdefault(path, []).append(name)
        self.frozen = frozen
        self.train(self.training)

    def unfreeze(self) -> None:
        """Turn the frozen buffers back into parameters."""
        for path, names in self.frozen_parameters.items():
            module = self.activation.get_submodule(path)
            for name in names:
                tensor = getattr(module, name)
                delattr(module, name)
                module.register_parameter(name, nn.Parameter(tensor))
        self.frozen_parameters.clear()
        self.frozen = False
        self.train(self.training)

    def extra_repr(self) -> str:
        """What cannot be seen from the children."""
        return f"site={self.site.name}, frozen={self.frozen!r}, enabled={self.enabled}"
