"""``python -m scratchnet.cli``."""

from scratchnet.cli import main

main()
