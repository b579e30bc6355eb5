// The page: asks the API of this server, and draws what it answers.
"use strict";

(() => {
  const { h, number, signed, milliseconds, origin, originTold, runs, chips, explained, shownText } = Render;
  const $ = (id) => document.getElementById(id);
  const CHIPS = 8, DEPTHS = [5, 10, 20, 50, 100], PATIENCE = 220;

  const narrow = matchMedia("(max-width: 860px)");

  const state = { q: "", queryId: null, left: 0, right: null, k: 10, weights: {} };
  const shown = { served: null, found: [], all: false, original: {}, side: 0, early: null };

  // What is on its way. Only the last request of a kind may draw its answer, and no answer draws over
  // what a person has changed since: that stands in `state`, and is asked for next.
  const asking = { search: null, explain: 0, judged: 0 };
  let stale = true;  // whether the terms that are shown lag behind an answer that was asked for

  // Asking

  async function ask(path, parameters, signal) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(parameters)) {
      if (value === null || value === undefined) continue;
      for (const each of Array.isArray(value) ? value : [value]) query.append(name, each);
    }
    const answer = await fetch(`${path}?${query}`, { signal });
    const content = await answer.json();
    if (!answer.ok) throw new Error(content.error.message);
    return content;
  }

  const model = (number) => shown.served.indexes[number].model;
  const label = (number) => shown.served.indexes[number].label;
  const sides = () => (state.right === null ? [state.left] : [state.left, state.right]);

  function asked(number) {
    const weights = state.weights[model(number)];
    return {
      q: state.q, query_id: state.queryId,
      weights: weights && Object.keys(weights).length ? JSON.stringify(weights) : null,
    };
  }

  function tell(error) {
    $("fault").hidden = !error;
    $("fault").textContent = error ? error.message : "";
  }

  /** Search for what `state` says; `keep` says that the terms are shown so already. */
  async function search({ keep } = {}) {
    if (!shown.served) return;
    weighing.cancel();  // this asks for it
    if (asking.search) asking.search.abort();
    const mine = (asking.search = new AbortController());
    if (!state.q.trim() && !state.queryId) {
      clear();
      return;
    }
    if (!keep) stale = true;
    const sent = sides().map((number) => ({ number, given: asked(number) }));
    document.body.classList.add("busy");
    try {
      const found = await Promise.all(sent.map(({ number, given }) =>
        ask("search", { index: number, k: state.k, ...given }, mine.signal)));
      if (asking.search !== mine) return;
      shown.found = found;
      found.forEach((each, at) => {
        if (sent[at].given.weights === null) {
          shown.original[model(each.index)] = new Map(each.terms.map((t) => [t.term, t.weight]));
        }
      });
      tell(null);
      if (stale && !weighing.waits()) {
        drawTerms();
        stale = false;
      } else tellTimes();
      drawResults();
      $("start").hidden = true;
      const told = found.map((f) => `${label(f.index)}: ${f.hits.length} documents`).join("; ");
      $("status").textContent = told;
    } catch (error) {
      if (asking.search === mine && error.name !== "AbortError") tell(error);
    } finally {
      if (asking.search === mine) document.body.classList.remove("busy");
    }
  }

  /** As it was before the first query. */
  function clear() {
    document.body.classList.remove("busy");
    shown.found = [];
    $("terms").hidden = true;
    $("terms").replaceChildren();
    $("results").replaceChildren();
    $("start").hidden = false;
    $("status").textContent = "";
    tell(null);
  }

  /** Ask for another query: the terms of the last one cannot be changed any more. */
  function begin() {
    $("terms").inert = true;
    shown.all = false;
    asking.explain += 1;
    search();
  }

  // The query's terms

  function drawTerms() {
    const panels = [];
    const done = new Set();
    shown.found.forEach((found) => {
      const name = model(found.index);
      if (done.has(name)) return;
      done.add(name);
      panels.push(termPanel(found, name));
    });
    $("terms").replaceChildren(...panels);
    $("terms").classList.toggle("two", panels.length > 1);
    $("terms").hidden = $("terms").inert = false;
    tellTimes();
  }

  function tellTimes() {
    shown.found.forEach((found) => {
      const told = document.querySelector(`[data-encoding="${CSS.escape(model(found.index))}"]`);
      if (told) told.textContent = `encoded in ${milliseconds(found.encoding_ms)}`;
    });
  }

  function termPanel(found, name) {
    const changed = (state.weights[name] = state.weights[name] || {});
    const base = shown.original[name] || new Map();
    const most = Math.max(1, ...base.values(), ...found.terms.map((t) => t.weight));
    const shownTerms = shown.all ? found.terms : found.terms.slice(0, narrow.matches ? 8 : 20);
    const typed = found.terms.filter((t) => t.original).length;
    const several = new Set(shown.found.map((f) => model(f.index))).size > 1;
    const weight = (term) => changed[term.term] ?? base.get(term.term) ?? term.weight;
    const body = h("ul.bag", null, shownTerms.map((term) => termRow({ ...term, weight: weight(term) }, name, most, base)));
    const rest = found.terms.length - shownTerms.length;
    const set = (weights) => { state.weights[name] = weights; search(); };
    const added = h("input", { type: "text", autocomplete: "off", placeholder: "add a term", "aria-label": "Add a term of the model's vocabulary" });
    return h("div.panel.query", null,
      h("div.panel-head", null,
        h("h2.heading", null, several ? ["Query for ", h("bdi", null, short(name))] : "The query, as it is encoded"),
        h("span.note", { "data-encoding": name }),
        h("ul.legend", { "aria-label": "Legend" },
          h("li", null, h("span.dot.typed"), `${typed} typed`),
          h("li", null, h("span.dot.expansion"), `${found.terms.length - typed} added by the model`),
          shown.served.texts && h("li", null, h("span.chip.unseen.sample", { "aria-hidden": "true" }), "not in the text"))),
      found.terms.length ? body : h("p.note", null, "No term is left of this query: nothing can be found."),
      h("div.panel-tools", null,
        rest > 0 && h("button", { type: "button", onclick: () => { shown.all = true; drawTerms(); } }, `Show ${rest} more`),
        typed < found.terms.length && h("button", { type: "button", onclick: () =>
          set(Object.fromEntries(found.terms.filter((t) => !t.original).map((t) => [t.term, 0]))) }, "Typed words only"),
        h("button.undo", { type: "button", hidden: !Object.keys(changed).length, onclick: () => set({}) }, "As the model has it"),
        h("form.add", { onsubmit: (event) => {
          event.preventDefault();
          const term = added.value.trim();
          if (term) set({ ...state.weights[name], [term]: Math.round(most) });
        } }, added)));
  }

  function termRow(term, name, most, base) {
    const top = most;
    const weights = () => (state.weights[name] = state.weights[name] || {});
    const before = base.get(term.term) || Math.round(most / 2);
    const value = h("output.weight", null, number(term.weight));
    const row = h(`li.term.${origin(term)}`, { "data-term": term.term });
    const draw = (weight) => {
      value.textContent = number(weight);
      slider.value = weight;
      slider.style.setProperty("--share", `${(weight / top) * 100}%`);
      box.checked = weight > 0;
      row.classList.toggle("off", weight === 0);
      row.classList.toggle("changed", term.term in weights());
    };
    const set = (weight) => {
      row.closest(".query").querySelector(".undo").hidden = false;
      weights()[term.term] = weight;
      draw(weight);
      weighing.ask();
    };
    const box = h("input", { type: "checkbox", "aria-label": `${term.word}, ${originTold(term)}: use it`,
      onchange: () => set(box.checked ? before : 0) });
    const slider = h("input.slide", { type: "range", min: 0, max: Math.round(top), step: 1,
      "aria-label": `Weight of ${term.word}`, oninput: () => set(Number(slider.value)) });
    row.append(box, h("bdi.word", { title: `${term.term}, ${originTold(term)}` }, term.word), slider, value);
    draw(term.weight);
    row.addEventListener("pointerenter", () => point(term.term, true));
    row.addEventListener("pointerleave", () => point(term.term, false));
    return row;
  }

  /** Does `what` once nobody has asked for it again for a while. */
  function patient(what) {
    let timer = 0;
    const cancel = () => { clearTimeout(timer); timer = 0; };
    const ask = () => { cancel(); timer = setTimeout(() => { timer = 0; what(); }, PATIENCE); };
    return { ask, cancel, waits: () => timer !== 0 };
  }
  const weighing = patient(() => search({ keep: true }));
  const looking = patient(() => drawJudged());

  function point(term, on) {
    for (const each of document.querySelectorAll(`#results [data-term="${CSS.escape(term)}"]`)) {
      each.classList.toggle("pointed", on);
    }
  }

  const short = (name) => name.split("/").filter(Boolean).pop() || name;

  // Results

  function drawResults() {
    const two = shown.found.length > 1;
    const ranks = shown.found.map((f) => new Map(f.hits.map((hit) => [hit.doc_id, hit.rank])));
    const columns = shown.found.map((found, side) => column(found, side, two ? ranks[1 - side] : null));
    const nodes = two ? [columns[0], h("div.gutter", { "aria-hidden": "true" }), columns[1]] : columns;
    $("results").replaceChildren(...(two ? [slope(ranks), tabs(), ...nodes] : nodes));
    $("results").classList.toggle("two", two);
    $("results").dataset.side = shown.side;
    requestAnimationFrame(drawMoves);
  }

  /** Which of two rankings a narrow screen shows. */
  function tabs() {
    return h("div.tabs", { role: "group", "aria-label": "Ranking that is shown" }, shown.found.map((found, side) =>
      h("button", { type: "button", "data-tab": side, "aria-pressed": String(side === shown.side), onclick: () => turn(side) },
        h("bdi", null, label(found.index)))));
  }

  function turn(side) {
    shown.side = side;
    $("results").dataset.side = side;
    for (const each of document.querySelectorAll("[data-tab]")) {
      each.setAttribute("aria-pressed", String(Number(each.dataset.tab) === side));
    }
  }

  function column(found, side, others) {
    const index = shown.served.indexes[found.index];
    const measured = found.measure !== null &&
      h("span.measure", null, h("b", null, found.measure.toFixed(4)), ` ${shown.served.measure}`);
    const relevant = found.relevant !== null &&
      h("span.note", null, `${found.hits.filter((hit) => hit.grade > 0).length} of ${found.relevant} relevant among these`);
    return h("section.column", { "data-side": side, "aria-label": `Ranking of ${index.label}` },
      h("header.column-head", null,
        h("h2.heading", null, h("bdi", null, index.label)),
        h("span.engine", null, index.engine), measured,
        h("p.note", null, `found in ${milliseconds(found.retrieval_ms)}`, described(index), relevant && [" \u00b7 ", relevant])),
      found.hits.length
        ? h("ol.hits", null, found.hits.map((hit) => card(hit, found, side, others)))
        : h("p.panel.nothing", null, "No document holds a term of this query."));
  }

  function described(index) {
    const parts = [];
    if (index.documents !== null) parts.push(`${number(index.documents)} documents`);
    if (index.pruning.length) parts.push("pruned");
    return parts.length ? ` \u00b7 ${parts.join(" \u00b7 ")}` : "";
  }

  /** Where a document stands in the other ranking; of the right one how far it has moved. */
  function move(rank, other, side) {
    if (other === undefined) return h("span.move.new", { title: "not among the documents of the other ranking" }, "only here");
    if (other === rank) return h("span.move.same", { title: "the same rank there" }, "=");
    const up = side ? rank < other : other < rank;
    const told = side ? `${up ? "\u25b2" : "\u25bc"}${Math.abs(rank - other)}` : `\u2192 ${other}`;
    return h(`span.move.${up ? "up" : "down"}`, { title: `rank ${other} there` },
      h("span", { "aria-hidden": "true" }, told), h("span.hidden", null, `rank ${other} there`));
  }

  function card(hit, found, side, others) {
    const open = () => explain(hit.doc_id);
    const title = hit.shown && hit.shown.title.length ? runs(hit.shown.title, hit.added) : h("bdi.id", null, hit.doc_id);
    const judged = hit.grade !== null && h(`span.grade.${hit.grade > 0 ? "relevant" : "irrelevant"}`, null,
      hit.grade > 0 ? `relevant${hit.grade > 1 ? ` ${hit.grade}` : ""}` : "not relevant");
    const node = h("li.hit", { tabindex: 0, "data-doc": hit.doc_id, "aria-label": `Rank ${hit.rank}, ${hit.doc_id}`,
      onkeydown: (event) => { if (event.key === "Enter" && event.target === node) open(); } },
      h("div.rank", { "aria-hidden": "true" }, hit.rank),
      h("div.content", null,
        h("div.line", null,
          h("h3", { dir: "auto" }, title),
          h("span.score", { title: "score" }, number(hit.score))),
        h("div.facts", null,
          hit.shown && hit.shown.title.length ? h("bdi.id", null, hit.doc_id) : null,
          judged, others && move(hit.rank, others.get(hit.doc_id), side),
          h("button.explain", { type: "button", onclick: open, "aria-label": `Explain ${hit.doc_id}` }, "Explain")),
        hit.shown && hit.shown.text.length > 0 && h("p.snippet", { dir: "auto" },
          hit.shown.starts ? null : "\u2026 ", runs(hit.shown.text, hit.added), hit.shown.ends ? null : " \u2026"),
        chips(hit.added, CHIPS)));
    if (hit.grade > 0) node.classList.add("is-relevant");
    for (const [name, on] of [["pointerenter", true], ["pointerleave", false], ["focusin", true], ["focusout", false]]) {
      node.addEventListener(name, () => follow(hit.doc_id, on));
    }
    return node;
  }

  // Moves between two rankings

  const SVG = "http://www.w3.org/2000/svg";
  function svg(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  function drawMoves() {
    const gutter = document.querySelector(".gutter");
    if (!gutter || !gutter.offsetParent) return;
    const box = gutter.getBoundingClientRect();
    const [left, right] = [0, 1].map((side) => {
      const cards = document.querySelectorAll(`.column[data-side="${side}"] .hit`);
      return new Map([...cards].map((card, at) => {
        const place = card.getBoundingClientRect();
        return [card.dataset.doc, { y: place.top - box.top + Math.min(34, place.height / 2), rank: at + 1 }];
      }));
    });
    const picture = svg("svg", { width: box.width, height: box.height, viewBox: `0 0 ${box.width} ${box.height}` });
    const middle = box.width / 2;
    for (const [doc, from] of left) {
      const to = right.get(doc);
      const kind = !to ? "gone" : to.rank < from.rank ? "up" : to.rank > from.rank ? "down" : "same";
      const path = to
        ? `M0 ${from.y}C${middle} ${from.y} ${middle} ${to.y} ${box.width} ${to.y}`
        : `M0 ${from.y}H${box.width * 0.28}`;
      const line = svg("path", { d: path, class: `move-line ${kind}` });
      line.dataset.doc = doc;
      picture.append(line);
    }
    for (const [doc, to] of right) {
      if (left.has(doc)) continue;
      const line = svg("path", { d: `M${box.width * 0.72} ${to.y}H${box.width}`, class: "move-line new" });
      line.dataset.doc = doc;
      picture.append(line);
    }
    gutter.replaceChildren(picture);
  }

  /** The same for narrow screens: ranks only, above the two rankings. */
  function slope(ranks) {
    const rows = Math.max(1, ...ranks.map((r) => r.size));
    const height = rows * 16 + 8, width = 320;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${[...ranks[0].keys()].filter((d) => ranks[1].has(d)).length} of ${ranks[0].size} documents are in both rankings` });
    const y = (rank) => rank * 16 - 4;
    ranks.forEach((ranking, side) => {
      for (const rank of ranking.values()) {
        const text = svg("text", { x: side ? width - 8 : 8, y: y(rank) + 4, "text-anchor": side ? "end" : "start" });
        text.textContent = rank;
        picture.append(text);
      }
    });
    for (const [doc, rank] of ranks[0]) {
      const other = ranks[1].get(doc);
      const kind = other === undefined ? "gone" : other < rank ? "up" : other > rank ? "down" : "same";
      const end = other === undefined ? `H60` : `C${width / 2} ${y(rank)} ${width / 2} ${y(other)} ${width - 32} ${y(other)}`;
      const line = svg("path", { d: `M32 ${y(rank)}${end}`, class: `move-line ${kind}` });
      line.dataset.doc = doc;
      picture.append(line);
    }
    for (const [doc, rank] of ranks[1]) {
      if (ranks[0].has(doc)) continue;
      picture.append(svg("path", { d: `M${width - 60} ${y(rank)}H${width - 32}`, class: "move-line new" }));
    }
    return h("figure.slope", null, picture);
  }

  function follow(doc, on) {
    for (const each of document.querySelectorAll(`#results [data-doc="${CSS.escape(doc)}"]`)) each.classList.toggle("followed", on);
  }

  // An explanation

  async function explain(doc) {
    const indexes = sides();
    const dialog = $("explanation");
    const turn = ++asking.explain;
    try {
      const own = new Set(indexes.map(model));
      const parts = own.size === 1
        ? [await ask("explain", { index: indexes, doc, ...asked(indexes[0]) })]
        : await Promise.all(indexes.map((number) => ask("explain", { index: number, doc, ...asked(number) }).catch(() => null)));
      if (turn !== asking.explain) return;
      const there = parts.filter(Boolean);
      if (!there.length) throw new Error(`No index has document ${doc}.`);
      const labels = Object.fromEntries(shown.served.indexes.map((index) => [index.number, index.label]));
      const first = there[0];
      const close = h("button.quiet", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "\u2715");
      const rows = first.systems[0].added;
      dialog.replaceChildren(
        h("div.dialog-head", null,
          h("div", null,
            h("p.note", null, "Why ", h("bdi.id", null, doc), " for ", h("q", null, first.query)),
            h("h2", { id: "explained-title", dir: "auto" },
              first.shown && first.shown.title.length ? runs(first.shown.title, rows) : doc)),
          close),
        ...there.flatMap((part) => explained(part, labels)).filter(Boolean),
        ...(first.shown ? [h("h3", null, "The text"), shownText(first.shown, rows)] : []));
      if (!dialog.open) dialog.showModal();
      dialog.scrollTop = 0;
      close.focus();
    } catch (error) {
      if (turn === asking.explain) tell(error);
    }
  }

  // Judged queries

  async function drawJudged() {
    const turn = ++asking.judged;
    if (!shown.served.judged || !$("judged").open) return;
    try {
      const right = state.right === null ? state.left : state.right;
      const found = await ask("judged", { left: state.left, right, limit: 200, words: $("judged-words").value });
      if (turn !== asking.judged) return;
      if (!found.ready) {
        $("judged-means").textContent = `measuring ${number(found.done)} of ${number(found.of)} \u2026`;
        setTimeout(() => turn === asking.judged && drawJudged(), 400);
        return;
      }
      const two = state.right !== null;
      $("judged-means").textContent = two
        ? `${found.measure}: ${found.left.toFixed(4)} ${label(state.left)}, ${found.right.toFixed(4)} ${label(state.right)}` +
          `; those first that differ most (${found.queries.length} of ${number(found.count)})`
        : `${found.measure}: ${found.left.toFixed(4)} (${found.queries.length} of ${number(found.count)})`;
      $("judged-list").replaceChildren(h("ul", null, found.queries.map((row) => h("li", null,
        h("button.judged-query", { type: "button", onclick: () => pick(row), "aria-pressed": String(row.query_id === state.queryId) },
          h("span.judged-text", { dir: "auto" }, row.text), h("span.hidden", null, ": "),
          h("span.figure", null, row.left.toFixed(2)),
          two && h("span.figure", null, row.right.toFixed(2)),
          two && h(`span.figure.delta.${row.difference > 0 ? "up" : row.difference < 0 ? "down" : "same"}`, null, signed(row.difference, 2)))))));
    } catch (error) {
      if (turn === asking.judged) tell(error);
    }
  }

  function pick(row) {
    Object.assign(state, { q: row.text, queryId: row.query_id, weights: {} });
    $("q").value = row.text;
    drawJudged();
    remember(true);
    begin();
  }

  // What the address holds

  function remember(asNew) {
    const kept = new URLSearchParams({ q: state.q, left: state.left, k: state.k });
    if (state.right !== null) kept.set("right", state.right);
    if (state.queryId !== null) kept.set("query", state.queryId);
    history[asNew ? "pushState" : "replaceState"](null, "", `#${kept}`);
    document.title = state.q ? `${state.q} \u00b7 splade-bridge` : "splade-bridge";
  }

  function recall() {
    const kept = new URLSearchParams(location.hash.slice(1));
    const last = shown.served.indexes.length - 1;
    const within = (value, most, otherwise) => (/^\d+$/.test(value || "") && Number(value) <= most ? Number(value) : otherwise);
    state.q = kept.get("q") || "";
    state.queryId = shown.served.judged ? kept.get("query") : null;
    state.left = within(kept.get("left"), last, 0);
    state.right = within(kept.get("right"), last, kept.has("left") || last < 1 ? null : 1);
    state.k = within(kept.get("k"), DEPTHS[DEPTHS.length - 1], 10);
    state.weights = {};
    drawChoices();
  }

  function drawChoices() {
    const options = (chosen, none) => [
      none && h("option", { value: "", selected: chosen === null }, "nothing"),
      ...shown.served.indexes.map((index) => h("option", { value: index.number, selected: index.number === chosen }, index.label))].filter(Boolean);
    $("left").replaceChildren(...options(state.left, false));
    $("right").replaceChildren(...options(state.right, true));
    $("k").replaceChildren(...[...new Set([...DEPTHS, state.k])].sort((a, b) => a - b)
      .map((k) => h("option", { value: k, selected: k === state.k }, k)));
    $("against").hidden = $("swap").hidden = shown.served.indexes.length < 2;
    $("judged").hidden = !shown.served.judged;
    $("judged-told").textContent = `${number(shown.served.judged)}, by ${shown.served.measure}`;
  }

  function changed() {
    remember(true);
    drawChoices();
    drawJudged();
    asking.explain += 1;
    search();
  }

  function swap() {
    if (state.right === null) return;
    [state.left, state.right] = [state.right, state.left];
    changed();
  }

  // Keys

  function step(by) {
    const side = document.activeElement.closest && document.activeElement.closest(".column");
    const cards = [...(side || document).querySelectorAll(".hit")].filter((card) => card.offsetParent);
    const at = cards.indexOf(document.activeElement.closest(".hit"));
    const next = cards[Math.max(0, Math.min(cards.length - 1, at + by))];
    if (next) next.focus();
  }

  function across(side) {
    turn(side);
    const now = document.activeElement.closest(".hit");
    const there = [...document.querySelectorAll(`.column[data-side="${side}"] .hit`)];
    const same = there.find((card) => now && card.dataset.doc === now.dataset.doc);
    if (same || there[0]) (same || there[0]).focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=checkbox]):not([type=range]), select, textarea");
    if (typing || document.querySelector("dialog[open]")) return;
    const keys = {
      "/": () => { $("q").focus(); $("q").select(); },
      j: () => step(1), k: () => step(-1), h: () => across(0), l: () => across(1), x: swap,
      e: () => { const card = document.activeElement.closest(".hit"); if (card) explain(card.dataset.doc); },
      "?": () => $("keys").showModal(),
    };
    if (event.key in keys) {
      event.preventDefault();
      keys[event.key]();
    }
  });

  // Beginning

  $("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("q").value;
    if (!shown.served) {
      shown.early = text;
      return;
    }
    if (text !== state.q) Object.assign(state, { queryId: null, weights: {} });
    state.q = text;
    remember(true);
    drawJudged();
    $("results").focus({ preventScroll: true });  // so that keys move among the results
    begin();
  });
  $("left").addEventListener("change", () => { state.left = Number($("left").value); changed(); });
  $("right").addEventListener("change", () => { state.right = $("right").value === "" ? null : Number($("right").value); changed(); });
  $("k").addEventListener("change", () => { state.k = Number($("k").value); changed(); });
  $("swap").addEventListener("click", swap);
  $("help").addEventListener("click", () => $("keys").showModal());
  $("judged").addEventListener("toggle", drawJudged);
  $("judged-words").addEventListener("input", looking.ask);
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  addEventListener("popstate", () => {
    if (!shown.served) return;  // what the address says is read once we know of the indexes
    recall();
    $("q").value = state.q;
    drawJudged();
    begin();
  });
  new ResizeObserver(() => drawMoves()).observe($("results"));

  (async () => {
    try {
      shown.served = await ask("indexes", {});
      $("q").maxLength = shown.served.limits.text;
      $("served").replaceChildren(...shown.served.indexes.map((index) => h("li.panel", null,
        h("b", null, h("bdi", null, index.label)), " ", h("span.engine", null, index.engine),
        h("p.note", null, [index.documents !== null && `${number(index.documents)} documents`,
          index.postings !== null && `${number(index.postings)} postings`,
          index.pruning.length > 0 && "pruned", short(index.model)].filter(Boolean).join(" \u00b7 ")))));
      recall();
      if (shown.early) {  // asked before we knew of any index
        Object.assign(state, { q: shown.early, queryId: null });
        remember(true);
      } else if (!$("q").value) $("q").value = state.q;
      if (state.q || state.queryId) begin();
      else $("q").focus();
    } catch (error) {
      tell(error);
    }
  })();
})();
