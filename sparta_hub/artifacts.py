"""Artifacts: a folder with ``config.json`` and ``activations.safetensors``, read strictly and offline."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sparta_hub.activations import build
from sparta_hub.errors import ArtifactError, short
from sparta_hub.matching import build_modules, check_floats
from sparta_hub.spec import ActivationSpec, ArtifactConfig, HostSpec

CONFIG, WEIGHTS, RESULTS, CARD = "config.json", "activations.safetensors", "results.json", "README.md"
HOST_PATTERN = "model*.safetensors"
MAX_CONFIG_BYTES = 4 << 20
MAX_HEADER_BYTES = 4 << 20  # of a safetensors file: reading it takes up to 30 times that


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
        ArtifactError: a shard is missing or damaged, has a tensor of another shard, or values that no network has.
    """
    tensors: dict[str, Tensor] = {}
    for name in host_files(artifact.config):
        check_file(artifact.folder / name, artifact.config.files[name])
        shard = read_tensors(artifact.folder / name)
        if twice := sorted(tensors.keys() & shard.keys()):
            raise ArtifactError(f"{artifact.folder / name} has {short(twice[0])}, which another file has already.")
        tensors |= shard
    for key, tensor in tensors.items():
        check_floats(key, tensor)
        if key.endswith("running_var") and (tensor < 0).any():
            raise ArtifactError(f"{key} holds a variance below 0: these weights are damaged, do not use them.")
    return {key: t.float() if t.is_floating_point() else t for key, t in tensors.items()}


def read_tensors(path: Path, *, max_header: int = MAX_HEADER_BYTES) -> dict[str, Tensor]:
    """Read a safetensors file; anything else under that name is an ``ArtifactError`` that says what it looks like."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if header > max_header:
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
    different = sorted(own.keys() ^ state.keys()) or [key for key in own if _kind(own[key]) != _kind(state[key])]
    if different:
        seen = [_kind(t[different[0]]) if different[0] in t else "missing" for t in (state, own)]
        raise ArtifactError(
            f"The host weights are not those of {host.name} with {host.num_classes} classes: {short(different[0])} is "
            f"{seen[0]}, and {seen[1]} in that network; {len(different)} tensors differ."
        )


def _kind(tensor: Tensor) -> str:
    """What has to be alike, in words: the shape, and the type of whole numbers; floats may have half the precision."""
    return str(tuple(tensor.shape)) + ("" if tensor.is_floating_point() else f" of {tensor.dtype}")


def sha256_of(path: Path) -> str:
    """Sha256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, str]:
    """Sha256 by name of the files that an artifact's config lists, and of the config itself: what the registry has.

    Raises:
        ArtifactError, SpecError: see ``read_config``.
    """
    listed = read_config(folder).files
    return {CONFIG: sha256_of(folder / CONFIG), **listed}


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
