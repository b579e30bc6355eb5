"""faiss, loaded when it is needed."""

from __future__ import annotations

from typing import Any

from splade_bridge.errors import MissingToolError, install


def faiss_module() -> Any:
    """The package ``faiss``.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingToolError(f"a dense index needs faiss: {install('dense')}") from error
    return faiss
