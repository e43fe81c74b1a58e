"use strict";
// Beside the text: the selected piece, the hubs, the routes, and how the trace was made.
flowtracer.goButton = (view, i) => {
  const { label, position } = view.model;
  const node = flowtracer.dom.button(label(i), `go to ${label(i)}, token ${position(i)}`, () => view.select(i, true));
  node.className = "tv-go";
  return node;
};

flowtracer.detail = (view) => {
  const { make, number, percent } = flowtracer.dom;
  const { data, inPicture, ratio, group, roleNames, label, position, incoming, outgoing, onward } = view.model;
  const box = view.find(".tv-detail");
  const table = (edges, other, className) => {
    const node = make("table");
    for (const edge of edges.slice(0, flowtracer.SHOWN_EDGES)) {
      const row = node.insertRow();
      row.insertCell().append(flowtracer.goButton(view, edge[other]));
      row.insertCell().textContent = data.first[edge[other]];
      const bar = make("span", `tv-edge-bar ${className}`);
      bar.style.width = `${Math.max(1, (50 * edge.flow) / edges[0].flow)}px`;
      row.insertCell().append(bar);
      row.insertCell().textContent = percent(edge.flow);
    }
    return edges.length ? node : make("p", "", "nothing kept");
  };
  const facts = (i) => {
    const measure = view.measure, list = make("dl");
    const rows = [["position", position(i)], ["token id", data.ids[i].join(" ")], ["throughput", number(data.scorers.flow.score[i])]];
    if (measure.name !== "flow") rows.push([measure.name, number(measure.score[i])]);
    rows.push(["rank", measure.rankText(i)], ["potential", number(data.potential[i])]);
    const marks = [measure.chosen(view.end).has(i) && `${view.end} 40%`, data.hubs.includes(i) && "hub"].filter(Boolean);
    if (inPicture.has(i)) rows.push(["ratio of flow", percent(ratio(i))]);
    if (marks.length) rows.push(["marks", marks.join(", ")]);
    for (const [name, value] of rows) list.append(make("dt", "", name), make("dd", "", value));
    return list;
  };
  const targets = (i) => {
    const parts = [make("h3", "", "flow goes to")];
    const answered = outgoing[i].filter((edge) => group[edge.target] === "answer").reduce((sum, edge) => sum + edge.flow, 0);
    if (answered) parts.push(make("p", "tv-to-answer", `the answer: ${percent(answered)}`));
    const others = onward(i);
    if (answered) parts.push(make("h3", "", "and apart from the answer, to"));
    parts.push(table(others, "target", "out"));
    return parts;
  };
  return (i) => {
    if (i < 0) {
      box.replaceChildren(make("h2", "", "Token"), make("p", "", "Click a token of the text, or use the arrow keys, to see where its flow comes from and where it goes."));
      return;
    }
    box.replaceChildren(make("h2", "", `${roleNames[data.roles[i]]} token`), make("div", "tv-piece", label(i)), facts(i),
      make("h3", "", "flow comes from"), table(incoming[i], "source", ""), ...targets(i));
  };
};

flowtracer.lists = (view) => {
  const { make, number, percent, counted } = flowtracer.dom;
  const { data, label, onward } = view.model;
  const flow = view.model.measured("flow");
  const byScore = [...data.hubs].sort((a, b) => flow.rank[a] - flow.rank[b]);
  view.find(".tv-hubs-note").textContent = data.hubs.length
    ? "Tokens of the response where the flow gathers, the answer left out: rank, token, position, throughput, and where most of it goes next apart from the answer."
    : "The response has none apart from its answer.";
  for (const i of byScore.slice(0, 200)) {
    const item = make("li"), next = onward(i)[0];
    item.append(make("span", "", `${flow.rank[i]}.`), flowtracer.goButton(view, i), make("span", "", `at ${data.first[i]}`), make("span", "tv-value", number(data.scorers.flow.score[i])));
    item.append(make("span", "tv-next", next ? `→ ${label(next.target)}` : ""));
    view.find(".tv-hubs").append(item);
  }
  const routes = view.find(".tv-routes"), left = 1 - data.direct - data.through_one;
  view.find(".tv-routes-note").textContent = data.direct === null
    ? "Not in this file: trace the text again to have them."
    : `${percent(data.direct)} of the flow goes from the prompt straight to the answer, ${percent(data.through_one)} through one token of the response and ${percent(Math.max(0, left))} through several. Each unit stops at ${data.stops.toFixed(1)} of them on average. No single route carries much:`;
  const addRoutes = (title, list) => {
    if (!list.length) return;
    routes.append(make("li", "tv-routes-title", `${title}: the strongest ${list.length} carry ${percent(list.reduce((sum, route) => sum + route.p, 0))}`));
    for (const route of list) {
      const item = make("li");
      item.append("prompt → ");
      for (const i of route.units) item.append(flowtracer.goButton(view, i), " → ");
      item.append("answer", make("span", "tv-value", percent(route.p)));
      routes.append(item);
    }
  };
  addRoutes("through one token", data.routes.filter((route) => route.units.length === 1));
  addRoutes("through several", data.routes.filter((route) => route.units.length > 1));
  for (const [name, value] of Object.entries(data.meta)) view.find(".tv-meta").append(make("dt", "", name), make("dd", "", value));
};
