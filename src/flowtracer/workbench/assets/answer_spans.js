"use strict";
// The answer, marked by hand: spans of the response, each with a button that takes it away.
flowtracer.answerSpans = (() => {
  const { bench } = flowtracer;
  const { make, button } = flowtracer.dom;

  const textOf = ([first, last]) => {
    const { record } = bench.entry, start = bench.start(bench.entry);
    return record.pieces.filter((piece) => piece.last >= first + start && piece.first <= last + start).map((piece) => piece.text).join("");
  };
  const changed = () => {
    draw();
    bench.emit("options");
    flowtracer.tracing.trace();
  };
  // Pieces first..last of the open view become answer; spans that touch are one.
  const add = (first, last) => {
    const { entry, view } = bench, start = bench.start(entry);
    const from = Math.max(view.data.first[first] - start, 0), to = view.data.last[last] - start;
    if (to < 0) return bench.complain("trace-error", "The answer stands in the response; mark tokens there.");
    bench.complain("trace-error", null);
    const spans = [...entry.options.spans, [from, to]].sort((a, b) => a[0] - b[0]), joined = [];
    for (const span of spans) {
      if (joined.length && span[0] <= joined.at(-1)[1] + 1) joined.at(-1)[1] = Math.max(joined.at(-1)[1], span[1]);
      else joined.push([...span]);
    }
    entry.options.spans = joined;
    return changed();
  };
  const remove = (at) => {
    bench.entry.options.spans.splice(at, 1);
    changed();
  };
  const draw = () => {
    const spans = bench.entry?.options.spans ?? [];
    const rule = bench.byId("rule");
    rule.querySelector("[data-hand]")?.remove();
    if (spans.length) {
      const option = new Option("marked by hand", "");
      option.dataset.hand = "yes";
      rule.prepend(option);
      rule.value = "";
    } else if (bench.entry) rule.value = bench.entry.options.rule;
    bench.byId("spans").replaceChildren(...spans.map((span, at) => {
      const text = flowtracer.oneLine(textOf(span), 24), chip = make("span", "wb-chip");
      const cross = button("×", `Take away “${text}”`, () => remove(at));
      cross.setAttribute("aria-label", cross.title);
      chip.append(make("span", "wb-token", text), cross);
      return chip;
    }));
  };
  const start = () => {
    bench.on("view", draw);
  };
  return { start, add, remove, draw };
})();
