"""Errors of training that a user can mend."""

from sparta_hub.errors import SpartaError


class ConfigError(SpartaError):
    """A configuration has a field or value that cannot be, or does not go with the data or the machine."""


class CheckpointError(SpartaError):
    """A checkpoint is damaged, belongs to another run, or cannot be written."""


class TakenError(CheckpointError):
    """Another run is in the folder."""


class LossError(SpartaError):
    """The loss is no longer a number."""
