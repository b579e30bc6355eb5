from __future__ import annotations

from pathlib import Path

import pytest

from splade_bridge.comparison.check import check
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.comparison.spec import Encoded, Spec, ToTrain, Vectors
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.errors import BadInputError, SpladeBridgeError

DATA = """
[data]
documents = "docs.jsonl"
queries = "queries.tsv"
qrels = "qrels.txt"
"""
TEXT = DATA.replace("[data]", '[data]\ncorpus = "corpus.jsonl"\ntopics = "topics.tsv"')
ENGINES = "[engines]\nexact = []\n"
FULL = '[[variant]]\nname = "full"\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def loaded(folder: Path, text: str) -> Spec:
    return load_spec(written(folder, text))


def test_a_short_specification_is_enough(tmp_path: Path) -> None:
    spec = loaded(tmp_path, DATA + ENGINES + FULL)
    (variant,) = spec.variants
    assert variant.documents == Vectors(tmp_path / "docs.jsonl")
    assert variant.queries == Vectors(tmp_path / "queries.tsv")
    assert (spec.baseline, spec.title, spec.depth) == ("full", "spec", 1000)
    assert spec.qrels == tmp_path / "qrels.txt"
    assert spec.bench.ks == (10, 1000)


def test_data_may_lie_elsewhere(tmp_path: Path) -> None:
    there = DATA.replace("[data]", '[data]\nroot = "there"')
    assert loaded(tmp_path, there + ENGINES + FULL).qrels == tmp_path / "there" / "qrels.txt"
    path = written(tmp_path, there + ENGINES + FULL)
    assert load_spec(path, Path("/elsewhere")).qrels == Path("/elsewhere/qrels.txt")


def test_sweeps_become_variants(tmp_path: Path) -> None:
    sweeps = """
    [[sweep]]
    method = "top-k"
    values = [8, 16]
    [[sweep]]
    method = "threshold"
    values = [30]
    of = "top-k 16"
    name = "both"
    [[sweep]]
    method = "top-k"
    side = "query"
    values = [5]
    [[sweep]]
    key = "scale"
    values = [10.0, 50]
    """
    spec = loaded(tmp_path, DATA + ENGINES + FULL + sweeps)
    assert [v.name for v in spec.variants] == [
        "full", "top-k 8", "top-k 16", "both", "top-k 5 (queries)", "scale 10", "scale 50",
    ]  # fmt: skip
    by_name = {v.name: v for v in spec.variants}

    def policies(name: str) -> list[tuple[str, object]]:
        return [(p.method, p.value) for p in by_name[name].documents_pruned]

    assert policies("top-k 8") == [("top-k", 8)]
    assert policies("both") == [("top-k", 16), ("threshold", 30)]
    asked = by_name["top-k 5 (queries)"]
    assert not asked.documents_pruned and [p.value for p in asked.queries_pruned] == [5]
    assert by_name["scale 10"].quantize == QuantizeOptions(10.0)
    assert by_name["top-k 8"].group == "top-k" and by_name["top-k 8"].label == "8"


def test_a_model_reads_the_text(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "corpus.jsonl").touch()
    models = """
    [[variant]]
    name = "ours"
    model = "model"
    max_length = 64
    [[variant]]
    name = "mixed"
    query_model = "someone/theirs"
    """
    ours, mixed = loaded(tmp_path, TEXT + ENGINES + models).variants
    model = str(tmp_path / "model")
    assert ours.documents == Encoded(str(tmp_path / "corpus.jsonl"), model, 64)
    assert ours.queries == Encoded("topics.tsv", model, 64)
    assert mixed.documents == Vectors(tmp_path / "docs.jsonl")
    assert mixed.queries == Encoded("topics.tsv", "someone/theirs")


def test_a_recipe_is_trained_for_both_sides(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").touch()
    recipes = """
    [[variant]]
    name = "trained"
    recipe = "mine.toml"
    set = ["data.path={data}/beir"]
    [[variant]]
    name = "shipped"
    recipe = "splade-max"
    [[sweep]]
    of = "trained"
    set = "regularizer.document.weight"
    values = [0.1, 1]
    name = "lambda {value}"
    [[sweep]]
    of = "trained"
    set = "data.path"
    values = ["{data}/other"]
    name = "other"
    """
    _, trained, shipped, *swept, other = loaded(tmp_path, TEXT + ENGINES + FULL + recipes).variants
    path = f"data.path={tmp_path}/beir"
    model = ToTrain(str(tmp_path / "mine.toml"), (path,))
    assert trained.documents == Encoded("corpus.jsonl", model)
    assert trained.queries == Encoded("topics.tsv", model)
    assert trained.steps()[0] == f"documents by recipe mine with {path}"
    assert shipped.documents == Encoded("corpus.jsonl", ToTrain("splade-max"))
    weights = [f"regularizer.document.weight={value}" for value in ("0.1", "1")]
    assert [v.documents.model.overrides for v in swept] == [(path, w) for w in weights]  # type: ignore[union-attr]
    assert [v.name for v in swept] == ["lambda 0.1", "lambda 1"]
    assert other.documents.model.overrides == (path, f"data.path={tmp_path}/other")  # type: ignore[union-attr]


SWEEP = '[[sweep]]\nmethod = "top-k"\nvalues = [8]\n'
WRONG = [
    ("measurse = []\n" + DATA + ENGINES + FULL, "unknown key 'measurse'"),
    (
        DATA + "quries = 'x'\n" + ENGINES + FULL,
        "[data]: unknown key 'quries'; did you mean queries",
    ),
    (DATA.replace("qrels =", "#") + ENGINES + FULL, "[data] qrels: is missing"),
    (DATA.replace('"qrels.txt"', "3") + ENGINES + FULL, "[data] qrels: must be a string, not 3"),
    (DATA + "depth = true\n" + ENGINES + FULL, "[data] depth: must be a whole number, not True"),
    (DATA + "measures = []\n" + ENGINES + FULL, "[data] measures: must be a list of one or more"),
    (DATA + "measures = ['AP', 'AP']\n" + ENGINES + FULL, "[data] measures: holds 'AP' twice"),
    (DATA + ENGINES, "at least one [[variant]]"),
    (DATA + FULL, "[engines]: is missing or empty"),
    (DATA + "[engines]\nelastic = []\n" + FULL, "[engines]: no engine 'elastic'"),
    (DATA + ENGINES + FULL + FULL, "two variants are called 'full'"),
    (
        DATA + ENGINES + FULL + "scael = 3\n",
        "variant 'full': unknown key 'scael'; did you mean scale",
    ),
    (DATA + ENGINES + FULL + "scale = -1\n", "variant 'full': a scale must be greater than 0"),
    (DATA + ENGINES + FULL + "rounding = 'up'\n", "rounding: is nearest or down, not 'up'"),
    (
        DATA + ENGINES + FULL + "model = 'm'\n",
        "a model, bm25 or rerank needs text: give corpus in [data]",
    ),
    (DATA + ENGINES + FULL + "prune_documents = 3\n", "prune_documents: must be a list of tables"),
    (
        DATA + ENGINES + FULL + "prune_documents = [{method = 'top-q', value = 3}]\n",
        "variant 'full' prune_documents 1 method: is one of top-k",
    ),
    (
        DATA + ENGINES + FULL + "prune_documents = [{method = 'top-k', value = 1.5}]\n",
        "variant 'full' prune_documents 1 value: top-k: must be a whole number",
    ),
    (DATA + ENGINES + FULL + "two_step = {}\n", "two_step: needs prune_documents or query_terms"),
    (
        DATA + ENGINES + FULL + "two_step = {query_terms = 3, candidates = 5}\n",
        "two_step candidates: 5 candidates cannot give 1,000 documents",
    ),
    ("baseline = 'fool'\n" + DATA + ENGINES + FULL, "baseline: no variant is called 'fool'"),
    (DATA + ENGINES + FULL + SWEEP + "of = 'x'\n", "[[sweep]] 1 of: no variant is called 'x'"),
    (DATA + ENGINES + FULL + SWEEP.replace("[8]", "8"), "[[sweep]] 1 values: must be a list"),
    (DATA + ENGINES + FULL + SWEEP.replace("[8]", "[]"), "[[sweep]] 1 values: must be a list"),
    (DATA + ENGINES + FULL + SWEEP.replace("[8]", "[0]"), "[[sweep]] 1 value: top-k: must be"),
    (DATA + ENGINES + FULL + SWEEP.replace("[8]", "[8, 8]"), "two variants are called 'top-k 8'"),
    (DATA + ENGINES + FULL + SWEEP + "side = 'left'\n", "side: is document or query"),
    (DATA + ENGINES + FULL + SWEEP + "key = 'scale'\n", "needs one of method"),
    (
        DATA + ENGINES + FULL + "[[sweep]]\nset = 'train.steps'\nvalues = [1]\n",
        "[[sweep]] 1 of: 'train.steps 1' is not made from a variant with a recipe",
    ),
    (DATA + ENGINES + FULL + "set = ['train.steps=1']\n", "set: needs a recipe"),
    (
        DATA + ENGINES + FULL + "recipe = 'r'\nmodel = 'm'\n",
        "model: cannot be together with recipe",
    ),
    (
        DATA + ENGINES + FULL + "recipe = 'r'\ndocuments = 'd'\nqueries = 'q'\n",
        "variant 'full' recipe: encodes neither side",
    ),
    (
        TEXT + ENGINES + FULL + "model = 'm'\ndocument_model = 'd'\nquery_model = 'q'\n",
        "variant 'full' model: encodes neither side",
    ),
    (DATA + ENGINES + FULL + "max_length = 64\n", "variant 'full' max_length: is for text"),
    (
        TEXT + ENGINES + FULL + "max_length = 64\nbm25 = {}\n",
        "variant 'full' max_length: cannot be together with bm25",
    ),
    (
        TEXT + ENGINES + FULL + "recipe = 'r'\n"
        "[[sweep]]\nset = 'train.steps'\nvalues = [1]\nside = 'query'\n",
        "[[sweep]] 1 side: cannot be together with set",
    ),
    (
        DATA + ENGINES + FULL + "[[sweep]]\nkey = 'scale'\nvalues = ['big']\n",
        "[[sweep]] 1 values: must be a number, not 'big'",
    ),
    (
        DATA + ENGINES + FULL + SWEEP.replace("[8]", "[8, 9]") + "name = 'cut'\n",
        "name: must hold {value}",
    ),
    (DATA + ENGINES + FULL + "[bench]\nks = [0]\n", "[bench] ks: must be 1 or more"),
    (DATA + ENGINES + FULL + "[significance]\nconfidence = 2\n", "confidence: must lie between"),
    (DATA + ENGINES + "[variant\n", "not TOML"),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[m for _, m in WRONG])
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadInputError) as raised:
        loaded(tmp_path, text)
    assert message in str(raised.value)
    assert str(raised.value).startswith(f"{tmp_path / 'spec.toml'}: ")
    assert raised.value.exit_code == 4


def test_the_example_is_a_valid_specification() -> None:
    spec = load_spec(Path(__file__).parents[1] / "docs" / "examples" / "nfcorpus-pruning.toml")
    assert spec.baseline == "all terms"
    assert {"lucene", "pisa"} == set(spec.algorithms)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("docs.jsonl", "nowhere.jsonl"), "variant 'full': "),
        (("queries.tsv", "nowhere.tsv"), "variant 'full': "),
        (("qrels.txt", "nowhere.txt"), "nowhere.txt: cannot be read"),
        (("exact = []", 'exact = ["quick"]'), "[engines] exact: no algorithm 'quick'"),
        (('qrels = "qrels.txt"', 'qrels = "qrels.txt"\nmeasures = ["x"]'), "[data] measures: "),
        (('"docs.jsonl"', '"qrels.txt"'), "cannot tell what this is"),
    ],
)
def test_inputs_are_looked_at_first(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "docs.jsonl").write_text('{"id": "d1", "vector": {"a": 3}}\n')
    (tmp_path / "queries.tsv").write_text("q1\ta a\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\n")
    check(loaded(tmp_path, DATA + ENGINES + FULL))
    with pytest.raises(SpladeBridgeError) as raised:
        check(loaded(tmp_path, (DATA + ENGINES + FULL).replace(*change)))
    assert message in str(raised.value)
    assert raised.value.exit_code == 4


TWO = FULL + '[[variant]]\nname = "other"\ndocuments = "more.jsonl"\n'


def test_fusions_name_variants(tmp_path: Path) -> None:
    spec = loaded(tmp_path, DATA + ENGINES + TWO + '[[fusion]]\nname = "f"\nof = ["other", "full"]')
    (fusion,) = spec.fusions
    assert [v.name for v in spec.parts(fusion)] == ["other", "full"]
    assert (fusion.options.fusion, fusion.options.rank_constant) == ("rrf", 60)
    assert (fusion.options.depth, fusion.group, fusion.label) == (1000, "f", "f")
    more = 'method = "combsum"\nnormalization = "z-score"\nweights = [1, 0.5]\ndepth = 9\n'
    text = DATA + ENGINES + TWO + f'[[fusion]]\nname = "f"\nof = ["full", "other"]\n{more}'
    options = loaded(tmp_path, text).fusions[0].options
    assert (options.normalization, options.weights, options.depth) == ("z-score", (1.0, 0.5), 9)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('of = ["full", "none"]', "[of]"),
        ('of = ["full"]', "two variants"),
        ('of = ["full", "full"]', "twice"),
        ('of = ["full", "other"]\nmethod = "borda"', "is one of rrf, combsum, combmnz"),
        ('of = ["full", "other"]\nnormalization = "min-max"', 'needs method = "combsum"'),
        ('of = ["full", "other"]\nmethod = "combmnz"\nrank_constant = 3', 'needs method = "rrf"'),
        ('of = ["full", "other"]\nmethod = "combsum"\nnormalization = "max"', "is one of min-max"),
        ('of = ["full", "other"]\nmethod = "combmnz"\nnormalization = "z-score"', "below 0"),
        ('of = ["full", "other"]\nweights = [1]', "must be 2 numbers above 0"),
        ('of = ["full", "other"]\nweights = [1, 0]', "must be 2 numbers above 0"),
        ('of = ["full", "other"]\nweights = [1, true]', "must be 2 numbers above 0"),
        ('of = ["full", "other"]\ndepth = 1001', "more than [data] depth = 1,000"),
        ('of = ["full", "other"]\nk = 1', "k"),
    ],
)
def test_wrong_fusions_are_named(lines: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as error:
        loaded(tmp_path, DATA + ENGINES + TWO + f'[[fusion]]\nname = "f"\n{lines}')
    assert words.strip("[]") in str(error.value) and "fusion 'f'" in str(error.value)


def test_a_fusion_is_no_baseline_and_has_a_name_of_its_own(tmp_path: Path) -> None:
    fusion = '[[fusion]]\nname = "f"\nof = ["full", "other"]\n'
    with pytest.raises(BadInputError, match="no variant is called 'f'"):
        loaded(tmp_path, 'baseline = "f"\n' + DATA + ENGINES + TWO + fusion)
    with pytest.raises(BadInputError, match="two variants are called 'full'"):
        loaded(tmp_path, DATA + ENGINES + TWO + fusion.replace('"f"', '"full"'))
