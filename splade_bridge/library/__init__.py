"""What ``import splade_bridge`` shows: the commands as functions on plain Python values."""
