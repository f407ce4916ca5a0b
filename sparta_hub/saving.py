"""Artifact folders, written such that they can be read: everything is checked before the first byte."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from sparta_hub import __version__
from sparta_hub.artifacts import CARD, CONFIG, RESULTS, WEIGHTS, check_host, host_files, read_config
from sparta_hub.errors import ArtifactError, SpartaError, SpecError, short
from sparta_hub.injected import InjectedActivation
from sparta_hub.matching import build_modules
from sparta_hub.records import write_together
from sparta_hub.site_search import image_shape, uncompiled
from sparta_hub.spec import ActivationSpec, ArtifactConfig, HostSpec, Origin
from sparta_hub.surgery import eject, spec_of, state_of

MAX_SHARD_BYTES = 15_000_000
SAME = 1e-3  # largest difference of the logits of two networks that are one, as a share of the largest: rounding


def save_model(
    model: nn.Module,
    folder: Path,
    *,
    results: Mapping[str, Any] | None = None,
    with_host: bool = False,
    origin: Origin | None = None,
) -> ArtifactConfig:
    """Write the activation set inside ``model`` as an artifact folder, nothing but what its spec and weights say.

    Everything is checked as strictly as ``load`` does, before the first byte is written.

    Args:
        model: a host with an activation set; frozen or not.
        folder: made if need be; an artifact in it is replaced.
        results: figures with their provenance, for ``results.json``.
        with_host: also write the host's weights, float16, in shards below 16 MB.
        origin: where these weights were trained; None: as ``spec_of`` knows it.

    Returns:
        The config that was written.

    Raises:
        SiteError: the model holds no activation set.
        ArtifactError: a weight is NaN or infinite, or does not fit into float16; ``load`` could not read the set, or
            make the host again; or the folder holds figures or a card of other weights.
        SpecError: ``origin`` is none.
    """
    model = uncompiled(model)
    if origin is not None and not isinstance(origin, Origin):
        raise SpecError(f"origin is {short(origin)}; expected sparta_hub.Origin(host=..., num_classes=..., ...).")
    spec = replace(spec_of(model), origin=origin) if origin else spec_of(model)
    blobs = {WEIGHTS: _to_bytes(_checked_state(model, spec))}
    host = None
    if with_host:
        state = host_state(model)
        host = _host_of(model, state)
        blobs |= _host_shards(state)
        _check_remade(model, host, state)
    if results is not None:
        blobs[RESULTS] = to_json_bytes(results)
    files = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    config = ArtifactConfig(spec, files, __version__)
    if host != config.trained_host:
        config = replace(config, host=host)
    config, stale = _replacing(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    write_together(folder, {**blobs, CONFIG: to_json_bytes(config.to_json())})
    for name in stale:
        (folder / name).unlink(missing_ok=True)
    return config


def host_state(model: nn.Module) -> dict[str, Tensor]:
    """State of the host without the activation set, under the names it has without ours."""
    inside = [path for path, module in model.named_modules() if isinstance(module, InjectedActivation)]
    return {
        key.replace(".original.", ".") if any(key.startswith(f"{path}.original.") for path in inside) else key: tensor
        for key, tensor in model.state_dict().items()
        if not any(key.startswith(f"{path}.activation.") for path in inside)
    }


def to_json_bytes(value: Any) -> bytes:
    """JSON as every file of an artifact has it: indented, one newline at the end."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def in_shards(name: str, tensors: Mapping[str, Tensor], max_bytes: float) -> dict[str, dict[str, Tensor]]:
    """Tensors by file: ``NAME.safetensors``, or ``NAME-00001-of-00003.safetensors`` and so on.

    Args:
        name: what the files are called.
        tensors: in this order.
        max_bytes: of a file; one tensor is never split.
    """
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for key, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        if used + size > max_bytes and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][key] = tensor
        used += size
    ends = [""] if len(shards) == 1 else [f"-{i:05d}-of-{len(shards):05d}" for i in range(1, len(shards) + 1)]
    return {f"{name}{end}.safetensors": shard for end, shard in zip(ends, shards, strict=True)}


def _checked_state(model: nn.Module, spec: ActivationSpec) -> dict[str, Tensor]:
    """Tensors of the activation set on the CPU, if they are such as ``load`` accepts."""
    if any(tensor.is_meta for tensor in model.state_dict().values()):
        raise ArtifactError("The network lies on the meta device and has no values; nothing was written.")
    tensors = {key: t.detach().cpu().contiguous() for key, t in state_of(model).items()}
    if bad := [key for key, t in tensors.items() if not t.isfinite().all()]:
        raise ArtifactError(f"{bad[0]} holds NaN or infinite values; nothing was written.")
    try:
        build_modules(spec, tensors)
    except (ArtifactError, SpecError) as error:
        raise ArtifactError(
            f"Nothing was written, for load could not read it. {error} Something changed the modules of the activation "
            "since it was put in, such as pruning, torch.compile or timm.utils.freeze: save before that."
        ) from error
    return tensors


def _host_of(model: nn.Module, state: Mapping[str, Tensor]) -> HostSpec:
    """The name under which timm makes the network of ``state`` again, proven."""
    name = (getattr(model, "pretrained_cfg", None) or {}).get("architecture")
    instead = (
        "Nothing was written. Save the activations alone (with_host=False), and keep the network's state_dict() in a "
        "file of your own."
    )
    if not isinstance(name, str):
        raise ArtifactError(
            f"{type(model).__name__} is no timm network, and load could not make it again; if one is inside, pass that "
            f"one. {instead}"
        )
    try:
        host = HostSpec(name, getattr(model, "num_classes", None))  # pyright: ignore[reportArgumentType]  it checks
        check_host(host, state)
    except SpartaError as error:
        raise ArtifactError(f"load could not make this network again. {error} {instead}") from error
    return host


def _check_remade(model: nn.Module, host: HostSpec, state: Mapping[str, Tensor]) -> None:
    """Refuse a network that computes something else than timm's of its name does with the same weights.

    Weights do not tell ReLU from SiLU, one stride or pool from another, nor whether images are normalised inside.
    """
    from sparta_hub.hosts import create_host

    own = copy.deepcopy(model).cpu().float()
    if any(isinstance(part, InjectedActivation) for part in own.modules()):
        own = eject(own)
    with torch.random.fork_rng([]), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(image_shape(own), generator=generator, dtype=torch.float32)  # whatever torch's default is
        again = create_host(host.name, host.num_classes).float()
        again.load_state_dict(state)
        seen, made = own.eval()(image), again.eval()(image)
    if seen.shape != made.shape or not (seen - made).abs().max() <= SAME * seen.abs().max():
        raise ArtifactError(
            f"load could not make this network again: timm's {host.name} gives other logits with the same weights. "
            f"{_difference(own, again)} Nothing was written. Save the activations alone (with_host=False)."
        )


def _difference(own: nn.Module, again: nn.Module) -> str:
    """The first part of ``own`` that is another in ``again``, in words."""
    parts = dict(again.named_modules())
    for path, part in own.named_modules():
        here, there = (f"{type(p).__name__}({p.extra_repr()})" for p in (part, parts.get(path, nn.Module())))
        if here != there and not list(part.children()):
            return f"{path} is {here} here and {there} there."
    return (
        "Something that is no layer differs, such as a normalisation in forward or a hook: put it around the network."
    )


def _replacing(folder: Path, config: ArtifactConfig) -> tuple[ArtifactConfig, list[str]]:
    """What to write where an artifact may lie already, and which of its files have to go.

    Figures and a card may be somebody's work: they stay with the weights they are of, and are not put beside others.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; expected a folder, or the name of a new one.")
    if (folder / CONFIG).is_symlink():
        raise ArtifactError(
            f"{folder} is the Hub's cache, where a commit has to stay what it is; save into a folder of your own."
        )
    if not (folder / CONFIG).is_file():
        if taken := [name for name in (WEIGHTS, RESULTS) if (folder / name).exists()]:
            raise ArtifactError(
                f"{folder} holds {taken[0]} and no {CONFIG}, so it is not known what that is. Save into another "
                "folder, or remove it first; nothing was written."
            )
        return config, []
    try:
        old = read_config(folder)
    except SpartaError as error:
        raise ArtifactError(
            f"{folder} holds a {CONFIG} that this version does not read, so it is not known what would be lost. Save "
            f"into another folder, or remove it first; nothing was written. {error}"
        ) from error
    host, before = ({name: c.files[name] for name in host_files(c)} for c in (config, old))
    if not all((folder / name).is_file() for name in before):
        before = {}
    same = old.activation == config.activation and old.files.get(WEIGHTS) == config.files[WEIGHTS]
    if same and (not host or not before or host == before):
        kept = {RESULTS: old.files[RESULTS]} if RESULTS in old.files and (folder / RESULTS).is_file() else {}
        if before and not host:  # the network that these activations were trained in
            config = replace(config, host=old.host)
        return replace(config, files={**before, **kept, **config.files}), []
    left = [name for name in (RESULTS, CARD) if name not in config.files and (folder / name).exists()]
    if left:
        raise ArtifactError(
            f"{folder} holds {' and '.join(left)} of other weights, which would be read as those of these. Save into "
            f"another folder, or remove {'it' if len(left) == 1 else 'them'} first; nothing was written."
        )
    return config, [name for name in host_files(old) if name not in config.files]


def _host_shards(state: Mapping[str, Tensor]) -> dict[str, bytes]:
    halves: dict[str, Tensor] = {}
    for key, tensor in state.items():
        half = tensor.detach().cpu().half().contiguous() if tensor.is_floating_point() else tensor.cpu().contiguous()
        if not half.isfinite().all():
            raise ArtifactError(f"{key} does not fit into float16; nothing was written.")
        halves[key] = half
    return {name: _to_bytes(shard) for name, shard in in_shards("model", halves, MAX_SHARD_BYTES).items()}


def _to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return save(dict(sorted(tensors.items())), metadata={"format": "pt"})
