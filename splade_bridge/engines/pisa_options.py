"""Options of the engine ``pisa``, one to one with the flags of ``splade-bridge index``."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Encoding = Literal[
    "block_simdbp", "block_interpolative", "block_maskedvbyte", "block_optpfor", "block_qmx",
    "block_simple16", "block_simple8b", "block_streamvbyte", "block_varintg8iu", "block_varintgb",
    "ef", "pefopt", "pefuniform", "single",
]  # fmt: skip


@dataclass(frozen=True)
class PisaOptions:
    """How a PISA index is built.

    Attributes:
        profile: a profile of ``pisa/`` by name, or a TOML file.
        encoding: posting list compression, instead of the profile's.
        block_size: postings a block of PISA's wand data, instead of the profile's.
        bin: folder of the user's own PISA programs; ``$PISA_BIN`` or the wheel's library if None.
        reorder: number documents by recursive graph bisection (Dhulipala et al., KDD 2016), which
            makes lists smaller and pruning better; needs one's own programs.
    """

    profile: str = field(
        default="default",
        metadata={
            "help": "Encoding, block size and algorithm by k: default, literature, maxscore, "
            "small, or a .toml of your own."
        },
    )
    encoding: Encoding | None = field(
        default=None, metadata={"help": "Instead of the profile's encoding."}
    )
    block_size: int | None = field(
        default=None, metadata={"help": "Instead of the profile's block size, 8 to 1024."}
    )
    bin: Path | None = field(
        default=None,
        metadata={"help": "Your own PISA programs (or PISA_BIN), instead of the wheel."},
    )
    reorder: bool = field(
        default=False,
        metadata={
            "help": "Number documents by graph bisection: smaller and faster. Needs --pisa-bin."
        },
    )
