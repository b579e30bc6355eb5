"""``python -m splade_bridge``."""

from splade_bridge.cli.app import main

main()
