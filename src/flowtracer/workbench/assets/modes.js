"use strict";
// What clicks and drags over the text do: look, hide, or mark the answer.
flowtracer.modes = (() => {
  const { bench } = flowtracer;
  const set = (mode) => {
    bench.mode = mode;
    document.querySelector(`#modes [value="${mode}"]`).checked = true;
    bench.view?.setPick(mode === "hide");
    document.body.dataset.mode = mode;
    bench.emit("mode", mode);
  };
  const start = () => {
    for (const input of document.querySelectorAll("#modes input")) input.addEventListener("change", () => set(input.value));
    bench.on("span", (first, last) => {
      if (bench.mode === "hide") flowtracer.hiding.add(first, last);
      else if (bench.mode === "answer") flowtracer.answerSpans.add(first, last);
      else bench.emit("chosen", first, last);
    });
    bench.on("selected", (i) => {
      if (i < 0) return bench.emit("chosen", -1, -1);
      if (bench.mode !== "answer") return bench.emit("chosen", i, i);
      bench.view.select(-1); // a token of the answer is a mark, not a selection
      return flowtracer.answerSpans.add(i, i);
    });
    set("select");
  };
  return { start, set };
})();
