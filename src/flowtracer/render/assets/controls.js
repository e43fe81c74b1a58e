"use strict";
// The choice of a scorer and of an end of its ranking, and the legend that goes with them.
flowtracer.controls = (view) => {
  const { make, number } = flowtracer.dom;
  const { data, scorers } = view.model;
  const scorer = view.find(".tv-scorer"), end = view.find(".tv-end");
  const groups = [["", Object.keys(data.scorers)], ["flow through one layer", Object.keys(scorers).filter((name) => !data.scorers[name])]];
  for (const [title, names] of groups) {
    const parent = title && names.length ? make("optgroup") : scorer;
    if (parent !== scorer) {
      parent.label = title;
      scorer.append(parent);
    }
    for (const name of names) parent.append(new Option(name, name));
  }
  scorer.addEventListener("change", () => view.setScorer(scorer.value));
  end.addEventListener("change", () => view.setEnd(end.value));
  return () => {
    scorer.value = view.scorer;
    scorer.title = view.measure.note;
    end.value = view.end;
    view.find(".tv-scale").style.background = view.colours.gradient(flowtracer.isDark());
    const { prompt, response } = view.measure.scales;
    view.find(".tv-scale-low").textContent = number(response.low);
    view.find(".tv-scale-high").textContent = `${number(response.high)} or more (the prompt on its own scale)`;
    view.find(".tv-scale-box").title = `In the prompt from ${number(prompt.low)} to ${number(prompt.high)}: each of its tokens starts with an equal part of the unit`;
    view.find(".tv-key.chosen").textContent = `${view.end} 40% of the response`;
  };
};
