"use strict";
// Which tokens are hidden: by clicks, or by their place in the ranking of a scorer; with undo.
flowtracer.hiding = (() => {
  const { bench } = flowtracer;
  const { byId } = bench;
  const { counted } = flowtracer.dom;
  const UNDO = 100; // sets that are kept, our choice
  let preview = null; // the set before the slider was touched

  // Hide exactly these tokens. how: in words, for the table of experiments.
  const set = (tokens, how, { undoable = true } = {}) => {
    const { entry, view } = bench;
    if (!entry) return;
    if (undoable) entry.undo = [...entry.undo.slice(1 - UNDO), { tokens: preview ?? [...entry.hidden], how: entry.how ?? "" }];
    if (undoable) preview = null;
    entry.hidden = new Set(tokens);
    entry.how = how;
    view.mark("hidden", bench.unitsOf(view.data, entry.hidden));
    changed();
  };
  const changed = () => {
    const { entry } = bench, count = entry?.hidden.size ?? 0;
    byId("hidden-count").textContent = count ? `${counted(count, "token")} hidden` : "nothing hidden";
    byId("undo").disabled = !entry?.undo.length;
    byId("clear").disabled = !count;
    byId("pick").classList.toggle("wb-primary", !count); // the next step stands out
    byId("regenerate").classList.toggle("wb-primary", count > 0);
    bench.emit("hidden");
  };
  const marked = (pieces) => set(bench.tokensOf(bench.view.data, pieces), "by hand");
  const add = (first, last) => {
    const pieces = Array.from({ length: last - first + 1 }, (_, n) => first + n);
    const tokens = bench.tokensOf(bench.view.data, pieces), all = tokens.every((token) => bench.entry.hidden.has(token));
    const next = new Set(bench.entry.hidden);
    for (const token of tokens) if (all) next.delete(token); else next.add(token);
    set(next, "by hand");
  };
  const undo = () => {
    const last = bench.entry?.undo.pop();
    if (last) set(last.tokens, last.how, { undoable: false });
  };
  const clear = () => { if (bench.entry?.hidden.size) set([], ""); };

  // The top or bottom part, by a scorer, of the response in front of the answer's end, without the answer.
  const chosen = () => {
    const { view } = bench, { group, measured } = view.model;
    const ratio = byId("pick-ratio").valueAsNumber / 100, end = byId("pick-end").value;
    const { rank } = measured(byId("pick-scorer").value), stop = group.lastIndexOf("answer");
    const pool = group.flatMap((name, i) => (name === "response" && i < stop ? [i] : [])).sort((a, b) => rank[a] - rank[b]);
    const needed = Math.round(ratio * pool.length);
    return end === "top" ? pool.slice(0, needed) : pool.slice(pool.length - needed);
  };
  const words = () => `${byId("pick-end").value} ${byId("pick-ratio").value}% by ${byId("pick-scorer").value}`;
  const pick = (undoable = true) => bench.attempt("hide-error", async () => {
    const { view } = bench, name = byId("pick-scorer").value;
    if (!view || view.root.classList.contains("untraced")) throw new Error("The text has no trace yet; mark its answer first.");
    if (!view.model.scorers[name]) await flowtracer.tracing.ensure(name);
    if (view !== bench.view) return;
    if (!undoable && preview === null) preview = [...bench.entry.hidden];
    set(bench.tokensOf(view.data, chosen()), words(), { undoable });
  });
  const offer = () => {
    const list = byId("pick-scorer"), before = list.value;
    const names = [...new Set([...(bench.info?.scorers ?? []).map(({ name }) => name), ...Object.keys(bench.view?.model.scorers ?? {})])];
    list.replaceChildren(...names.map((name) => new Option(name, name)));
    list.value = names.includes(before) ? before : "flow";
  };

  const start = () => {
    byId("undo").addEventListener("click", undo);
    byId("clear").addEventListener("click", clear);
    byId("pick").addEventListener("click", () => pick());
    byId("pick-ratio").addEventListener("input", () => {
      byId("pick-out").textContent = `${byId("pick-ratio").value}%`;
      if (bench.view?.model.scorers[byId("pick-scorer").value]) pick(false);
    });
    byId("pick-ratio").addEventListener("change", () => pick());
    for (const id of ["pick-end", "pick-scorer"]) byId(id).addEventListener("change", () => { if (bench.entry?.hidden.size) pick(); });
    bench.on("marked", marked);
    bench.on("view", () => {
      offer();
      changed();
    });
  };
  return { start, set, add, undo, clear, pick };
})();
