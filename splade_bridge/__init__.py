"""splade-bridge: SPLADE vectors in, the same integer impacts out of Lucene, PISA and run files."""

__version__ = "0.1.0"
