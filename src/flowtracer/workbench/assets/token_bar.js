"use strict";
// What can be done with the selected tokens: alternatives to one, hide, mark as the answer.
flowtracer.tokenBar = (() => {
  const { bench, jobs, oneLine } = flowtracer;
  const { byId } = bench;
  const { make, button, percent, counted } = flowtracer.dom;
  const COUNT = 8; // alternatives, our choice
  let chosen = [-1, -1];

  const close = () => {
    byId("token-bar").hidden = true;
    chosen = [-1, -1];
    bench.view?.mark("dragged", []);
  };
  const open = (first, last) => {
    jobs.cancel("alternatives");
    if (first < 0) return close();
    chosen = [first, last];
    const { data, model } = bench.view, box = byId("token-bar"), row = make("div", "wb-row");
    const text = Array.from({ length: last - first + 1 }, (_, n) => data.units[first + n]).join("");
    row.append(make("span", "wb-token", oneLine(text, 40)), make("span", "wb-quiet", first === last ? `token ${model.position(first)}` : counted(last - first + 1, "token")));
    if (first === last && data.first[first] > 0) row.append(button("Alternatives (v)", "What else the model could have written here", alternatives));
    const hidden = bench.tokensOf(data, Array.from({ length: last - first + 1 }, (_, n) => first + n)).every((token) => bench.entry.hidden.has(token));
    row.append(button(hidden ? "Show (x)" : "Hide (x)", "Hide it from all later tokens", hide));
    if (data.first[last] >= bench.start(bench.entry)) row.append(button("Make it the answer (m)", "The flow ends here", () => { flowtracer.answerSpans.add(first, last); close(); }));
    const cross = button("×", "Close", () => { bench.view.select(-1); close(); });
    cross.setAttribute("aria-label", "Close");
    row.append(cross);
    box.replaceChildren(row, make("div", "wb-alternatives"));
    box.hidden = false;
    bench.view.mark("dragged", first === last ? [] : Array.from({ length: last - first + 1 }, (_, n) => first + n));
  };
  const hide = () => {
    if (chosen[0] < 0) return;
    const [first, last] = chosen;
    flowtracer.hiding.add(first, last);
    open(first, last);
  };
  const answer = () => {
    if (chosen[0] < 0) return;
    flowtracer.answerSpans.add(...chosen);
    close();
  };
  const alternatives = async () => {
    const [i] = chosen, { entry, view } = bench, box = byId("token-bar").querySelector(".wb-alternatives");
    if (i < 0 || !box) return;
    box.textContent = "asking the model";
    try {
      const found = await jobs.run("Alternatives", { kind: "alternatives", text: entry.id, position: view.data.first[i], count: COUNT });
      if (chosen[0] !== i) return;
      const start = bench.start(entry), here = view.data.first[i], written = found.actual?.id;
      const listed = found.alternatives.some(({ id }) => id === written) || !found.actual ? found.alternatives : [...found.alternatives, found.actual];
      box.replaceChildren(...listed.map((one) => {
        const ends = one.ends ? "end of the response" : oneLine(one.text, 24);
        const node = button("", one.id === written ? "This is what stands here" : `Go on with “${ends}” here; the new text goes to the list`, () => flowtracer.ask.goOn(entry, here, one.id, one.ends ? "" : one.text));
        node.className = "wb-alternative";
        node.disabled = one.id === written || here < start;
        node.style.setProperty("--p", one.probability);
        node.append(make("span", one.ends ? "wb-quiet" : "wb-token", ends), make("span", "wb-number", percent(one.probability)));
        if (one.id === written) node.append(make("span", "wb-quiet", "written"));
        return node;
      }));
    } catch (error) {
      if (chosen[0] === i) box.textContent = error.cancelled ? "" : error.message;
    }
  };
  const start = () => {
    bench.on("chosen", open);
    bench.on("entry", close);
    bench.on("view", () => { if (bench.view.selected < 0) close(); });
  };
  return { start, alternatives, hide, answer, close };
})();
