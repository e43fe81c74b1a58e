"use strict";
// What the scripts of the workbench share: the open text, who is told of changes, and how errors are shown.
//
// An entry is a text of the list:
//   id, name, record    the server's name, the list's name, and what the server knows of it (null until opened)
//   options             how it is traced: rule, spans, layers, edges, question, answer_tokens, scorer, end
//   hidden, undo        token positions that are hidden, and the sets before
//   trials              experiments with it, see trials.js
//   data                page data of its trace, null until traced
window.flowtracer ??= {};
flowtracer.bench = (() => {
  const acts = new Map();
  const bench = {
    info: null, entries: [], entry: null, view: null, mode: "select",
    on(name, act) { acts.set(name, [...(acts.get(name) ?? []), act]); },
    emit(name, ...values) { for (const act of acts.get(name) ?? []) act(...values); },
  };
  bench.byId = (id) => document.getElementById(id);

  // An error in one sentence at its place; null takes it away. A cancelled job is none.
  bench.complain = (place, error) => {
    const box = bench.byId(place);
    const text = !error || error.cancelled ? "" : error.message || String(error);
    box.textContent = text;
    box.hidden = text === "";
  };
  // Do something that can fail, and say so there.
  bench.attempt = async (place, act) => {
    bench.complain(place, null);
    try {
      return await act();
    } catch (error) {
      bench.complain(place, error);
      return null;
    }
  };

  const options = () => ({ rule: "auto", spans: [], layers: "middle", edges: "mean", question: "prompt", answer_tokens: "absorb", scorer: "flow", end: "top" });
  bench.newEntry = (id, name, given = {}) => ({
    id, name, record: null, data: null, trace: null, undo: [],
    ...given, options: { ...options(), ...given.options }, hidden: new Set(given.hidden ?? []), trials: given.trials ?? [],
  });
  bench.answerOf = (chosen) => (chosen.spans.length ? { spans: chosen.spans } : chosen.rule);

  // Pieces and tokens. A view shows pieces, which hold one token or all tokens of one character.
  bench.unitOf = (data) => {
    if (!data.unitOf) {
      const unitOf = new Int32Array((data.last.at(-1) ?? -1) + 1);
      data.first.forEach((first, i) => unitOf.fill(i, first, data.last[i] + 1));
      Object.defineProperty(data, "unitOf", { value: unitOf });
    }
    return data.unitOf;
  };
  bench.unitsOf = (data, tokens) => {
    const unitOf = bench.unitOf(data);
    return [...new Set(Array.from(tokens, (token) => unitOf[token]))].filter((i) => i !== undefined);
  };
  bench.tokensOf = (data, units) => units.flatMap((i) => Array.from({ length: data.last[i] - data.first[i] + 1 }, (_, n) => data.first[i] + n));
  bench.isForeign = (entry) => Boolean(entry?.record && entry.record.model !== bench.info.model);
  bench.start = (entry) => entry.record?.prompt_ids.length ?? 0;

  // Sorted numbers as "1-3,7", and back.
  bench.ranges = (numbers) => {
    const parts = [];
    for (const number of [...numbers].sort((a, b) => a - b)) {
      if (parts.length && parts.at(-1)[1] === number - 1) parts.at(-1)[1] = number;
      else parts.push([number, number]);
    }
    return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(",");
  };
  bench.numbers = (text, most = 10000) => {
    const found = [];
    for (const part of text.split(",")) {
      const match = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(part);
      if (!match) continue;
      for (let n = Number(match[1]); n <= Number(match[2] ?? match[1]) && found.length < most; n++) found.push(n);
    }
    return found;
  };
  return bench;
})();
