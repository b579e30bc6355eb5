"""splade-bridge: SPLADE vectors in, the same integer impacts out of Lucene, PISA and run files.

What ``__all__`` names is loaded when it is used first; docs/python.md shows how.
"""

from importlib import import_module

__version__ = "0.1.0"

__all__ = [
    "SpladeBridgeError",
    "VectorStore",
    "beir",
    "compare",
    "convert",
    "delete",
    "dense",
    "encode",
    "evaluate",
    "explain",
    "export",
    "export_model",
    "fuse",
    "index",
    "inspect",
    "open_index",
    "probe_model",
    "prune",
    "quantize",
    "query_encoder",
    "rerank",
    "search",
    "terms",
    "verify",
]

TYPE_CHECKING = (
    False  # not of typing: before __main__ has run, the working directory is on the path
)
if TYPE_CHECKING:
    from typing import Any

    from splade_bridge.data.store import VectorStore
    from splade_bridge.errors import SpladeBridgeError
    from splade_bridge.library.beir import beir
    from splade_bridge.library.comparing import compare
    from splade_bridge.library.dense import dense
    from splade_bridge.library.fusion import fuse
    from splade_bridge.library.indexes import index, open_index
    from splade_bridge.library.loading import delete, inspect
    from splade_bridge.library.models import export_model, probe_model
    from splade_bridge.library.query_encoder import query_encoder
    from splade_bridge.library.reranking import rerank
    from splade_bridge.library.results import evaluate, explain, search, verify
    from splade_bridge.library.terms import terms
    from splade_bridge.library.vectors import convert, encode, export, prune, quantize

_PLACES = {
    "SpladeBridgeError": "errors",
    "VectorStore": "data.store",
    "beir": "library.beir",
    "compare": "library.comparing",
    "convert": "library.vectors",
    "delete": "library.loading",
    "dense": "library.dense",
    "encode": "library.vectors",
    "evaluate": "library.results",
    "explain": "library.results",
    "export": "library.vectors",
    "export_model": "library.models",
    "fuse": "library.fusion",
    "index": "library.indexes",
    "inspect": "library.loading",
    "open_index": "library.indexes",
    "probe_model": "library.models",
    "prune": "library.vectors",
    "quantize": "library.vectors",
    "query_encoder": "library.query_encoder",
    "rerank": "library.reranking",
    "search": "library.results",
    "terms": "library.terms",
    "verify": "library.results",
}


def __getattr__(name: str) -> "Any":
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    globals()[name] = found  # the next time it is there
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
