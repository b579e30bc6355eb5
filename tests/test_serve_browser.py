"""The page as a person uses it, in Debian's Chromium, wide and narrow.

``scripts/browser`` brings Chromium; without it all is skipped, and says why.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoints import one_thread  # noqa: F401
from served import HOSTILE, Program, make_indexes, serving

pytestmark = pytest.mark.browser
playwright = pytest.importorskip("playwright.sync_api", reason="the extra dev brings it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="the extra dev brings it")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
if CHROMIUM is None:
    pytest.skip("no Chromium: scripts/browser brings it", allow_module_level=True)

SIZES = {"narrow": (390, 844), "wide": (1280, 900)}
QUERY = "the cat is not on his mat"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A full index and a pruned one, with texts and judged queries."""
    folder = make_indexes(tmp_path_factory.mktemp("page"), 120, 30)
    with serving(folder, "full", "pruned", "-m", "model", "--corpus", ".", "-q", ".",
                 "--qrels", ".", "--split", "test") as ours:  # fmt: skip
        yield ours


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, chromium: Any, program: Program) -> Iterator[Any]:
    """The page in both sizes; nothing may be wrong with it, and nothing be asked elsewhere."""
    width, height = SIZES[request.param]
    context = chromium.new_context(
        viewport={"width": width, "height": height},
        locale="en-US",
    )
    context.set_default_timeout(90_000)  # a busy machine
    ours = context.new_page()
    wrong: list[str] = []
    ours.on("pageerror", lambda error: wrong.append(str(error)))
    ours.on(
        "console",
        lambda said: (
            wrong.append(said.text)
            if said.type == "error" and "status of 400" not in said.text
            else None
        ),
    )
    ours.on(
        "request",
        lambda asked: None if asked.url.startswith(program.address) else wrong.append(asked.url),
    )
    ours.goto(program.address)
    yield ours
    assert wrong == []
    context.close()


def search(page: Any, text: str) -> None:
    page.wait_for_selector("#served li", state="attached")
    page.evaluate("document.activeElement.blur()")  # it begins in the field
    page.keyboard.press("/")
    page.keyboard.type(text)
    page.keyboard.press("Enter")
    page.wait_for_selector(".hit")


def ranking(page: Any, side: int = 0) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f'.column[data-side="{side}"] .hit', "cards => cards.map(card => card.dataset.doc)"
    )
    return found


def wait_for_scores(page: Any, found: Any) -> None:
    """Until the page shows the scores of an answer."""
    page.wait_for_function(
        "wanted => wanted === [...document.querySelectorAll('.score')]"
        ".map(score => score.textContent).join()",
        arg=",".join(f"{hit['score']:,}" for hit in found["hits"]),
    )


def wait_for_first(page: Any, label: str) -> None:
    """Until the first ranking is of this index."""
    page.wait_for_function(
        "label => label === document.querySelector("
        "'.column[data-side=\"0\"] .heading').textContent",
        arg=label,
    )


def serious(page: Any) -> list[tuple[str, str, str]]:
    """What axe finds of serious and critical faults."""
    found = axe.Axe().run(page).response["violations"]
    return [
        (fault["id"], fault["help"], node["html"][:200])
        for fault in found
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


def fits(page: Any) -> bool:
    """Whether nothing is wider than the screen."""
    fits: bool = page.evaluate(
        "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    )
    return fits


def shot(page: Any, name: str) -> None:
    """A picture, where somebody asks for it to look at."""
    if folder := os.environ.get("SPLADE_BRIDGE_SHOTS"):
        width = page.viewport_size["width"]
        page.screenshot(path=str(Path(folder) / f"{name}-{width}.png"))


def test_a_query_is_typed_and_terms_are_switched(page: Any, program: Program) -> None:
    shot(page, "start")
    assert serious(page) == []
    search(page, QUERY)
    page.select_option("#right", "")
    page.wait_for_function("() => document.querySelectorAll('.column').length === 1")
    before = program.ask("search", q=QUERY)
    assert ranking(page) == [hit["doc_id"] for hit in before["hits"]]
    assert page.locator(".term.typed").count() == sum(t["original"] for t in before["terms"][:24])
    off = next(term for term in before["terms"][:24] if not term["original"])
    row = page.locator(f'.term[data-term="{off["term"]}"]')
    row.locator("input[type=checkbox]").uncheck()
    wanted = program.ask("search", q=QUERY, weights=f'{{"{off["term"]}": 0}}')
    wait_for_scores(page, wanted)
    assert ranking(page) == [hit["doc_id"] for hit in wanted["hits"]]
    slider = row.locator("input[type=range]")
    assert slider.input_value() == "0"
    row.locator("input[type=checkbox]").check()
    assert slider.input_value() == str(off["weight"])
    slider.focus()
    page.keyboard.press("End")
    most = max(term["weight"] for term in before["terms"])
    assert row.locator("output").text_content() == f"{most:,}"
    page.locator("text=As the model has it").click()
    wait_for_scores(page, before)
    page.locator("text=Typed words only").click()
    page.wait_for_function(
        "() => document.querySelectorAll('.term.expansion:not(.off)').length === 0"
    )
    assert fits(page)


class Held:
    """Answers of one path, which the page waits for until they are let go."""

    def __init__(self, page: Any, path: str) -> None:
        self.page, self.path = page, path
        self.waiting: list[Any] = []
        self.open = False
        page.route(f"**/{path}?*", lambda route: self._asked(route))

    def _asked(self, route: Any) -> None:
        if self.open:
            route.continue_()
        else:
            self.waiting.append(route)

    def wait(self, count: int) -> None:
        """Until so many requests have been sent."""
        for _ in range(1200):
            if len(self.waiting) >= count:
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"{len(self.waiting)} requests of {self.path}, not {count}")

    def let_go(self) -> None:
        """All of them, the last one first, and what comes after them at once."""
        self.open = True
        for route in reversed(self.waiting):
            route.continue_()


def settled(page: Any) -> None:
    """Until nothing is on its way."""
    page.wait_for_timeout(300)  # a change by hand is asked for after a while
    page.wait_for_function("() => !document.body.classList.contains('busy')")


def alone(page: Any, program: Program) -> Any:
    """The query in one index, and its answer."""
    search(page, QUERY)
    page.select_option("#right", "")
    page.wait_for_function("() => document.querySelectorAll('.column').length === 1")
    settled(page)
    return program.ask("search", q=QUERY)


def weights(page: Any) -> dict[str, int]:
    """What the terms on the page weigh."""
    found: dict[str, int] = page.eval_on_selector_all(
        ".term", "rows => Object.fromEntries(rows.map(row => [row.dataset.term,"
        " Number(row.querySelector('input[type=range]').value)]))"
    )  # fmt: skip
    return found


def test_a_late_answer_draws_over_no_newer_click(page: Any, program: Program) -> None:
    """A weight is moved, taken back, and expansions are switched off, before anything answers."""
    before = alone(page, program)
    held = Held(page, "search")
    page.evaluate("""() => {
        const slider = document.querySelector(".term.expansion input[type=range]");
        slider.value = 0;
        slider.dispatchEvent(new Event("input", { bubbles: true }));
        for (const told of ["As the model has it", "Typed words only"]) {
            [...document.querySelectorAll("button")].find((b) => b.textContent === told).click();
        }
    }""")  # all of it before a change by hand is asked for
    held.wait(1)
    page.wait_for_timeout(300)
    held.let_go()
    off = {t["term"]: 0 for t in before["terms"] if not t["original"]}
    wait_for_scores(page, program.ask("search", q=QUERY, weights=json.dumps(off)))
    settled(page)
    assert page.locator(".term.expansion:not(.off)").count() == 0
    assert not any(weights(page)[term] for term in off if term in weights(page))


def test_a_weight_that_is_moved_meanwhile_stays(page: Any, program: Program) -> None:
    before = alone(page, program)
    most = max(t["weight"] for t in before["terms"])
    added = [t for t in before["terms"] if not t["original"]]
    moved = next(t["term"] for t in added if t["weight"] < most)
    held = Held(page, "search")
    page.locator("text=Typed words only").click()
    held.wait(1)
    page.locator(f'.term[data-term="{moved}"] input[type=range]').focus()
    page.keyboard.press("End")
    held.let_go()
    given = {t["term"]: 0 for t in added} | {moved: most}
    wait_for_scores(page, program.ask("search", q=QUERY, weights=json.dumps(given)))
    settled(page)
    shown = weights(page)
    assert shown[moved] == most
    assert not any(shown[term] for term in given if term in shown and term != moved)


def test_a_weight_of_the_last_query_changes_nothing_of_the_next(
    page: Any, program: Program
) -> None:
    before = alone(page, program)
    slider = page.locator(f'.term[data-term="{before["terms"][0]["term"]}"] input[type=range]')
    slider.focus()
    page.keyboard.press("Home")
    held = Held(page, "search")
    page.fill("#q", "the cat")
    page.keyboard.press("Enter")
    held.wait(1)
    assert page.locator("#terms").evaluate("terms => terms.inert")
    page.wait_for_timeout(300)
    held.let_go()
    found = program.ask("search", q="the cat")
    wait_for_scores(page, found)
    settled(page)
    shown = weights(page)
    assert {t["term"]: t["weight"] for t in found["terms"] if t["term"] in shown} == shown


def test_an_explanation_that_was_asked_for_first_opens_no_more(page: Any, program: Program) -> None:
    before = alone(page, program)
    first, second = (hit["doc_id"] for hit in before["hits"][:2])
    held = Held(page, "explain")
    for doc in (first, second):
        page.locator(f'.hit[data-doc="{doc}"] .explain').click()
    held.wait(2)
    held.let_go()
    page.wait_for_selector("dialog[open] table")
    page.wait_for_timeout(300)
    assert page.locator("dialog[open] .note .id").first.text_content() == second
    assert page.locator("#fault").is_hidden()


def test_no_query_shows_no_results(page: Any, program: Program) -> None:
    alone(page, program)
    held = Held(page, "search")
    page.fill("#q", "the cat")
    page.keyboard.press("Enter")
    held.wait(1)
    page.fill("#q", "")
    page.keyboard.press("Enter")
    held.let_go()
    settled(page)
    assert page.locator(".hit").count() == page.locator(".term").count() == 0
    assert page.locator("#start").is_visible()


def test_what_is_typed_before_indexes_are_known_stays(page: Any, program: Program) -> None:
    held = Held(page, "indexes")
    page.goto(f"{program.address}#q=the+cat")
    page.reload()
    held.wait(1)
    for key in "jklhxe/":
        page.keyboard.press(key)
        page.evaluate("document.activeElement.blur()")
    page.evaluate("dispatchEvent(new PopStateEvent('popstate'))")  # going back, by the browser
    page.fill("#q", "on his mat")
    held.let_go()
    page.wait_for_selector(".hit")
    assert page.locator("#q").input_value() == "on his mat"


def test_two_indexes_are_compared(page: Any, program: Program) -> None:
    search(page, QUERY)
    page.wait_for_function("() => document.querySelectorAll('.column').length === 2")
    both = [program.ask("search", q=QUERY, index=i)["hits"] for i in (0, 1)]
    ranks = [{hit["doc_id"]: hit["rank"] for hit in hits} for hits in both]
    for side in (0, 1):
        assert ranking(page, side) == list(ranks[side])
    where = ".gutter" if page.viewport_size["width"] > 860 else ".slope"
    page.wait_for_selector(f"{where} path", state="attached")
    kinds = {
        "up": sum(ranks[1].get(d, 99) < r for d, r in ranks[0].items()),
        "down": sum(99 > ranks[1].get(d, 99) > r for d, r in ranks[0].items()),
        "same": sum(ranks[1].get(d) == r for d, r in ranks[0].items()),
        "gone": sum(d not in ranks[1] for d in ranks[0]),
        "new": sum(d not in ranks[0] for d in ranks[1]),
    }
    assert kinds["up"] and kinds["new"]
    for kind, count in kinds.items():
        assert page.locator(f"{where} .move-line.{kind}").count() == count, kind
    assert page.locator(where).is_visible()
    shot(page, "compared")
    page.keyboard.press("j")
    page.keyboard.press("x")
    wait_for_first(page, "pruned")
    page.go_back()
    wait_for_first(page, "full")
    assert fits(page)
    assert serious(page) == []  # last: axe opens pages of its own, and there is no way back


def test_an_explanation_opens_by_key_and_closes(page: Any, program: Program) -> None:
    search(page, QUERY)
    page.wait_for_function("() => document.querySelectorAll('.column').length === 2")
    page.locator(".hit").first.focus()
    page.keyboard.press("j")
    doc = ranking(page)[1]
    page.keyboard.press("e")
    page.wait_for_selector("dialog[open] table")
    told = program.ask("explain", q=QUERY, doc=doc, index=0)
    scores = page.locator("dialog[open] tfoot .figure").all_text_contents()
    assert scores[0] == f"{told['systems'][0]['score']:,}"
    assert scores[2][0] in "0+\u2212"
    assert page.locator("dialog[open] tbody tr").count() >= sum(
        row["score"] > 0 for row in told["systems"][0]["added"]
    )
    shot(page, "explained")
    assert serious(page) == []
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("document.activeElement.dataset.doc") == doc


def test_a_judged_query_is_picked(page: Any, program: Program) -> None:
    page.locator("#judged summary").click()
    page.wait_for_selector(".judged-query")
    told = program.ask("judged", left=0, right=1)
    assert page.locator(".judged-text").all_text_contents() == [
        row["text"] for row in told["queries"]
    ]
    page.locator(".judged-query").first.click()
    page.wait_for_selector(".measure")
    values = [float(text) for text in page.locator(".measure b").all_text_contents()]
    first = told["queries"][0]
    assert values == pytest.approx([first["left"], first["right"]], abs=5e-5)
    found = program.ask("search", query_id=first["query_id"])
    relevant = sum((hit["grade"] or 0) > 0 for hit in found["hits"])
    assert page.locator('.column[data-side="0"] .grade.relevant').count() == relevant
    shot(page, "judged")
    assert fits(page)
    assert serious(page) == []


def test_hostile_texts_are_texts(page: Any, program: Program) -> None:
    page.select_option("#k", "100")
    search(page, "the cat")
    page.wait_for_selector('.hit[data-doc="d3"]')
    card = page.locator('.hit[data-doc="d3"]').first
    assert card.locator("h3").text_content().strip() == HOSTILE.strip()
    assert page.locator("#results img").count() == 0
    card.locator(".explain").click()
    page.wait_for_selector("dialog[open] table")
    assert HOSTILE.strip() in page.locator("dialog[open] .whole").text_content()
    assert page.evaluate("document.title") != "1"


def test_a_fault_is_told_in_words(page: Any, program: Program) -> None:
    page.wait_for_selector("#served li")
    page.evaluate("document.getElementById('q').removeAttribute('maxlength')")
    page.fill("#q", "x" * 2001)
    page.keyboard.press("Enter")
    page.wait_for_selector("#fault:not([hidden])")
    assert "2,000 at most" in page.locator("#fault").text_content()


@pytest.mark.parametrize("size", SIZES)
def test_dark_mode_has_contrast(chromium: Any, program: Program, size: str) -> None:
    width, height = SIZES[size]
    context = chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark", locale="en-US"
    )
    page = context.new_page()
    page.goto(program.address)
    search(page, QUERY)
    shot(page, "dark")
    assert serious(page) == []
    page.locator(".hit .explain").first.click()
    page.wait_for_selector("dialog[open] table")
    assert serious(page) == []
    context.close()
