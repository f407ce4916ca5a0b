"""Command line: ``sparta-hub COMMAND``.

Exit code 0: done; 1: an error that the message explains; 2: the command was typed wrongly; 3: ``check`` found that the
set does not fit, or ``verify`` an accuracy outside its interval.
"""

from sparta_hub.cli.commands import main

__all__ = ["main"]
