"""``python -m splade_bridge``."""

import sys

if not sys.flags.safe_path:
    # -m puts the working directory there: a json.py that lies in it would be imported.
    del sys.path[0]

from splade_bridge.cli.app import main

main()
