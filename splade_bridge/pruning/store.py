"""Vector store to vector store: weights are pruned before they are scaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from splade_bridge.data.manifest import Manifest, Side
from splade_bridge.data.store import VectorStore, VectorStoreWriter
from splade_bridge.data.vector_set import VectorSet
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, ExternalProgramError
from splade_bridge.files.writing import staged_folder
from splade_bridge.pruning.policy import Policy, PruneOptions
from splade_bridge.pruning.pruning import Pruning

Watch = Callable[[Iterator[SparseBatch]], Iterator[SparseBatch]]


def prune_store(
    vectors: Path | VectorSet,
    out: Path,
    policies: Sequence[Policy],
    options: PruneOptions,
    *,
    side: Side | None = None,
    overwrite: bool = False,
    watch: Watch = iter,
) -> Manifest:
    """Write a store, or vectors in memory, pruned, to ``out``, and check that no row was lost.

    Args:
        side: for the manifest; by default what the store's manifest says, else ``document``.
        watch: wraps the stream of batches of each pass, for a progress bar.

    Raises:
        BadInputError: no finished store, a damaged one, or one without a weight.
        UsageError: a value that cannot be meant for weights, a target out of reach, or ``out``
            exists.
        ExternalProgramError: the store changed while it was read, or ``out`` cannot be written.
    """
    path = vectors if isinstance(vectors, Path) else vectors.path
    with staged_folder(out, overwrite=overwrite, inputs=[path]) as folder:
        store = VectorStore(vectors) if isinstance(vectors, Path) else vectors
        known = store.manifest
        if not known.counts.postings:
            raise BadInputError(f"its {known.counts.documents:,} rows are all empty", str(path))

        def batches() -> tuple[Iterator[SparseBatch], Vocabulary]:
            return watch(store.batches()), store.vocabulary

        pruning = Pruning(batches, policies, "weight", options)
        steps = pruning.steps()
        writer = VectorStoreWriter(folder, store.vocabulary)
        for batch in pruning.run(*batches(), steps):
            writer.add(batch)
        side = side or (known.encoding.side if known.encoding else "document")
        manifest = writer.finish(
            known.encoding,
            known.options,
            quantization=known.quantization,
            pruning=[*known.pruning, *(step.entry(side, "weight") for step in steps)],
            parents=[{"path": path.name, "files": [f.sha256 for f in known.files]}],
        )
        counts = manifest.counts
        if (counts.documents, counts.postings) != (known.counts.documents, steps[-1].after):
            raise ExternalProgramError(
                f"{out}: got {counts.documents:,} rows and {counts.postings:,} weights instead of "
                f"{known.counts.documents:,} and {steps[-1].after:,}"
            )
        return manifest
