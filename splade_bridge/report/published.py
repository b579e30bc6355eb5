"""Figures that others have published for known models, to stand beside one's own.

Only what was measured on the same collection with the same measure may be compared; figures in
per cent were divided by 100.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SPLADE_V2 = "https://arxiv.org/abs/2109.10086"
SPLADE_PLUS_PLUS = "https://arxiv.org/abs/2205.04733"
EFFICIENT = "https://arxiv.org/abs/2207.03834"
SPLADE_V3 = "https://arxiv.org/abs/2403.06789"
ANSERINI = "https://github.com/castorini/anserini"


@dataclass(frozen=True)
class Published:
    """One figure.

    Attributes:
        model: as its authors call it, without an owner.
        collection: as in ``data.collection`` of a specification.
        measure: in ir_measures' notation.
        source: who says so; ``link`` is where.
    """

    model: str
    collection: str
    measure: str
    value: float
    source: str
    link: str


def _msmarco(
    model: str, mrr: float, recall: float | None, source: str, link: str
) -> list[Published]:
    found = [Published(model, "msmarco-dev", "RR@10", mrr, source, link)]
    if recall is not None:
        found.append(Published(model, "msmarco-dev", "R@1000", recall, source, link))
    return found


def _anserini(model: str, figures: Mapping[tuple[str, str], float]) -> list[Published]:
    return [
        Published(model, collection, measure, value, "Anserini's regressions", ANSERINI)
        for (collection, measure), value in figures.items()
    ]


def _run(model: str, values: Iterable[float]) -> list[Published]:
    # Published query vectors against published SPLADE-v3 document vectors, run with Anserini 1.7.1.
    measures = ("nDCG@10", "R@100", "R@1000", "AP", "RR")
    return [
        Published(model, "nfcorpus", measure, value, "Anserini 1.7.1 on these vectors", ANSERINI)
        for measure, value in zip(measures, values, strict=True)
    ]


FIGURES = (
    *_msmarco("splade_v2_max", 0.340, 0.965, "SPLADE v2", SPLADE_V2),
    *_msmarco("splade_v2_distil", 0.368, 0.979, "SPLADE v2", SPLADE_V2),
    *_msmarco("splade-cocondenser-selfdistil", 0.376, 0.984, "SPLADE++", SPLADE_PLUS_PLUS),
    *_msmarco("splade-cocondenser-ensembledistil", 0.383, 0.983, "SPLADE++", SPLADE_PLUS_PLUS),
    *_msmarco("splade-v3", 0.402, None, "SPLADE-v3", SPLADE_V3),
    *_msmarco("splade-v3-distilbert", 0.387, None, "SPLADE-v3", SPLADE_V3),
    *_msmarco("splade-v3-lexical", 0.400, None, "SPLADE-v3", SPLADE_V3),
    *_msmarco("splade-v3-doc", 0.378, None, "SPLADE-v3", SPLADE_V3),
    *_msmarco("efficient-splade-V-large", 0.388, 0.980, "Efficient SPLADE", EFFICIENT),
    *_msmarco("efficient-splade-VI-BT-large", 0.380, 0.978, "Efficient SPLADE", EFFICIENT),
    *_anserini(
        "splade-cocondenser-ensembledistil",
        {
            ("msmarco-dev", "RR@10"): 0.3828,
            ("msmarco-dev", "R@1000"): 0.9831,
            ("scifact", "nDCG@10"): 0.7036,
            ("nfcorpus", "nDCG@10"): 0.3473,
            ("arguana", "nDCG@10"): 0.5218,
        },
    ),
    *_anserini(
        "splade-cocondenser-selfdistil",
        {("msmarco-dev", "RR@10"): 0.3776, ("msmarco-dev", "R@1000"): 0.9846},
    ),
    *_anserini(
        "splade-v3",
        {
            ("msmarco-dev", "RR@10"): 0.3999,
            ("msmarco-dev", "R@1000"): 0.9868,
            ("scifact", "nDCG@10"): 0.7140,
            ("nfcorpus", "nDCG@10"): 0.3629,
            ("arguana", "nDCG@10"): 0.4845,
        },
    ),
    *_run("splade-v3", (0.3624, 0.2965, 0.6172, 0.1874, 0.5753)),
    *_run("splade-pp-ed", (0.3598, 0.2954, 0.6089, 0.1843, 0.5762)),
    *_run("splade_distil_cocodenser_medium", (0.3559, 0.2957, 0.6042, 0.1805, 0.5721)),
    *_run("unicoil-noexp", (0.3450, 0.2797, 0.4825, 0.1721, 0.5644)),
)


def published(model: str, collection: str, measures: Iterable[str]) -> list[Published]:
    """What is known of ``model`` (an owner before a slash is ignored) on ``collection``."""
    wanted, name = set(measures), model.rsplit("/", 1)[-1].lower()
    return [
        f
        for f in FIGURES
        if f.model.lower() == name and f.collection == collection and f.measure in wanted
    ]
