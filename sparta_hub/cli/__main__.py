"""``python -m sparta_hub.cli``, for launchers; the same as ``python -m sparta_hub``."""

from sparta_hub.cli import main

if __name__ == "__main__":
    main()
