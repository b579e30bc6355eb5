"""Training text for the demo's model: documentation strings, and questions made of them.

The text is that of the standard library (:mod:`splade_bridge.demo.docstrings`) and of installed
packages, which are parsed and not imported. A pair is made of a documented name: its summary or its
name becomes the query, the rest the positive, so that a model has to supply words that the passage
does not hold. Written questions (``demo/training_questions.tsv``) and, if their folder is given,
glossaries of OpenStax textbooks (CC BY 4.0) come on top. Negatives are neighbours of the positive:
members of the same class or module, terms of the same chapter.

No question and no answer of the demo's test set takes part: a text that has 12 words in a row in
common with an answer (a shorter answer: all of it) is left out, as query, positive, negative and as
text for masked language modelling, and so is a question that is one of the demo's.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from splade_bridge.demo.collection import training_questions_path
from splade_bridge.demo.docstrings import Passage, passages
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.files.lines import json_lines, text_lines
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.examples import Candidate, DataCounts, checked_text, generator
from splade_bridge.training.groups import Group

DEMO = Path(__file__).resolve().parents[1] / "demo"
GLOSSARY = "glossary-pairs.jsonl.gz"

IN_COMMON = 12
NEIGHBOURS = 8
LONGEST_QUERY = 24
LONGEST_SIGNATURE = 160
OPENINGS = ("how to", "how do i", "function to", "way to", "i want to")


def contents(passage: Passage) -> str:
    """Title and text as a corpus joins them."""
    return f"{passage.title} {passage.text}".strip()


def documentation(
    packages: Sequence[str] = (), counts: DataCounts | None = None
) -> Iterator[Passage]:
    """The passages that training may see, those of the standard library first.

    Args:
        packages: names of installed packages; one that is not there is counted and left out.
    """
    counts = counts or DataCounts()
    test_set = _test_set()
    seen: set[str] = set()
    for passage in (*_library(), *package_passages(packages, counts)):
        text = " ".join(passage.text.split())
        if text in seen:
            continue
        seen.add(text)
        if test_set.holds(passage):
            counts.leave_out("passages that are or quote an answer of the demo", passage.id)
        else:
            yield passage


@cache
def _library() -> tuple[Passage, ...]:
    """The standard library's passages, for which a thousand files are parsed."""
    return tuple(passages())


def package_passages(packages: Sequence[str], counts: DataCounts) -> Iterator[Passage]:
    """The documented modules, classes and functions of installed packages, tests left out."""
    for package in packages:
        found = _of_package(package)
        if found is None:
            counts.leave_out("packages that are not installed", package)
        else:
            yield from found


@cache
def _of_package(package: str) -> tuple[Passage, ...] | None:
    """The passages of one package; None where it is not installed."""
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not (found.submodule_search_locations or found.origin):
        return None
    roots = [Path(place) for place in found.submodule_search_locations or ()]
    files = [(root, path) for root in roots for path in sorted(root.rglob("*.py*"))]
    if not roots and found.origin:
        files = [(Path(found.origin), Path(found.origin))]
    held: list[Passage] = []
    for root, path in files:
        parts = path.relative_to(root.parent).with_suffix("").parts
        if path.suffix in (".py", ".pyi") and not {"tests", "testing", "test"} & set(parts):
            held += _documented(path, ".".join(parts).removesuffix(".__init__"))
    return tuple(held)


def _documented(path: Path, module: str) -> Iterator[Passage]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, OSError):  # a template, or for another version of Python
        return
    yield from _walk(tree, module)


def _walk(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
) -> Iterator[Passage]:
    if text := ast.get_docstring(node):
        signature = ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            signature = f"({ast.unparse(node.args)})"
        short = signature if len(signature) <= LONGEST_SIGNATURE else "(...)"
        yield Passage(name, name + short, text)
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _walk(child, f"{name}.{child.name}")


# --- the demo's test set ---------------------------------------------------------------------


def words_of(text: str) -> list[str]:
    """Lower-cased words, by which texts are compared."""
    return re.findall(r"\w+", text.lower())


class TestSet:
    """Questions and answers of the demo, to be kept out of training."""

    __test__ = False  # no test, whatever pytest makes of its name

    def __init__(self) -> None:
        self.questions = {tuple(words_of(t.text)) for t in read_texts(str(DEMO), "queries")}
        qrels = read_qrels(DEMO / "qrels.tsv")
        self.answers = {name for judged in qrels.values() for name in judged}
        self._quotes: set[tuple[str, ...]] = set()
        self._short: set[tuple[str, ...]] = set()
        for passage in _library():
            if passage.id in self.answers:
                words = words_of(passage.text)
                self._quotes.update(_runs(words))
                if len(words) < IN_COMMON:
                    self._short.add(tuple(words))

    def asks(self, question: str) -> bool:
        """Whether ``question`` is one of the demo's."""
        return tuple(words_of(question)) in self.questions

    def quotes(self, text: str) -> bool:
        """Whether ``text`` is an answer or shares 12 words in a row with one."""
        words = words_of(text)
        return tuple(words) in self._short or not self._quotes.isdisjoint(_runs(words))

    def holds(self, passage: Passage) -> bool:
        """Whether ``passage`` is an answer or quotes one."""
        return passage.id in self.answers or self.quotes(passage.text)


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(IN_COMMON)), strict=False)


@cache
def _test_set() -> TestSet:
    return TestSet()


# --- pairs -----------------------------------------------------------------------------------


class PairCounts(NamedTuple):
    """How many pairs are made.

    Attributes:
        library: of each documented name of the standard library.
        packages: of each name of the packages; below 1, of that share of them.
        written: of each written question.
    """

    library: int = 2
    packages: float = 2.0
    written: int = 1


def docstring_groups(
    openstax: Path | None,
    packages: Sequence[str],
    pairs: PairCounts,
    seed: int,
    counts: DataCounts,
) -> Iterator[Group]:
    """Queries with their positive and its neighbours, in an order drawn with ``seed``.

    Args:
        openstax: folder with ``glossary-pairs.jsonl.gz``.
        pairs: how many are made of what.

    Raises:
        BadInputError: the glossaries are not there or broken.
    """
    known = list(documentation(packages, counts))
    texts = [contents(passage) for passage in known]
    library = {passage.id for passage in _library()}
    groups = [g for time in range(pairs.written) for g in _written(known, texts, time, counts)]
    for at, passage in enumerate(known):
        wanted = pairs.library if passage.id in library else pairs.packages
        groups += _made(passage, texts, at, wanted, seed)
    groups += [
        *(_defined(openstax / GLOSSARY, counts) if openstax else ()),
    ]
    allowed = []
    for group in groups:
        if _test_set().asks(group.query or "") or _test_set().quotes(group.query or ""):
            counts.leave_out("queries that are the demo's or quote an answer", group.query or "")
        else:
            allowed.append(group)
    generator(seed, "order").shuffle(allowed)
    yield from allowed


def _written(
    known: Sequence[Passage], texts: Sequence[str], time: int, counts: DataCounts
) -> Iterator[Group]:
    """The questions that people wrote, with those of their answers that are in ``known``.

    Args:
        time: number of the repetition; other negatives come first in each.
    """
    places = {passage.id: number for number, passage in enumerate(known)}
    path = training_questions_path()
    for line, place in text_lines(path):
        question, _, names = line.strip().partition("\t")
        at = [places[name] for name in names.split() if name in places]
        if not at:
            if not time:
                counts.leave_out("written questions without a passage here", place)
            continue
        positives = [texts[i] for i in at]
        near = {i: None for here in at for i in _neighbours(len(known), here) if i not in at}
        negatives = [Candidate(texts[i]) for i in near]
        turn = time % max(1, len(negatives))
        negatives = negatives[turn:] + negatives[:turn]
        yield Group(None, question, positives, negatives, None, place)


def _made(
    passage: Passage, texts: Sequence[str], here: int, wanted: float, seed: int
) -> Iterator[Group]:
    whole, share = divmod(wanted, 1)
    more = generator(seed, passage.id).random() < share
    asked = set()
    for variant in range(int(whole) + more):
        rng = generator(seed, passage.id, str(variant))
        query, positive = made_question(passage, rng)
        if not query or not positive or query in asked:
            continue
        asked.add(query)
        negatives = [Candidate(texts[i]) for i in _neighbours(len(texts), here)]
        negatives = [c for c in negatives if c.key != positive]
        yield Group(None, query, [positive], negatives, None, passage.id)


def made_question(passage: Passage, rng: Random) -> tuple[str, str]:
    """A stand-in for a question about ``passage``, and what is left to answer it.

    What the question was made of is dropped from the passage half of the time.
    """
    summary, rest = first_sentence(passage.text)
    title, text = passage.title, passage.text
    if rng.random() < 0.25:
        query = name_words(passage.id)
        if rng.random() < 0.7:
            title = ""
    else:
        query = re.sub(r"^(Returns?|Gets?|Sets?|This|An?|The) ", "", summary)
        if rng.random() < 0.5 and rest:
            text = rest
    words = query.split()[:LONGEST_QUERY]
    keep = 1 - rng.random() * 0.4
    words = [word for word in words if rng.random() < keep] or words
    if words and rng.random() < 0.15:
        words = [rng.choice(OPENINGS), *words]
    return " ".join(words), f"{title} {text}".strip()


def first_sentence(text: str) -> tuple[str, str]:
    """The summary of a documentation string and the rest, both in one line."""
    head, _, tail = text.partition("\n\n")
    head = " ".join(head.split())
    found = re.search(r"(?<=[a-z)\"'`])[.:](?: |$)", head)
    if found:
        head, tail = head[: found.start()], f"{head[found.end() :]}\n{tail}"
    return head, " ".join(tail.split())


def name_words(name: str) -> str:
    """The last two parts of a name as words: ``shutil.copyFile_now`` is shutil copy File now."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", ".".join(name.split(".")[-2:]))
    return " ".join(re.split(r"[\W_]+", parts)).strip()


def _defined(path: Path, counts: DataCounts) -> Iterator[Group]:
    """Terms and definitions, each of them as the query."""
    entries: list[tuple[str, str, str]] = []
    for record, place in json_lines(path):
        sides = [checked_text(record.get(k), f"field {k}", place) for k in ("query", "positive")]
        if any(_test_set().quotes(side) for side in sides):
            counts.leave_out("definitions that quote an answer of the demo", place)
        else:
            entries.append((sides[0], sides[1], place))
    if not entries:
        raise BadInputError("holds no definitions", str(path))
    for side in (0, 1):
        for here, entry in enumerate(entries):
            near: Iterable[str] = (entries[i][1 - side] for i in _neighbours(len(entries), here))
            wrong = dict.fromkeys(text for text in near if text != entry[1 - side])
            yield Group(
                None, entry[side], [entry[1 - side]], [Candidate(t) for t in wrong], None, entry[2]
            )


def _neighbours(count: int, here: int) -> list[int]:
    """The nearest numbers around ``here``: of the same class or module, mostly."""
    first = max(0, min(here - NEIGHBOURS // 2, count - NEIGHBOURS - 1))
    return [i for i in range(first, min(count, first + NEIGHBOURS + 1)) if i != here]
