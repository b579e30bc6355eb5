"""What others have published of known models on BEIR's data sets, to stand beside one's own.

BM25 and SPLADE++ EnsembleDistil: Pyserini's two-click reproductions, ``pyserini/2cr/beir.yaml`` at
commit 02c4e7fa7ae9c555001512194167b039521eb713 of https://github.com/castorini/pyserini (Kamalloo
et al.: Resources for Brewing BEIR, https://arxiv.org/abs/2306.07471). SPLADE-v3: Anserini's,
``src/main/resources/reproduce/beir.core.yaml`` at commit 2c02daaeb7da66123c60b5391b334f8e480db36b
of https://github.com/castorini/anserini. All leave out the document whose id is the query's, and
count a judged query without results as 0. Data sets are called as BEIR's folders are.
"""

from __future__ import annotations

import statistics

PYSERINI = "Pyserini's reproductions, https://castorini.github.io/pyserini/2cr/beir.html"
ANSERINI = "Anserini's reproductions, https://github.com/castorini/anserini"

SETS = (
    "trec-covid", "bioasq", "nfcorpus", "nq", "hotpotqa", "fiqa", "signal1m", "trec-news",
    "robust04", "arguana", "webis-touche2020", "quora", "dbpedia-entity", "scidocs", "fever",
    "climate-fever", "scifact",
)  # fmt: skip
CQADUPSTACK = "cqadupstack"
CQADUPSTACK_PARTS = (
    "android", "english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex",
    "unix", "webmasters", "wordpress",
)  # fmt: skip

_FIGURES = {
    ("BM25 flat", "nDCG@10"): (
        ".5947 .5225 .3218 .3055 .6330 .2361 .3304 .3952 .4070 .3970 .4422 .7886 .3180 .1490 .6513 "
        ".1651 .6789",
        ".3801 .3453 .4822 .2901 .2015 .3214 .2802 .2711 .2244 .2749 .3059 .2483",
    ),
    ("BM25 flat", "R@100"): (
        ".1091 .7687 .2457 .7513 .7957 .5395 .3703 .4469 .3746 .9324 .5822 .9733 .4682 .3477 .9185 "
        ".4249 .9253",
        ".6829 .5757 .7651 .6119 .4877 .6326 .5588 .5338 .4686 .5417 .5820 .5152",
    ),
    ("BM25 multifield", "nDCG@10"): (
        ".6559 .4646 .3254 .3285 .6027 .2361 .3304 .3977 .4070 .4142 .3673 .7886 .3128 .1581 .7530 "
        ".2129 .6647",
        ".3709 .3321 .4418 .2904 .2046 .3248 .2963 .2790 .2086 .2788 .3008 .2562",
    ),
    ("BM25 multifield", "R@100"): (
        ".1141 .7145 .2500 .7597 .7400 .5395 .3703 .4216 .3746 .9431 .5376 .9733 .3981 .3561 .9309 "
        ".4357 .9076",
        ".6889 .5842 .7571 .6458 .5215 .6486 .6194 .5719 .4954 .5721 .6100 .5526",
    ),
    ("SPLADE++ ED", "nDCG@10"): (
        ".7274 .4980 .3470 .5378 .6868 .3475 .3008 .4152 .4679 .5203 .2468 .8343 .4366 .1591 .7882 "
        ".2297 .7041",
        ".3904 .4079 .4957 .3150 .2377 .3599 .3401 .2990 .2530 .3167 .3167 .2733",
    ),
    ("SPLADE++ ED", "R@100"): (
        ".1282 .7385 .2844 .9296 .8177 .6314 .3398 .4414 .3850 .9744 .4715 .9863 .5624 .3730 .9459 "
        ".5211 .9353",
        ".7404 .6946 .8131 .6320 .5797 .7196 .6585 .5894 .5161 .6214 .6360 .5945",
    ),
    ("SPLADE-v3", "nDCG@10"): (
        ".7299 .5142 .3629 .5842 .6884 .3798 .2465 .4365 .4952 .4862 .3086 .8141 .4476 .1567 .8015 "
        ".2625 .7140",
        ".4109 .4255 .5193 .3236 .2445 .3753 .3387 .3137 .2493 .3196 .3250 .2807",
    ),
}
"""Values of :data:`SETS` and of :data:`CQADUPSTACK_PARTS`, by model and measure."""

SOURCES = {
    "BM25 flat": PYSERINI,
    "BM25 multifield": PYSERINI,
    "SPLADE++ ED": PYSERINI,
    "SPLADE-v3": ANSERINI,
}


def published_beir(measure: str) -> dict[str, dict[str, float]]:
    """Model -> data set -> value; CQADupStack is the mean of its parts, which stand there, too."""
    found = {}
    for (model, known), (sets, parts) in _FIGURES.items():
        if known == measure:
            values = [float(value) for value in sets.split()]
            inside = [float(value) for value in parts.split()]
            found[model] = {
                **dict(zip(SETS, values, strict=True)),
                **{
                    f"{CQADUPSTACK}/{part}": value
                    for part, value in zip(CQADUPSTACK_PARTS, inside, strict=True)
                },
                CQADUPSTACK: round(statistics.mean(inside), 4),
            }
    return found
