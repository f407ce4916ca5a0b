"""Artifacts: a folder with ``config.json`` and ``activations.safetensors``, read and written strictly and offline."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sparta_hub.activations import build
from sparta_hub.errors import ArtifactError, SpartaError, SpecError, short
from sparta_hub.injected import InjectedActivation
from sparta_hub.matching import build_modules
from sparta_hub.site_search import uncompiled
from sparta_hub.spec import ActivationSpec, ArtifactConfig, HostSpec, Origin
from sparta_hub.surgery import spec_of, state_of

CONFIG, WEIGHTS, RESULTS, CARD = "config.json", "activations.safetensors", "results.json", "README.md"
HOST_PATTERN = "model*.safetensors"
MAX_CONFIG_BYTES = 4 << 20
MAX_HEADER_BYTES = 4 << 20  # of a safetensors file: reading it takes up to 30 times that
MAX_SHARD_BYTES = 15_000_000


@dataclass(frozen=True)
class Artifact:
    """An activation set in memory.

    Args:
        config: what ``config.json`` holds.
        tensors: weights and statistics by file key, such as ``stage4.block2.conv2.weight``.
        folder: where it was read.
    """

    config: ArtifactConfig
    tensors: Mapping[str, Tensor]
    folder: Path

    @property
    def spec(self) -> ActivationSpec:
        """The activation set's description."""
        return self.config.activation

    @property
    def has_host(self) -> bool:
        """Whether the trained host's weights lie in the folder."""
        return bool(host_files(self.config)) and all((self.folder / name).is_file() for name in host_files(self.config))


def host_files(config: ArtifactConfig) -> list[str]:
    """Names of the shards that hold the trained host."""
    return sorted(name for name in config.files if Path(name).match(HOST_PATTERN))


def read_config(folder: Path) -> ArtifactConfig:
    """Read and check ``folder/config.json``.

    Raises:
        ArtifactError: it is not there or no JSON; its folder is named.
        SpecError: it says something that cannot be.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise ArtifactError(f"{folder} has no {CONFIG}; expected an artifact folder as sparta_hub.save writes it.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ArtifactError(f"{path} has {path.stat().st_size:,} bytes; a config has a few thousand.")
    return ArtifactConfig.from_json(read_json(path))


def read_json(path: Path) -> Any:
    """Parse a file of an artifact; an ``ArtifactError`` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError, OSError) as error:
        raise ArtifactError(f"{path} is not JSON ({error}); download or save the artifact again.") from error


def read_artifact(folder: Path) -> Artifact:
    """Read an artifact folder strictly: config, checksums, keys, shapes, dtypes and values.

    Raises:
        ArtifactError: a file is missing, damaged, or holds other tensors than the config says.
        SpecError: the config is wrong.
    """
    config = read_config(folder)
    if WEIGHTS not in config.files:
        raise ArtifactError(f"{folder / CONFIG} gives no sha256 for {WEIGHTS}; save the artifact again.")
    path = folder / WEIGHTS
    check_file(path, config.files[WEIGHTS])
    tensors = read_tensors(path)
    _check_count(config.activation, tensors)
    build_modules(config.activation, tensors)  # refuses anything that does not fit, without needing a host
    return Artifact(config, tensors, folder)


def read_host(artifact: Artifact) -> dict[str, Tensor]:
    """Read the trained host's weights (its own state-dict names) from the shards, as float32.

    Raises:
        ArtifactError: a shard is missing or damaged.
    """
    tensors: dict[str, Tensor] = {}
    for name in host_files(artifact.config):
        check_file(artifact.folder / name, artifact.config.files[name])
        tensors |= read_tensors(artifact.folder / name)
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; anything else under that name is an ``ArtifactError`` that says what it looks like."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > MAX_HEADER_BYTES:
        raise ArtifactError(
            f"{path} is not a readable safetensors file: {looks_like(path)} (a header of {header:,} bytes; ours "
            "have some thousand)."
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  not a dict
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError) as error:
        raise ArtifactError(f"{path} is not a readable safetensors file: {looks_like(path)} ({error}).") from error


def check_host(host: HostSpec, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of ``host``, which is laid out without memory for that.

    Raises:
        ArtifactError: timm makes a network with other tensors under that name.
        SiteError: timm knows no such network.
    """
    from sparta_hub.hosts import host_on_meta

    own = host_on_meta(host.name, host.num_classes).state_dict()
    different = sorted(own.keys() ^ state.keys()) or [key for key in own if own[key].shape != state[key].shape]
    if different:
        seen = [str(tuple(t[different[0]].shape)) if different[0] in t else "missing" for t in (state, own)]
        raise ArtifactError(
            f"The host weights are not those of {host.name} with {host.num_classes} classes: {short(different[0])} is "
            f"{seen[0]}, and {seen[1]} in that network; {len(different)} tensors differ."
        )


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
    """
    from sparta_hub import __version__

    model = uncompiled(model)
    spec = replace(spec_of(model), origin=origin) if origin else spec_of(model)
    blobs = {WEIGHTS: _to_bytes(_checked_state(model, spec))}
    host = None
    if with_host:
        state = host_state(model)
        host = _host_of(model, state)
        blobs |= _host_shards(state)
    if results is not None:
        blobs[RESULTS] = to_json_bytes(results)
    files = {name: hashlib.sha256(blob).hexdigest() for name, blob in blobs.items()}
    config = ArtifactConfig(spec, files, __version__)
    if host != config.trained_host:
        config = replace(config, host=host)
    config, stale = _replacing(folder, config)
    folder.mkdir(parents=True, exist_ok=True)
    for name, blob in {**blobs, CONFIG: to_json_bytes(config.to_json())}.items():
        _write(folder / name, blob)
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
    """JSON as every file of an artifact has it: sorted where order says nothing, indented, one newline at the end."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def sha256_of(path: Path) -> str:
    """Sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _replacing(folder: Path, config: ArtifactConfig) -> tuple[ArtifactConfig, list[str]]:
    """What to write where an artifact may lie already, and which of its files have to go.

    Figures and a card may be somebody's work: they stay with the weights they are of, and are not put beside others.
    """
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; expected a folder, or the name of a new one.")
    if not (folder / CONFIG).is_file():
        return config, []
    try:
        old = read_config(folder)
    except SpartaError:
        old = None
    if old and (old.activation, _weights(old)) == (config.activation, _weights(config)):
        kept = {RESULTS: old.files[RESULTS]} if RESULTS in old.files and (folder / RESULTS).is_file() else {}
        return replace(config, files={**kept, **config.files}), []
    left = [name for name in (RESULTS, CARD) if name not in config.files and (folder / name).exists()]
    if left:
        raise ArtifactError(
            f"{folder} holds {' and '.join(left)} of other weights, which would be read as those of these. Save into "
            f"another folder, or remove {'it' if len(left) == 1 else 'them'} first; nothing was written."
        )
    return config, [name for name in host_files(old) if name not in config.files] if old else []


def _weights(config: ArtifactConfig) -> dict[str, str]:
    """Sha256 of the files that hold weights."""
    return {name: digest for name, digest in config.files.items() if name != RESULTS}


def _host_shards(state: Mapping[str, Tensor]) -> dict[str, bytes]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for key, tensor in state.items():
        half = tensor.detach().cpu().half().contiguous() if tensor.is_floating_point() else tensor.cpu().contiguous()
        if not half.isfinite().all():
            raise ArtifactError(f"{key} does not fit into float16; nothing was written.")
        size = half.numel() * half.element_size()
        if used + size > MAX_SHARD_BYTES and shards[-1]:
            shards.append({})
            used = 0
        shards[-1][key] = half
        used += size
    names = ["model.safetensors"] if len(shards) == 1 else [
        f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)
    ]  # fmt: skip
    return {name: _to_bytes(shard) for name, shard in zip(names, shards, strict=True)}


def _to_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    return save(dict(sorted(tensors.items())), metadata={"format": "pt"})


def _write(path: Path, blob: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(blob)
    part.replace(path)


def check_file(path: Path, digest: str) -> None:
    """Raise ``ArtifactError`` if a file is not there or has another sha256 than ``config.json`` says."""
    if not path.is_file():
        raise ArtifactError(f"{path} is missing, but {CONFIG} lists it; download or save the artifact again.")
    if (seen := sha256_of(path)) != digest:
        raise ArtifactError(
            f"{path} has sha256 {seen[:12]}..., and {CONFIG} says {digest[:12]}...: {looks_like(path)}. "
            "Download it again."
        )


def _check_count(spec: ActivationSpec, tensors: Mapping[str, Tensor]) -> None:
    """Refuse a spec with far more sites than its file has tensors for: the modules alone would take time and memory."""
    with torch.device("meta"):
        each = len(build(spec.family, spec.sites[0].channels, spec.arguments).state_dict())
    if each * len(spec.sites) > 2 * len(tensors):  # by less, the comparison of names says more
        raise ArtifactError(
            f"The weights do not belong to this spec: {len(spec.sites)} sites of {spec.family} have {each} tensors "
            f"each and {WEIGHTS} holds {len(tensors)}."
        )


def looks_like(path: Path) -> str:
    """Guess in words what a file that should hold weights is instead."""
    if not path.is_file():
        return "it is not there"
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"<"):
        return "it looks like an HTML page, perhaps a login or error page saved under this name"
    if start.startswith((b"\x80", b"PK")):
        return "it looks like a pickle, which is never loaded"
    return "it is damaged, truncated or another version"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed in JSON")
