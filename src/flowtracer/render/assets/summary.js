"use strict";
// On top: the answer, how it was found, whether it is right, and the flow by region.
flowtracer.summary = (view) => {
  const { make, percent, counted } = flowtracer.dom;
  const { data, label } = view.model;
  const { answer, regions } = data;
  view.find(".tv-answer-text").textContent = answer.text;
  const verdict = view.find(".tv-verdict");
  const known = answer.correct === true ? "right" : answer.correct === false ? "wrong" : "unknown";
  verdict.classList.add(known);
  verdict.textContent = { right: "✓ right", wrong: "✗ wrong", unknown: "not graded" }[known];
  const found = view.find(".tv-found");
  found.append("found by the rule ", make("b", "", answer.rule), `, ${counted(answer.tokens, "token")}`);
  if (data.cut_off) found.append(make("span", "tv-cut", "The response was cut off at its token limit."));

  const box = view.find(".tv-regions");
  const bar = (name, share, text) => {
    const row = make("div", "tv-bar-row"), bars = make("div", "tv-bars");
    row.append(make("span", "tv-bar-name", name), bars);
    for (const region of regions) {
      const part = make("span", `tv-part ${region.name}`);
      part.style.flexGrow = share(region);
      part.title = text(region);
      bars.append(part);
    }
    return row;
  };
  const all = regions.reduce((sum, region) => sum + region.tokens, 0) || 1;
  const text = (region) => `${region.name}: ${percent(region.flow)} of the flow on ${percent(region.tokens / all)} of the tokens`;
  const bars = make("div", "tv-bar-box");
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", `Flow by region. ${regions.map(text).join("; ")}`);
  bars.append(bar("flow", (region) => region.flow, text), bar("tokens", (region) => region.tokens / all, text));
  const keys = make("p", "tv-region-keys");
  for (const region of regions) {
    const key = make("span", `tv-region-key ${region.name}`);
    key.append(make("b", "", region.name), ` ${percent(region.flow)} of flow, ${percent(region.tokens / all)} of tokens`);
    keys.append(key);
  }
  box.append(make("h2", "", "Flow by region, without the answer"), bars, keys);
};
