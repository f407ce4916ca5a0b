"""``python -m sparta_hub``: the command line."""

from sparta_hub.cli import main

if __name__ == "__main__":
    main(prog_name="sparta-hub")
