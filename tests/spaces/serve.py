"""The app over the tiny pair in a process of its own: ``serve.py ZOO STORED`` prints its address and serves."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))  # as tests import from tests
import space_cases  # noqa: F401  first: it makes the Space's modules importable

# isort: split

import app
import torch
from networks import find_entries
from show import open_show

if __name__ == "__main__":
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    show = open_show(find_entries([Path(sys.argv[1])]), torch.device("cpu"), stored=Path(sys.argv[2]))
    blocks = app.build(show).queue(max_size=app.QUEUE)
    settings = app.launch_settings(show)
    _, address, _ = blocks.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **settings)
    print(address, flush=True)  # noqa: T201
    blocks.block_thread()
