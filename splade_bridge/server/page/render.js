// What is drawn of terms, texts and explanations; for the page, and for one that stands alone.
// All text becomes text nodes: nothing that is served is read as HTML.
"use strict";

const Render = (() => {
  /** An element; attributes that are null or false are left out, children may be nested lists. */
  function h(tag, attributes, ...children) {
    const [name, ...classes] = tag.split(".");
    const element = document.createElement(name);
    if (classes.length) element.className = classes.join(" ");
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key.startsWith("--")) element.style.setProperty(key, value);
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
    return element;
  }

  const number = (value) =>
    Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumFractionDigits: 3 });
  const signed = (value, digits) =>
    (value > 0 ? "+" : value < 0 ? "\u2212" : "") + Math.abs(value).toFixed(digits);
  const milliseconds = (value) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`;

  /** Where a term comes from, in a word that is also a class of the style. */
  const origin = (term) => (term.original ? "typed" : "expansion");
  const originTold = (term) => (term.original ? "typed" : "added by the model");

  /** Runs of text, those that were found marked. */
  function runs(parts, terms) {
    const known = new Map((terms || []).map((t) => [t.term, t]));
    return parts.map((part) => {
      if (part.term === null) return part.text;
      const term = known.get(part.term);
      const told = term ? `${term.word}: adds ${number(term.score)}` : null;
      return h(`mark.${term ? origin(term) : "typed"}`, { title: told, "data-term": part.term }, part.text);
    });
  }

  function bar(share, kind) {
    return h(`span.bar.${kind}`, { "--share": `${Math.max(0, Math.min(1, share)) * 100}%`, "aria-hidden": "true" });
  }

  /** What terms add, as chips; those that the text does not hold are dashed. */
  function chips(added, most) {
    const shown = added.slice(0, most);
    const total = added.reduce((sum, row) => sum + row.score, 0) || 1;
    const list = shown.map((row) =>
      h(`li.chip.${origin(row)}${row.in_text === false ? ".unseen" : ""}`,
        { "data-term": row.term, "--share": `${(row.score / total) * 100}%`,
          title: `${row.word}, ${originTold(row)}: ${row.weight} in the query \u00d7 ${number(row.impact)} in the document` +
            (row.in_text === false ? "; the text does not hold it: the model has added it to the document" : "") },
        h("bdi", null, row.word), h("span.adds", null, `+${number(row.score)}`)));
    const rest = added.length - shown.length;
    if (rest > 0) {
      const sum = added.slice(most).reduce((s, row) => s + row.score, 0);
      list.push(h("li.chip.rest", null, `${rest} more +${number(sum)}`));
    }
    return h("ul.chips", { "aria-label": "What each term adds" }, list);
  }

  /** A document's terms in one or more indexes: what each has of them, and what that adds. */
  function explained(explanation, labels) {
    const systems = explanation.systems;
    const terms = new Map();
    systems.forEach((system, at) => system.added.forEach((row) => {
      if (!terms.has(row.term)) terms.set(row.term, { row, by: [] });
      terms.get(row.term).by[at] = row;
    }));
    const rows = [...terms.values()].filter((t) => t.by.some((r) => r && r.score));
    const best = (t) => Math.max(...t.by.filter(Boolean).map((r) => r.score));
    rows.sort((a, b) => best(b) - best(a));
    const most = Math.max(1, ...rows.map(best));
    const silent = terms.size - rows.length;
    const several = systems.length > 1;
    const table = h("table.explained", null,
      h("caption", null, several
        ? "What each term of the query adds in each index, and how the last differs from the first."
        : "What each term of the query adds."),
      h("thead", null, h("tr", null,
        h("th", { scope: "col" }, "Term"), h("th.figure.weighed", { scope: "col" }, "In query"),
        systems.map((s) => h("th.share", { scope: "col" }, h("bdi", null, labels[s.index]))),
        several && h("th.figure", { scope: "col" }, "Difference"))),
      h("tbody", null, rows.map(({ row, by }) => h("tr", null,
        h("th", { scope: "row" },
          h("span.name", null, h(`span.dot.${origin(row)}`, { "aria-hidden": "true" }), h("bdi", null, row.word)), " ",
          h("span.tag", null, originTold(row)),
          row.in_text === false && h("span.tag.unseen", null, "not in the text")),
        h("td.figure.weighed", null, several && new Set(by.filter(Boolean).map((r) => r.weight)).size > 1
          ? systems.map((_, at) => (by[at] ? number(by[at].weight) : "\u2013")).join(" / ")
          : number(row.weight)),
        systems.map((_, at) => {
          const mine = by[at];
          if (!mine || !mine.score) return h("td.share.none", null, h("span.figure", null, "\u2013"));
          return h("td.share", { title: `${mine.weight} \u00d7 ${number(mine.impact)}` },
            h("span.figure", null, number(mine.score)), bar(mine.score / most, origin(mine)));
        }),
        several && difference(by[systems.length - 1], by[0])))),
      h("tfoot", null, h("tr", null,
        h("th", { scope: "row" }, "Score"), h("td.weighed", null),
        systems.map((s) => h("td.share", null, h("span.figure", null, s.score === null ? "not there" : number(s.score)))),
        several && difference({ score: systems[systems.length - 1].score || 0 }, { score: systems[0].score || 0 }))));
    return [h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Terms" }, table),
      silent > 0 && h("p.note", null, `${silent} more ${silent === 1 ? "term" : "terms"} of the query ${silent === 1 ? "adds" : "add"} nothing here.`)];
  }

  function difference(last, first) {
    const by = (last ? last.score : 0) - (first ? first.score : 0);
    const told = by === 0 ? "0" : (by > 0 ? "+" : "\u2212") + number(Math.abs(by));
    return h(`td.figure.${by > 0 ? "up" : by < 0 ? "down" : "same"}`, null, told);
  }

  /** Title and text of a document, with what was found marked. */
  function shownText(shown, added) {
    return h("div.whole", null,
      h("p", { dir: "auto" }, runs(shown.text, added), shown.ends ? null : " \u2026"));
  }

  return { h, number, signed, milliseconds, origin, originTold, runs, chips, bar, explained, shownText };
})();
