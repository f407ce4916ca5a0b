"""The module that stands at a site of a host in place of its activation."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, cast

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparta_hub.errors import SpecError
from sparta_hub.identity import tensors_sha256
from sparta_hub.spec import ActivationSpec, SiteSpec

Frozen = bool | Literal["weights"]


class HeldBatchNorm(nn.Module):
    """What a BatchNorm layer is while its statistics are frozen: the same tensors, always used and never moved.

    It is none of torch's BatchNorm classes, so that what looks for those in a network, to train, reset, fold or
    synchronise them, leaves it alone. It is made by changing a layer's class, and unmade the same way.
    """

    released: type[nn.Module]
    running_mean: Tensor
    running_var: Tensor
    weight: Tensor
    bias: Tensor
    eps: float

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, H, W) with the statistics held."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


class InjectedActivation(nn.Module):
    """An activation in place of a host's own, which it keeps for ``eject`` and ``disabled``.

    Frozen means that nothing moves it: its parameters are turned into buffers, so that no optimiser, weight decay or
    ``requires_grad_`` on the host can reach them; it stays in eval mode whatever mode the host is put in; and its
    BatchNorm layers become ``HeldBatchNorm``, whatever is done to all BatchNorm layers of the host.
    ``frozen="weights"`` lets only those statistics follow the host's mode.

    Args:
        activation: the new activation.
        original: the host's own.
        site: which site of ``spec`` this is.
        spec: the set it belongs to; its origin is that of the weights that ``activation`` has now.
    """

    def __init__(self, activation: nn.Module, original: nn.Module, site: SiteSpec, spec: ActivationSpec) -> None:
        super().__init__()
        self.activation = activation
        self.original = original
        self.site = site
        self.spec = spec
        self.switched_off: list[None] = []  # one entry for each ``disabled``; lists change in one step, also in threads
        self.frozen: Frozen = False
        self.frozen_parameters: dict[str, list[str]] = {}
        self.original_parameters: dict[str, list[str]] = {}
        self.kept = ""  # checksum of what is frozen, as it was then
        self.given = checksum(activation.state_dict()) if spec.origin else ""  # what the origin speaks of
        self.train(original.training)

    @property
    def enabled(self) -> bool:
        """Whether it stands in for the host's own activation, which no ``disabled`` has put back."""
        return not self.switched_off

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation, or the host's own while disabled. x: (B, C, H, W)."""
        return self.activation(x) if self.enabled else self.original(x)

    def train(self, mode: bool = True) -> Self:
        """Follow the host's mode, but for a frozen activation."""
        super().train(mode)
        if self.frozen is True:
            self.activation.eval()
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Cast or move, as ``to`` does; in another dtype the values given are still those."""
        before = self.activation.state_dict()
        super()._apply(fn, recurse)
        after = self.activation.state_dict()
        if any(after[key].dtype != tensor.dtype for key, tensor in before.items()):
            if self.given and self.given == checksum(before):
                self.given = checksum(after)
            if self.kept and self.kept == self._checksum_of_frozen(before):
                self.kept = self._checksum_of_frozen(after)
        return self

    def freeze(self, frozen: Frozen = True) -> None:
        """Turn the activation's parameters into buffers; unless ``"weights"``, hold its statistics too.

        Raises:
            SpecError: ``frozen`` is neither True nor ``"weights"``.
        """
        if check_frozen(frozen) is False:
            raise SpecError('freeze got frozen=False; expected True or "weights". To train it again, call unfreeze.')
        for path, names in _to_buffers(self.activation).items():
            self.frozen_parameters.setdefault(path, []).extend(names)
        self.frozen = frozen
        self._hold_statistics(frozen is True)
        self.kept = self._checksum_of_frozen(self.activation.state_dict())
        self.train(self.training)

    def unfreeze(self) -> None:
        """Turn the frozen buffers back into parameters."""
        _to_parameters(self.activation, self.frozen_parameters)
        self.frozen_parameters.clear()
        self.frozen, self.kept = False, ""
        self._hold_statistics(False)
        self.train(self.training)

    def keep_original(self) -> None:
        """Turn the parameters of the host's own activation into buffers: unused, they would make DDP wait for them."""
        if all(parameter.requires_grad for parameter in self.original.parameters()):
            self.original_parameters = _to_buffers(self.original)

    def take_hooks(self, *, shared: bool) -> None:
        """Let hooks on the host's own activation be hooks on this, which stands where they look; ``eject`` undoes it.

        Args:
            shared: the host calls its own activation elsewhere, too, where they go on to look.
        """
        _hand_over_hooks(self.original, self, keep=shared)

    def release_original(self) -> nn.Module:
        """The host's own activation, in the host's mode, its parameters and hooks such as before."""
        if self._forward_hooks is not self.original._forward_hooks:
            _hand_over_hooks(self, self.original, keep=False)
        _to_parameters(self.original, self.original_parameters)
        self.original_parameters = {}
        return self.original.train(self.training)

    @property
    def overwritten(self) -> bool:
        """Whether something has changed what is frozen, by writing into its tensors."""
        return bool(self.kept) and self.kept != self._checksum_of_frozen(self.activation.state_dict())

    def _checksum_of_frozen(self, state: Mapping[str, Tensor]) -> str:
        if self.frozen is True:
            return checksum(state)
        keys = [f"{path}.{name}".lstrip(".") for path, names in self.frozen_parameters.items() for name in names]
        return checksum({key: state[key] for key in keys})

    def _hold_statistics(self, hold: bool) -> None:
        for module in self.activation.modules():
            layer = cast(Any, module)
            if hold and isinstance(module, _BatchNorm):
                layer.released, layer.__class__ = type(module), HeldBatchNorm
            elif not hold and isinstance(module, HeldBatchNorm):
                layer.__class__ = layer.__dict__.pop("released")

    def extra_repr(self) -> str:
        """What cannot be seen from the children."""
        return f"site={self.site.name}, frozen={self.frozen!r}, enabled={self.enabled}"


_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks",
          "_forward_pre_hooks_with_kwargs", "_backward_hooks", "_backward_pre_hooks")  # fmt: skip


def _hand_over_hooks(old: nn.Module, new: nn.Module, *, keep: bool) -> None:
    for name in _HOOKS:
        hooks = getattr(old, name)  # this very dictionary is where a handle removes its hook from
        hooks.update(getattr(new, name))
        setattr(new, name, hooks)
        if not keep:
            setattr(old, name, type(hooks)())
    new._is_full_backward_hook = old._is_full_backward_hook


def _to_buffers(module: nn.Module) -> dict[str, list[str]]:
    """Turn all parameters into buffers; their names, by path of the part that has them."""
    found: dict[str, list[str]] = {}
    for path, part in module.named_modules():
        others = list(part._buffers)
        for name, parameter in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            # a copy, for an optimiser made earlier still holds the parameter and moves it in place
            part.register_buffer(name, parameter.detach().clone())
            found.setdefault(path, []).append(name)
        for name in others:  # back behind what were parameters: some walk through two state dicts side by side
            part._buffers[name] = part._buffers.pop(name)
    return found


def _to_parameters(module: nn.Module, found: Mapping[str, list[str]]) -> None:
    """Undo ``_to_buffers``; the parameters are new ones."""
    for path, names in found.items():
        part = module.get_submodule(path)
        for name in names:
            tensor = getattr(part, name)
            delattr(part, name)
            part.register_parameter(name, nn.Parameter(tensor))


def check_frozen(frozen: Frozen) -> Frozen:
    """Return ``frozen`` if it is one of its three values, else raise ``SpecError``."""
    if frozen is True or frozen is False or frozen == "weights":
        return frozen
    raise SpecError(f'frozen is {frozen!r}; expected True, False or "weights" (statistics may follow, weights not).')


def parameter_count(module: InjectedActivation) -> int:
    """Learned values of one injected activation, frozen or not."""
    frozen = sum(
        getattr(module.activation.get_submodule(path), name).numel()
        for path, names in module.frozen_parameters.items()
        for name in names
    )
    return frozen + sum(p.numel() for p in module.activation.parameters())


def checksum(state: Mapping[str, Tensor]) -> str:
    """First 16 hex digits of the sha256 over names, dtypes, shapes and bytes of ``state``, in the order of names."""
    if any(tensor.is_meta for tensor in state.values()):
        return "meta"
    return tensors_sha256(sorted(state.items()))[:16]
