"""``python -m scratchnet``."""

from scratchnet.cli import main

if __name__ == "__main__":
    main()
