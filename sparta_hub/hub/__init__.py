"""Loading by name and publishing: the one package that uses the network, always through ``huggingface_hub``."""

from sparta_hub.hub.contents import FileState, verify_files
from sparta_hub.hub.listing import list_models
from sparta_hub.hub.loading import Info, check, info, load, save, transfers
from sparta_hub.hub.names import resolve
from sparta_hub.hub.pushing import Pushed, push_to_hub
from sparta_hub.hub.releasing import release
from sparta_hub.hub.space_pushing import push_space
from sparta_hub.hub.verifying import Verdict, verify

__all__ = ["FileState", "Info", "Pushed", "Verdict", "check", "info", "list_models", "load", "push_space",
           "push_to_hub", "release", "resolve", "save", "transfers", "verify", "verify_files"]  # fmt: skip
