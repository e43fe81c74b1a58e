"use strict";
// Edges as curves: arcs over the positions of the text, and links over the text itself.
flowtracer.SHOWN_EDGES = 8; // of the selected piece, into it and out of it

flowtracer.arcs = (view) => {
  const { svg } = flowtracer.dom;
  const { edges, incoming, outgoing, count } = view.model;
  const MOST_ARCS = 600;
  const box = view.find(".tv-arcs"), slider = view.find(".tv-ratio"), output = view.find(".tv-ratio-out");
  const all = svg("g", {}), own = svg("g", {}); // those of the selection change with every click
  box.append(all, own);
  const kept = edges.reduce((sum, edge) => sum + edge.flow, 0);
  const path = (edge) => {
    const width = box.clientWidth, height = box.clientHeight;
    const a = ((edge.source + 0.5) * width) / count, b = ((edge.target + 0.5) * width) / count;
    const top = (height - 1.33 * Math.min(height - 3, 6 + (height * (b - a)) / width * 1.6)).toFixed(1);
    return `M${a.toFixed(1)} ${height}C${a.toFixed(1)} ${top} ${b.toFixed(1)} ${top} ${b.toFixed(1)} ${height}`;
  };
  // The fewest kept edges that together carry the chosen ratio of their flow.
  const drawAll = () => {
    box.setAttribute("viewBox", `0 0 ${box.clientWidth} ${box.clientHeight}`);
    const ratio = slider.value / 100, drawn = [];
    let sum = 0;
    for (const edge of edges) {
      if (sum >= ratio * kept || drawn.length >= MOST_ARCS) break;
      sum += edge.flow;
      const heavy = Math.sqrt(edge.flow / edges[0].flow);
      drawn.push(svg("path", { class: "arc", d: path(edge), "stroke-width": (0.4 + 2.6 * heavy).toFixed(2), opacity: (0.15 + 0.6 * heavy).toFixed(2) }));
    }
    all.replaceChildren(...drawn);
    output.textContent = `the ${drawn.length} strongest edges`;
    drawOwn();
  };
  const drawOwn = () => {
    const drawn = [];
    for (const [list, name] of view.selected < 0 ? [] : [[incoming, "in"], [outgoing, "out"]]) {
      for (const edge of list[view.selected].slice(0, flowtracer.SHOWN_EDGES)) drawn.push(svg("path", { class: name, d: path(edge), "stroke-width": 2 }));
    }
    own.replaceChildren(...drawn);
  };
  slider.addEventListener("input", drawAll);
  return { drawAll, drawOwn };
};

flowtracer.links = (view) => {
  const { svg } = flowtracer.dom;
  const { incoming, outgoing } = view.model;
  const box = view.find(".tv-links");
  return () => {
    if (view.selected < 0) return box.replaceChildren();
    const frame = box.getBoundingClientRect();
    const middle = (i) => {
      const place = view.text.place(i);
      return [place.left + place.width / 2 - frame.left, place.top + 3 - frame.top];
    };
    const drawn = [];
    for (const [list, name] of [[incoming, "in"], [outgoing, "out"]]) {
      const strongest = list[view.selected].slice(0, flowtracer.SHOWN_EDGES);
      for (const edge of strongest) {
        const [ax, ay] = middle(edge.source), [bx, by] = middle(edge.target);
        const lift = Math.min(70, 14 + Math.abs(ax - bx) / 6);
        const width = (1 + 2.5 * Math.sqrt(edge.flow / strongest[0].flow)).toFixed(2);
        drawn.push(svg("path", { class: name, d: `M${ax} ${ay}C${ax} ${ay - lift} ${bx} ${by - lift} ${bx} ${by}`, "stroke-width": width, opacity: 0.85 }));
      }
    }
    box.replaceChildren(...drawn); // all measured before anything changes: one layout
  };
};
