"use strict";
// What the data of a trace says, looked up by piece: edges, ranks, scales and selections.
flowtracer.model = (data) => {
  const count = data.units.length;
  const roleNames = { t: "template", u: "user", r: "response", a: "answer" };
  const groupNames = { t: "prompt", u: "prompt", r: "response", a: "answer" };
  const group = Array.from(data.roles, (role) => groupNames[role]);
  const members = (...names) => group.flatMap((name, i) => (names.includes(name) ? [i] : []));

  const shown = (i) => data.shown[i] ?? data.units[i];
  const label = (i) => {
    const text = shown(i).replaceAll("\n", "").replaceAll("\t", "");
    return text === "" ? "∅" : text.trim() === "" ? "␣".repeat(text.length) : text;
  };
  const position = (i) => (data.first[i] === data.last[i] ? `${data.first[i]}` : `${data.first[i]} to ${data.last[i]}`);

  const inPicture = new Set((data.pictures ?? []).flatMap(({ first, last }) => Array.from({ length: last - first + 1 }, (_, n) => first + n)));
  const total = group.reduce((sum, name, i) => sum + (name === "answer" ? 0 : data.scorers.flow.score[i]), 0) || 1;
  const ratio = (i) => data.scorers.flow.score[i] / total; // of the flow, the answer left out

  const edges = []; // strongest first
  const incoming = Array.from({ length: count }, () => []);
  const outgoing = Array.from({ length: count }, () => []);
  for (let at = 0; at < data.edges.length; at += 3) {
    const edge = { source: data.edges[at], target: data.edges[at + 1], flow: data.edges[at + 2] };
    edges.push(edge);
    incoming[edge.target].push(edge);
    outgoing[edge.source].push(edge);
  }

  const scorers = { ...data.scorers };
  (data.layers?.numbers ?? []).forEach((layer, row) => {
    scorers[`layer ${layer}`] = { score: data.layers.throughput[row], note: `Throughput of the flow through layer ${layer} alone.` };
  });

  const byScore = (score) => (a, b) => score[b] - score[a] || a - b;
  const scale = (score, part, pieces) => {
    const positive = pieces.map((i) => score[i]).filter((value) => value > 0).sort((a, b) => a - b);
    const high = positive.length ? positive[Math.min(positive.length - 1, Math.floor(0.98 * positive.length))] : 1;
    // Each token of the prompt carries its part of the source, by construction: its scale begins there.
    const low = part === "prompt" && positive.length > 1 && positive[0] < high ? positive[0] : 0;
    return { low, high };
  };
  const measure = (name) => {
    const score = scorers[name].score;
    const rank = new Array(count).fill(0); // among the prompt's, or the response's without the answer
    const scales = {}, size = {};
    for (const part of ["prompt", "response"]) {
      const pieces = members(part);
      scales[part] = scale(score, part, pieces);
      size[part] = pieces.length;
      pieces.sort(byScore(score)).forEach((i, place) => { rank[i] = place + 1; });
    }
    const strength = (i) => {
      if (group[i] === "answer" || !(score[i] > 0)) return 0;
      const { low, high } = scales[group[i]];
      return Math.min(1, Math.sqrt(Math.max(0, score[i] - low) / (high - low)));
    };
    const rankText = (i) => (rank[i] ? `${rank[i]} of ${size[group[i]]} in the ${group[i]}` : "not ranked: the answer");
    const chosen = (end) => {
      if (name === "flow" && end === "top") return new Set(data.backbone);
      const order = members("response", "answer").sort(byScore(score));
      const needed = Math.ceil(data.ratio * order.length - 1e-9);
      return new Set(end === "top" ? order.slice(0, needed).filter((i) => score[i] > 0) : order.slice(order.length - needed));
    };
    return { name, score, note: scorers[name].note, scales, rank, rankText, strength, chosen };
  };
  const measures = new Map();
  const measured = (name) => {
    if (!measures.has(name)) measures.set(name, measure(name));
    return measures.get(name);
  };
  // The strongest edges out of a piece, apart from those into the answer.
  const onward = (i) => outgoing[i].filter((edge) => group[edge.target] !== "answer");
  return { data, inPicture, ratio, count, group, members, roleNames, shown, label, position, edges, incoming, outgoing, onward, scorers, measured };
};
