"""Activation families, by name. A new one is a file here, a line in ``FAMILIES`` and a row in the contract test."""

from sparta_hub.activations._family import Argument, Family
from sparta_hub.activations._registry import FAMILIES, build, find_family
from sparta_hub.activations._sparta import Sparta

__all__ = ["FAMILIES", "Argument", "Family", "Sparta", "build", "find_family"]
