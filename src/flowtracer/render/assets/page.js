"use strict";
// The page of one trace: its data is in the file.
(() => {
  const { copy } = flowtracer.dom;
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const view = flowtracer.traceView(byId("view"), data, { keys: true });
  const { roleNames } = view.model;
  const { rank } = view.model.measured("flow");
  byId("made").textContent = `${data.meta.model}, layers ${data.meta.layers}`;

  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  byId("copy-json").addEventListener("click", (event) => copy(event.currentTarget, JSON.stringify(data)));
  byId("copy-csv").addEventListener("click", (event) => {
    const others = Object.keys(data.scorers).filter((name) => name !== "flow");
    const chosen = new Set(data.backbone), hubs = new Set(data.hubs);
    const rows = data.units.map((text, i) => [data.first[i], quoted(data.ids[i].join(" ")), quoted(text), roleNames[data.roles[i]], data.scorers.flow.score[i], data.potential[i], rank[i] || "", chosen.has(i) ? 1 : 0, hubs.has(i) ? 1 : 0, ...others.map((name) => data.scorers[name].score[i])].join(","));
    copy(event.currentTarget, [["position,ids,text,role,throughput,potential,rank,backbone,hub", ...others].join(","), ...rows].join("\r\n"));
  });
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = flowtracer.isDark() ? "light" : "dark";
    view.repaint();
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  document.addEventListener("keydown", (event) => {
    if (event.key === "?" && !byId("help").open && !event.target.matches("input, select")) byId("help").showModal();
  });
  document.documentElement.dataset.ready = "yes";
})();
