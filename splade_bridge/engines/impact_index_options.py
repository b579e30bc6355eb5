"""Options of the engine ``impact-index``, one to one with the flags of ``splade-bridge index``."""

from __future__ import annotations

from dataclasses import dataclass, field

from splade_bridge.errors import UsageError


@dataclass(frozen=True)
class ImpactIndexOptions:
    """How an index of impact-index is built.

    Attributes:
        bmp: also build what Block-Max Pruning searches (Mallia, Suel and Tonellotto, SIGIR 2024,
            arXiv 2405.01117), which ``search --approximate`` asks; and keep the vectors for scores.
        bmp_block_size: documents of a block of that.

    Raises:
        UsageError: no documents in a block.
    """

    bmp: bool = field(
        default=False,
        metadata={
            "help": "Also build Block-Max Pruning's index, which --approximate asks, and keep the "
            "vectors for exact scores."
        },
    )
    bmp_block_size: int = field(default=32, metadata={"help": "Documents of a block of that."})

    def __post_init__(self) -> None:
        if not 1 <= self.bmp_block_size <= 256:
            raise UsageError("impact-index bmp_block_size must be 1 to 256")
