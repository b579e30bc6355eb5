// Draws the explanation that stands beside it: a page of `explain --html`.
"use strict";

(() => {
  const { h, runs, explained, shownText } = Render;
  const { explanation, labels } = JSON.parse(document.getElementById("data").textContent);
  const shown = explanation.shown;
  const added = explanation.systems[0].added;
  document.querySelector("main").append(
    h("p.note", null, "Why ", h("bdi.id", null, explanation.doc_id), " for ", h("q", null, explanation.query)),
    h("h1", { dir: "auto" }, shown && shown.title.length ? runs(shown.title, added) : explanation.doc_id),
    ...explained(explanation, labels).filter(Boolean),
    ...(shown ? [h("h2", null, "The text"), shownText(shown, added)] : []));
})();
