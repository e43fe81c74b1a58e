"use strict";
// A second trace beside the open one: of the same text by other means, or of another text.
flowtracer.compare = (() => {
  const { bench, jobs, diff } = flowtracer;
  const { byId } = bench;
  const { counted, percent } = flowtracer.dom;
  const MARK = "differs";
  let view = null, partner = null, back = null, linking = false;

  const other = () => bench.entries.find((entry) => entry.id === byId("compare-text").value) ?? bench.entry;
  const settings = () => ({ layers: byId("compare-layers").value.trim() || "middle", edges: byId("compare-edges").value, scorer: byId("compare-scorer").value });
  const offer = () => {
    const before = byId("compare-text").value;
    byId("compare-text").replaceChildren(...bench.entries.map((entry) => new Option(entry === bench.entry ? `this text (${entry.name})` : entry.name, entry.id)));
    byId("compare-text").value = bench.entries.some(({ id }) => id === before) ? before : bench.entry?.id ?? "";
  };

  const open = (given = {}) => {
    const { entry } = bench;
    if (!entry) return null;
    byId("compare").hidden = false;
    byId("views").classList.add("two");
    byId("compare-open").setAttribute("aria-expanded", "true");
    offer();
    byId("compare-text").value = bench.entries.some(({ id }) => id === given.text) ? given.text : entry.id;
    byId("compare-layers").value = given.layers ?? (entry.options.layers === "middle" ? "all" : "middle");
    byId("compare-edges").value = given.edges ?? entry.options.edges;
    byId("compare-scorer").value = given.scorer ?? (entry.options.scorer.startsWith("layer ") ? "flow" : entry.options.scorer);
    return trace();
  };
  const close = () => {
    view?.destroy();
    view = partner = back = null;
    bench.view?.mark(MARK, []);
    byId("compare").hidden = true;
    byId("views").classList.remove("two");
    byId("compare-open").setAttribute("aria-expanded", "false");
    bench.emit("compared", null);
  };
  const isOpen = () => !byId("compare").hidden;

  const trace = () => bench.attempt("compare-error", async () => {
    const entry = other(), { layers, edges, scorer } = settings();
    await flowtracer.shelf.load(entry);
    const foreign = bench.isForeign(entry);
    if (foreign && !entry.data) throw new Error("That text is of a model that is not loaded, and has no trace.");
    // A dragged answer belongs to one text; the others are traced as their own options say.
    const data = foreign ? entry.data : await jobs.run("Tracing for comparison", flowtracer.tracing.request(entry, scorer, { layers, edges }));
    for (const id of ["compare-layers", "compare-edges"]) byId(id).disabled = foreign;
    if (!isOpen() || entry !== other()) return;
    view?.destroy();
    view = flowtracer.traceView(byId("compare-view"), data, { onSelect: (i) => link(i, back, bench.view) });
    view.entry = entry;
    view.setScorer(scorer);
    view.setEnd(bench.view.end);
    marks();
    bench.emit("compared", entry);
  });

  // Which piece of one text stands where in the other.
  const align = () => {
    const sameModel = bench.view.entry.record.model === view.entry.record.model;
    const keys = ({ ids, units }) => (sameModel ? ids.map(String) : units); // ids of two models have nothing in common
    const one = keys(bench.view.data), two = keys(view.data);
    partner = [...diff.partners(one, two)];
    back = [...diff.back(partner, two.length)];
  };
  const marks = () => {
    if (!view || !bench.view || bench.view.root.classList.contains("untraced")) return;
    align();
    const texts = bench.view.entry.id !== view.entry.id;
    const left = bench.view.measure.chosen(bench.view.end), right = view.measure.chosen(view.end);
    const differs = (mine, theirs, partners) => (i) => (texts ? partners[i] < 0 : mine.has(i) !== theirs.has(partners[i]));
    const pick = (one, mine, theirs, partners) => partners.flatMap((_, i) => (one.model.group[i] !== "prompt" && differs(mine, theirs, partners)(i) ? [i] : []));
    const a = pick(bench.view, left, right, partner), b = pick(view, right, left, back);
    bench.view.mark(MARK, a);
    view.mark(MARK, b);
    byId("compare-note").textContent = texts
      ? `Marked: ${counted(a.length, "token")} that only the left response has, ${b.length} that only the right one has.`
      : `Marked: tokens among the ${view.end} 40% on one side only, ${counted(a.length, "token")}. ${agreement()}`;
  };
  // How far the two rankings of the response agree.
  const agreement = () => {
    const one = bench.view.measure.rank, two = view.measure.rank;
    const shared = one.flatMap((rank, i) => (bench.view.model.group[i] === "response" && rank && partner[i] >= 0 && two[partner[i]] ? [[rank, two[partner[i]]]] : []));
    const n = shared.length;
    if (n < 3) return "";
    const squares = shared.reduce((sum, [a, b]) => sum + (a - b) ** 2, 0), rho = 1 - (6 * squares) / (n * (n * n - 1));
    const top = Math.ceil(0.2 * n), both = shared.filter(([a, b]) => a <= top && b <= top).length;
    return `Rank correlation ${rho.toFixed(2).replace("-", "−")}; of the top 20% they share ${percent(both / top)}.`;
  };
  const link = (i, partners, target) => {
    if (linking || !target || !partners) return;
    linking = true;
    const there = i < 0 ? -1 : partners[i] ?? -1;
    if (there !== target.selected) target.select(there, false);
    linking = false;
  };

  const start = () => {
    byId("compare-open").addEventListener("click", () => (isOpen() ? close() : open({})));
    byId("compare-close").addEventListener("click", () => {
      close();
      byId("compare-open").focus();
    });
    byId("compare-text").addEventListener("change", () => {
      const { options } = other();
      if (other() !== bench.entry) byId("compare-layers").value = options.layers;
      trace();
    });
    for (const id of ["compare-layers", "compare-edges", "compare-scorer"]) byId(id).addEventListener("change", trace);
    bench.on("info", (info) => byId("compare-scorer").replaceChildren(...info.scorers.map(({ name }) => new Option(name, name))));
    bench.on("entries", () => {
      if (isOpen() && view && !bench.entries.includes(view.entry)) close();
      else if (isOpen()) offer();
    });
    bench.on("view", () => { if (isOpen()) marks(); });
    bench.on("options", () => {
      if (!isOpen() || !view) return;
      view.setEnd(bench.view.end);
      marks();
    });
    bench.on("selected", (i) => link(i, partner, view));
  };
  return { start, open, close, isOpen, trace, state: () => (isOpen() ? { text: other()?.id, ...settings() } : null) };
})();
