"use strict";
// Experiments with a text: what was hidden, what the model wrote then, and what random tokens do instead.
//
// A trial: {tokens, how, from, answer, result, controls: [{seed, result}]}; answer: the rule or spans, as JSON. A result's
// pieces are fetched when it is shown.
flowtracer.trials = (() => {
  const { bench, jobs } = flowtracer;
  const { byId } = bench;
  const { make, button } = flowtracer.dom;
  const CONTROLS = 5; // at a press, our choice

  const from = () => {
    const chosen = byId("from").value;
    if (chosen !== "selected") return chosen;
    if (bench.view.selected < 0) throw new Error("Select the token from which the model is to write again.");
    return bench.view.data.first[bench.view.selected];
  };
  const answerOf = (trial) => trial.answer ?? '"auto"'; // the server's default, in files that do not say
  const same = (one, other) => one.from === other.from && answerOf(one) === answerOf(other) && one.tokens.length === other.tokens.length && one.tokens.every((token, n) => token === other.tokens[n]);
  const current = (entry) => {
    const tokens = [...entry.hidden].sort((a, b) => a - b);
    const wanted = { tokens, how: entry.how || "by hand", from: from(), answer: JSON.stringify(bench.answerOf(entry.options)), result: null, controls: [] };
    return entry.trials.find((trial) => same(trial, wanted)) ?? wanted;
  };

  const ask = async (entry, trial, control, label) => {
    const request = { kind: "hide", text: entry.id, tokens: trial.tokens, from: trial.from, control, answer: JSON.parse(answerOf(trial)) };
    const shown = flowtracer.outcome.writing(entry, trial, control);
    const result = await jobs.run(label, request, shown);
    flowtracer.outcome.remember(result);
    const names = ["id", "response_ids", "tokens", "ignored", "kept", "changed", "cut_off", "answer_old", "answer_new", "answer_changed", "note", "log_probability_old", "log_probability_hidden", "reproduced"];
    return Object.fromEntries(names.map((name) => [name, result[name]]));
  };
  const wanting = () => {
    const { entry } = bench;
    if (!entry?.record) throw new Error("Let the model answer first, or paste a response.");
    return entry;
  };
  const regenerate = () => bench.attempt("hide-error", async () => {
    const entry = wanting(), trial = current(entry);
    if (!trial.tokens.length) throw new Error("Nothing is hidden; click tokens in the mode “hide”, or take the top of a ranking.");
    jobs.cancel("hide");
    try {
      trial.result = await ask(entry, trial, null, "Regenerating");
    } finally {
      flowtracer.outcome.ended();
    }
    keep(entry, trial);
    flowtracer.outcome.show(entry, trial, trial.result, true);
  });
  const keep = (entry, trial) => {
    if (!entry.trials.includes(trial)) entry.trials.push(trial);
    flowtracer.shelf.store();
    if (entry === bench.entry) draw();
  };
  // As many random tokens, with seeds that were not used yet; the trial itself comes first if need be.
  const control = () => bench.attempt("hide-error", async () => {
    const entry = wanting(), trial = current(entry);
    if (!trial.tokens.length) throw new Error("Nothing is hidden; hide some tokens first, random ones are as many.");
    jobs.cancel("hide");
    try {
      if (!trial.result) {
        trial.result = await ask(entry, trial, null, "Regenerating");
        keep(entry, trial);
      }
      const first = Math.max(-1, ...trial.controls.map(({ seed }) => seed)) + 1;
      for (let seed = first; seed < first + CONTROLS; seed++) {
        const result = await ask(entry, trial, { seed }, `Random control ${seed + 1 - first} of ${CONTROLS}`);
        trial.controls.push({ seed, result });
        keep(entry, trial);
      }
    } finally {
      flowtracer.outcome.ended();
    }
    flowtracer.outcome.show(entry, trial, trial.result, true);
  });

  const FROM = { hidden: "after the hidden", answer: "answer", start: "start" };
  const changedText = (result) => (result.answer_changed === null ? "none readable" : result.answer_changed ? "changed" : "the same");
  const drop = (result) => (Number.isFinite(result.log_probability_old) && Number.isFinite(result.log_probability_hidden) ? result.log_probability_old - result.log_probability_hidden : null);
  const dropText = (value) => (value === null ? "–" : (Math.abs(value) < 0.005 ? 0 : value).toFixed(2).replace("-", "−"));
  const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
  const countText = (changed, unreadable, of) => `${changed} of ${of} changed${unreadable ? `, ${unreadable} none readable` : ""}`;
  const tally = ({ controls }) => {
    if (!controls.length) return null;
    const count = (value) => controls.filter(({ result }) => result.answer_changed === value).length;
    return { changed: countText(count(true), count(null), controls.length), drop: mean(controls.map(({ result }) => drop(result)).filter((value) => value !== null)) };
  };
  // "top 20% by flow: changed, random: 1 of 5 changed, 2 none readable"
  const sentence = (trial) => {
    const random = tally(trial);
    return `${trial.how}: ${changedText(trial.result)}${random ? `, random: ${random.changed}` : ""}`;
  };

  const row = (entry, trial, { name, result, className, act }) => {
    const line = make("tr", className), first = make("th");
    first.scope = "row";
    first.append(button(name, `Show what became of it: ${name}`, act));
    const random = className ? null : tally(trial);
    const cells = [
      [`${result.tokens.length}`, "number"], [FROM[trial.from] ?? `position ${trial.from}`],
      [flowtracer.oneLine(result.answer_new ?? "", 40), "wb-token"], [changedText(result), result.answer_changed ? "wb-changed" : ""], [dropText(drop(result)), "number"],
      [random ? `${random.changed}${random.drop === null ? "" : `, drop ${dropText(random.drop)}`}` : "", ""],
    ];
    line.append(first, ...cells.map(([text, name_]) => make("td", name_ ?? "", text)));
    return line;
  };
  const draw = () => {
    const { entry } = bench, box = byId("trials");
    const trials = entry?.trials.filter((trial) => trial.result) ?? [];
    box.hidden = !trials.length;
    if (!trials.length) return;
    const table = make("table"), head = table.createTHead().insertRow();
    for (const name of ["hidden", "tokens", "written again from", "answer now", "answer", "drop in log-probability", "random tokens instead"]) {
      const cell = make("th", "", name);
      cell.scope = "col";
      head.append(cell);
    }
    const body = table.createTBody();
    for (const trial of [...trials].reverse()) {
      const again = (result) => () => {
        flowtracer.hiding.set(result === trial.result ? trial.tokens : result.tokens, result === trial.result ? trial.how : "random tokens");
        flowtracer.outcome.show(entry, trial, result, true);
      };
      body.append(row(entry, trial, { name: trial.how, result: trial.result, className: "", act: again(trial.result) }));
      for (const { seed, result } of trial.controls) body.append(row(entry, trial, { name: `random, seed ${seed}`, result, className: "wb-control", act: again(result) }));
    }
    const shown = trials.some(({ controls }) => controls.length);
    const fold = button(box.classList.contains("folded") ? "Show each random control" : "Fold the random controls", "", () => { box.classList.toggle("folded"); draw(); });
    fold.hidden = !shown;
    const scroll = make("div", "wb-scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Table of experiments");
    scroll.append(table);
    const title = make("h2", "", "Experiments with this text");
    box.replaceChildren(title, scroll, fold);
  };
  const start = () => {
    byId("trials").classList.add("folded");
    byId("regenerate").addEventListener("click", regenerate);
    byId("control").addEventListener("click", control);
    byId("from").append(new Option("the selected token", "selected"));
    const enable = () => {
      const busy = flowtracer.jobs.running.some(({ kind }) => kind === "hide");
      for (const id of ["regenerate", "control"]) byId(id).disabled = busy || bench.isForeign(bench.entry);
    };
    for (const event of ["jobs", "entry"]) bench.on(event, enable);
    bench.on("entry", draw);
  };
  return { start, regenerate, control, draw, sentence, changedText, drop, dropText };
})();
