"use strict";
// The open text in its view: traced as the options say, drawn, and traced again when they change.
flowtracer.tracing = (() => {
  const { bench, jobs } = flowtracer;
  const { byId } = bench;
  const PALETTE = ["#00224e", "#575d6d", "#a59c74", "#fee838"]; // until a trace brings its own

  // A text that has no trace yet: no scores, no edges, but pieces to read and to drag over.
  const untraced = (record, why) => ({
    units: record.pieces.map((piece) => piece.text),
    shown: Object.fromEntries(record.pieces.map((piece, i) => [i, flowtracer.visible(piece.text)])),
    first: record.pieces.map((piece) => piece.first), last: record.pieces.map((piece) => piece.last),
    ids: record.pieces.map((piece) => [...record.prompt_ids, ...record.response_ids].slice(piece.first, piece.last + 1)),
    roles: record.pieces.map((piece) => record.roles[piece.last]).join(""),
    scorers: { flow: { score: record.pieces.map(() => 0), note: "" } },
    layers: null, potential: record.pieces.map(() => 0), edges: [], backbone: [], ratio: 0.4, hubs: [], routes: [], direct: null, hops: 0,
    answer: { text: "", rule: why, correct: record.correct, tokens: 0 }, regions: [], cut_off: record.cut_off, palette: PALETTE, meta: { model: record.model },
  });

  const request = (entry, scorer, given = {}) => {
    const { layers, edges, question, answer_tokens, end } = entry.options;
    return { kind: "trace", text: entry.id, answer: bench.answerOf(entry.options), scorer, layers, edges, question, answer_tokens, end, ...given };
  };
  let latest = 0;
  const trace = async () => {
    const entry = bench.entry, ticket = ++latest;
    if (!entry) return null;
    jobs.cancel("trace");
    return bench.attempt("trace-error", async () => {
      byId("bench").setAttribute("aria-busy", "true");
      try {
        const data = await jobs.run("Tracing", request(entry, entry.options.scorer.startsWith("layer ") ? "flow" : entry.options.scorer));
        if (entry !== bench.entry || ticket !== latest) return;
        entry.data = data;
        entry.trace = data.trace;
        show(entry, data);
        flowtracer.shelf.store();
      } catch (error) {
        if (ticket === latest && entry === bench.entry) bench.view.root.classList.add("stale"); // not what the options say
        throw error;
      } finally {
        if (ticket === latest) byId("bench").setAttribute("aria-busy", "false");
      }
    });
  };

  const show = (entry, data) => {
    const before = bench.view, selected = before?.data.unitCount === data.units.length && before.entry === entry ? before.selected : -1;
    before?.destroy();
    data.unitCount = data.units.length;
    const view = flowtracer.traceView(byId("view"), data, {
      keys: true,
      pick: bench.mode === "hide",
      onSelect: (i) => bench.emit("selected", i),
      onSpan: (first, last) => bench.emit("span", first, last),
      onMark: (pieces) => bench.emit("marked", pieces),
    });
    view.entry = entry;
    bench.view = view;
    view.mark("hidden", bench.unitsOf(data, entry.hidden));
    if (data === entry.data) {
      offerScorers(view, entry);
      view.setEnd(entry.options.end);
      if (entry.options.scorer !== "flow") view.setScorer(entry.options.scorer);
    }
    view.root.classList.toggle("untraced", data !== entry.data);
    view.find(".tv-end").addEventListener("change", () => {
      entry.options.end = view.end;
      bench.emit("options");
    });
    if (selected >= 0) view.select(selected, false);
    if (document.activeElement?.closest("#ask, #looking, #writing") || document.activeElement === document.body) view.text.box.focus({ preventScroll: true });
    bench.emit("view", view);
  };

  // The view's own list of scorers, with those that are to be computed first.
  const offerScorers = (view, entry) => {
    const list = view.find(".tv-scorer"), missing = bench.info.scorers.filter(({ name }) => !view.model.scorers[name] && !bench.isForeign(entry));
    const group = document.createElement("optgroup");
    group.label = "to be computed";
    for (const { name, help } of missing) {
      const option = new Option(name, name);
      option.title = help;
      group.append(option);
    }
    if (missing.length) list.append(group);
    list.addEventListener("change", (event) => {
      entry.options.scorer = list.value;
      if (!view.model.scorers[list.value]) {
        event.stopImmediatePropagation();
        scored(list.value);
      }
      bench.emit("options");
    }, { capture: true });
  };
  // Compute a scorer of the open trace if need be; resolves when the view has it.
  const ensure = async (name, view = bench.view) => {
    if (view.model.scorers[name]) return;
    const data = await jobs.run(`Scoring by ${name}`, request(view.entry, name));
    view.data.scorers[name] = data.scorers[name];
    view.model.scorers[name] = data.scorers[name];
    const option = [...view.find(".tv-scorer").options].find((one) => one.value === name);
    if (option) view.find(".tv-scorer").insertBefore(option, view.find(".tv-scorer optgroup"));
  };
  const scored = (name) => bench.attempt("trace-error", async () => {
    const view = bench.view;
    try {
      await ensure(name, view);
      view.entry.options.scorer = name;
      view.setScorer(name);
    } catch (error) {
      view.entry.options.scorer = view.scorer;
      view.find(".tv-scorer").value = view.scorer;
      throw error;
    }
    bench.emit("options");
  });

  const opened = (entry) => {
    byId("bench").hidden = !entry;
    if (!entry) return bench.view?.destroy();
    bench.complain("trace-error", null);
    showOptions(entry);
    const foreign = bench.isForeign(entry);
    byId("foreign").hidden = !foreign;
    byId("foreign").textContent = foreign ? `This text was written by ${entry.record.model}, which is not loaded: you can view its trace. To hide and regenerate, start the server with --model ${entry.record.model}.` : "";
    for (const node of document.querySelectorAll("#options select, #options input, .wb-pick :is(select, input, button), #modes input:not([value=select])")) node.disabled = foreign;
    if (entry.data) return show(entry, entry.data);
    show(entry, untraced(entry.record, "not traced yet"));
    return foreign ? null : trace();
  };
  const FIELDS = { rule: "rule", layers: "layers", edges: "edges", question: "question", "answer-tokens": "answer_tokens" };
  const showOptions = (entry) => {
    for (const [id, name] of Object.entries(FIELDS)) byId(id).value = entry.options[name];
  };
  const start = () => {
    for (const [id, name] of Object.entries(FIELDS)) {
      byId(id).addEventListener("change", () => {
        if (!bench.entry) return;
        bench.entry.options[name] = byId(id).value.trim() || "middle";
        if (name === "rule") bench.entry.options.spans = [];
        bench.emit("options");
        trace();
      });
    }
    bench.on("info", (info) => {
      for (const id of ["edges", "compare-edges"]) byId(id).replaceChildren(...info.edges.map((name) => new Option(name, name)));
      byId("rule").replaceChildren(...info.answer_rules.map((name) => new Option(name === "auto" ? "by rule: auto" : `by rule: ${name}`, name)));
      byId("layer-names").replaceChildren(...["middle", "all", "early", "late", ...Array(info.layer_count).keys()].map((name) => new Option("", name)));
    });
    bench.on("entry", opened);
  };
  return { start, trace, request, ensure, scored, untraced, showOptions };
})();
