"""The ``splade-bridge`` command: thin calls on the library, one module a command."""
