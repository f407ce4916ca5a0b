"""Pretrained, adversarially robust activation functions for PyTorch CNNs: load, inject, freeze, train the rest."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {  # public name -> the module that defines it, imported on first use: `import sparta_hub` costs next to nothing
    "ActivationSpec": "spec",
    "ArtifactError": "errors",
    "HubError": "errors",
    "NameNotFoundError": "errors",
    "Origin": "spec",
    "SiteError": "errors",
    "SpartaError": "errors",
    "SpecError": "errors",
    "ThreatModel": "threat",
    "check": "hub",
    "compatible_hosts": "compatibility",
    "diagnose": "diagnostics",
    "disabled": "surgery",
    "eject": "surgery",
    "freeze": "surgery",
    "info": "hub",
    "inject": "surgery",
    "list_models": "hub",
    "load": "hub",
    "push_to_hub": "hub",
    "save": "hub",
    "sites": "site_search",
    "status": "surgery",
    "transfers": "hub",
    "unfreeze": "surgery",
    "verify": "hub",
    "verify_files": "hub",
}

if TYPE_CHECKING:
    from sparta_hub.compatibility import compatible_hosts
    from sparta_hub.diagnostics import diagnose
    from sparta_hub.errors import ArtifactError, HubError, NameNotFoundError, SiteError, SpartaError, SpecError
    from sparta_hub.hub import check, info, list_models, load, push_to_hub, save, transfers, verify, verify_files
    from sparta_hub.site_search import sites
    from sparta_hub.spec import ActivationSpec, Origin
    from sparta_hub.surgery import disabled, eject, freeze, inject, status, unfreeze
    from sparta_hub.threat import ThreatModel

__all__ = [
    "ActivationSpec",
    "ArtifactError",
    "HubError",
    "NameNotFoundError",
    "Origin",
    "SiteError",
    "SpartaError",
    "SpecError",
    "ThreatModel",
    "check",
    "compatible_hosts",
    "diagnose",
    "disabled",
    "eject",
    "freeze",
    "info",
    "inject",
    "list_models",
    "load",
    "push_to_hub",
    "save",
    "sites",
    "status",
    "transfers",
    "unfreeze",
    "verify",
    "verify_files",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'sparta_hub' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"sparta_hub.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
