"""Search engines behind one protocol; see :mod:`splade_bridge.engines.base`."""
