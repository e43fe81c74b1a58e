"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = data.units.length;
  const byId = (id) => document.getElementById(id);
  const svg = (name, attributes) => {
    // The namespace is read off an existing element: the page holds no address.
    const node = document.createElementNS(byId("arcs").namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const make = (name, className, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const shown = (i) => data.shown[i] ?? data.units[i];
  const label = (i) => {
    const text = shown(i).replaceAll("\n", "").replaceAll("\t", "");
    return text === "" ? "∅" : text.trim() === "" ? "␣".repeat(text.length) : text;
  };
  const roleNames = { t: "template", u: "user", r: "response", a: "answer" };
  const number = (value) => (value === 0 ? "0" : value >= 0.001 ? value.toFixed(4) : value.toExponential(2));
  const percent = (value) => (100 * value).toPrecision(2) * 1 + "%";

  // Edges, strongest first, and for each piece the ones that come in and go out.
  const edges = [];
  const incoming = Array.from({ length: count }, () => []);
  const outgoing = Array.from({ length: count }, () => []);
  for (let at = 0; at < data.edges.length; at += 3) {
    const edge = { source: data.edges[at], target: data.edges[at + 1], flow: data.edges[at + 2] };
    edges.push(edge);
    incoming[edge.target].push(edge);
    outgoing[edge.source].push(edge);
  }
  const rank = new Array(count);
  data.score.map((score, i) => [score, i]).sort((a, b) => b[0] - a[0] || a[1] - b[1])
    .forEach(([, i], place) => { rank[i] = place + 1; });
  const isBackbone = new Set(data.backbone);
  const isHub = new Set(data.hubs);

  // Colour: weak fades into the paper, strong stands far from it, in both themes.
  const channels = data.palette.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const strength = (score) => Math.min(1, Math.sqrt(Math.max(0, score) / data.full));
  const luminance = (rgb) => {
    const linear = rgb.map((c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const shade = (level, dark) => {
    const position = (dark ? level : 1 - level) * (channels.length - 1);
    const low = Math.min(Math.floor(position), channels.length - 2);
    const cover = Math.min(1, 0.12 + 1.1 * level);
    const mixed = channels[low].map((a, c) => {
      const colour = a + (channels[low + 1][c] - a) * (position - low);
      return Math.round(colour * cover + (dark ? 24 : 255) * (1 - cover));
    });
    return { fill: `rgb(${mixed})`, ink: luminance(mixed) > 0.179 ? "#000" : "#fff" };
  };

  // Text. Lines are blocks of their own so that the browser lays out only what is in view.
  const textBox = byId("text");
  const spans = new Array(count);
  const build = () => {
    let line = make("div", "line");
    let region = "";
    for (let i = 0; i < count; i++) {
      const role = data.roles[i];
      const name = role === "a" ? "r" : role;
      if (name !== region) {
        if (line.childNodes.length) textBox.append(line);
        textBox.append(make("span", "region", { t: "prompt: template", u: "prompt: user", r: "response" }[name]));
        line = make("div", "line");
        region = name;
      }
      const span = make("span", `u role-${role}`);
      if (isBackbone.has(i)) span.classList.add("backbone");
      if (isHub.has(i)) span.classList.add("hub");
      span.dataset.i = i;
      const text = shown(i) === "" ? "∅" : shown(i);
      const parts = text.split("\n");
      span.textContent = parts.join("");
      spans[i] = span;
      line.append(span);
      for (let n = 1; n < parts.length; n++) {
        textBox.append(line);
        line = make("div", "line");
      }
    }
    if (line.childNodes.length) textBox.append(line);
  };
  const paint = () => {
    const dark = isDark();
    for (let i = 0; i < count; i++) {
      const level = strength(data.score[i]);
      if (level === 0) {
        spans[i].style.background = spans[i].style.color = "";
        continue;
      }
      const { fill, ink } = shade(level, dark);
      spans[i].style.background = fill;
      spans[i].style.color = ink;
    }
    const stops = Array.from({ length: 11 }, (_, n) => shade(n / 10, dark).fill);
    byId("scale").style.background = `linear-gradient(90deg, ${stops})`;
    byId("scale-high").textContent = `${number(data.full)} or more`;
    drawStrip();
  };

  // Strip: one bar a column, the strongest piece of the column, regions and view below it.
  const strip = byId("strip");
  const drawStrip = () => {
    const width = strip.clientWidth, height = strip.clientHeight, ratio = devicePixelRatio || 1;
    strip.width = Math.round(width * ratio);
    strip.height = Math.round(height * ratio);
    const pen = strip.getContext("2d");
    pen.scale(ratio, ratio);
    const dark = isDark(), style = getComputedStyle(document.documentElement);
    const columns = Math.min(count, Math.floor(width)), step = width / columns, base = height - 6;
    for (let c = 0; c < columns; c++) {
      const from = Math.floor((c * count) / columns), to = Math.max(from + 1, Math.floor(((c + 1) * count) / columns));
      let best = from;
      for (let i = from; i < to; i++) if (data.score[i] > data.score[best]) best = i;
      const level = strength(data.score[best]);
      pen.fillStyle = shade(level, dark).fill;
      pen.fillRect(c * step, base - level * (base - 1), Math.max(step - (step > 4 ? 1 : 0), 0.6), level * (base - 1));
      const role = data.roles.slice(from, to).includes("a") ? "a" : data.roles[from];
      pen.fillStyle = style.getPropertyValue({ t: "--rule", u: "--in", r: "--quiet", a: "--accent" }[role]);
      const tall = { t: 1, u: 2, r: 3, a: 6 }[role]; // height tells the role too
      pen.fillRect(c * step, height - tall, step + 0.5, tall);
    }
    if (selected >= 0) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(((selected + 0.5) * width) / count - 0.75, 0, 1.5, height);
    }
  };
  strip.addEventListener("click", (event) => {
    select(Math.min(count - 1, Math.floor((event.offsetX / strip.clientWidth) * count)), true);
  });

  // Arcs: the fewest kept edges that together carry the chosen share of one unit's edge flow.
  const MOST_ARCS = 600;
  const kept = edges.reduce((sum, edge) => sum + edge.flow, 0);
  const arcPath = (edge, width, height) => {
    const a = ((edge.source + 0.5) * width) / count, b = ((edge.target + 0.5) * width) / count;
    const rise = Math.min(height - 3, 6 + (height * (b - a)) / width * 1.6);
    return `M${a.toFixed(1)} ${height}C${a.toFixed(1)} ${(height - rise * 1.33).toFixed(1)} ${b.toFixed(1)} ${(height - rise * 1.33).toFixed(1)} ${b.toFixed(1)} ${height}`;
  };
  const drawArcs = () => {
    const box = byId("arcs"), width = box.clientWidth, height = box.clientHeight;
    box.setAttribute("viewBox", `0 0 ${width} ${height}`);
    box.replaceChildren();
    const share = byId("share").value / 100;
    let sum = 0, drawn = 0;
    for (const edge of edges) {
      if (sum >= share * kept || drawn >= MOST_ARCS) break;
      sum += edge.flow;
      drawn += 1;
      const heavy = Math.sqrt(edge.flow / edges[0].flow);
      box.append(svg("path", { class: "arc", d: arcPath(edge, width, height), "stroke-width": (0.4 + 2.6 * heavy).toFixed(2), opacity: (0.15 + 0.6 * heavy).toFixed(2) }));
    }
    byId("share-out").textContent = `${drawn} edges, ${Math.round((100 * sum) / (kept || 1))}% of shown flow`;
    if (selected < 0) return;
    for (const [list, name] of [[incoming, "in"], [outgoing, "out"]]) {
      for (const edge of list[selected].slice(0, 8)) {
        box.append(svg("path", { class: name, d: arcPath(edge, width, height), "stroke-width": 2 }));
      }
    }
  };
  byId("share").addEventListener("input", drawArcs);

  // Selection: detail panel, outlines, and curves over the text.
  let selected = -1;
  const goButton = (i) => {
    const button = make("button", "", label(i));
    button.title = `go to ${label(i)}, token ${data.first[i]}`;
    button.addEventListener("click", () => select(i, true));
    return button;
  };
  const edgeTable = (list, other, className) => {
    const table = make("table");
    for (const edge of list.slice(0, 8)) {
      const row = table.insertRow();
      row.insertCell().append(goButton(edge[other]));
      row.insertCell().textContent = data.first[edge[other]];
      const bar = make("span", `bar ${className}`);
      bar.style.width = `${Math.max(1, (50 * edge.flow) / list[0].flow)}px`;
      row.insertCell().append(bar);
      row.insertCell().textContent = percent(edge.flow);
    }
    return list.length ? table : make("p", "", "none");
  };
  const describe = (i) => {
    const box = byId("detail");
    box.replaceChildren(make("h2", "", i < 0 ? "Piece" : `${roleNames[data.roles[i]]} piece`));
    if (i < 0) {
      box.append(make("p", "", "Click a piece of the text, or use the arrow keys, to see where its flow comes from and where it goes. Press ? for all keys."));
      return;
    }
    box.append(make("div", "piece", label(i)));
    const list = make("dl");
    const tokens = data.first[i] === data.last[i] ? `${data.first[i]}` : `${data.first[i]} to ${data.last[i]}`;
    const facts = [["position", tokens], ["token id", data.ids[i].join(" ")], ["throughput", number(data.score[i])],
      ["rank", `${rank[i]} of ${count}`], ["potential", number(data.potential[i])],
      ["marks", [isBackbone.has(i) && "backbone", isHub.has(i) && "hub"].filter(Boolean).join(", ") || "none"]];
    for (const [name, value] of facts) list.append(make("dt", "", name), make("dd", "", value));
    box.append(list, make("h3", "", "flow comes from"), edgeTable(incoming[i], "source", ""), make("h3", "", "flow goes to"), edgeTable(outgoing[i], "target", "out"));
  };
  const drawLinks = () => {
    const box = byId("links");
    box.replaceChildren();
    if (selected < 0) return;
    const frame = box.getBoundingClientRect();
    const middle = (i) => {
      const place = spans[i].getBoundingClientRect();
      return [place.left + place.width / 2 - frame.left, place.top + 3 - frame.top];
    };
    const draw = (edge, name, strongest) => {
      const [ax, ay] = middle(edge.source), [bx, by] = middle(edge.target);
      const lift = Math.min(70, 14 + Math.abs(ax - bx) / 6);
      const curve = `M${ax} ${ay}C${ax} ${ay - lift} ${bx} ${by - lift} ${bx} ${by}`;
      box.append(svg("path", { class: name, d: curve, "stroke-width": (1 + 2.5 * Math.sqrt(edge.flow / strongest)).toFixed(2), opacity: 0.85 }));
    };
    for (const [list, name] of [[incoming, "in"], [outgoing, "out"]]) {
      const strongest = list[selected].slice(0, 8);
      for (const edge of strongest) draw(edge, name, strongest[0].flow);
    }
  };
  const select = (i, scroll) => {
    for (const name of ["selected", "is-source", "is-target"]) {
      for (const node of textBox.querySelectorAll(`.${name}`)) node.classList.remove(name);
    }
    selected = i;
    if (i >= 0) {
      spans[i].classList.add("selected");
      for (const edge of incoming[i].slice(0, 8)) spans[edge.source].classList.add("is-source");
      for (const edge of outgoing[i].slice(0, 8)) spans[edge.target].classList.add("is-target");
      if (scroll) spans[i].scrollIntoView({ block: "center" });
    }
    describe(i);
    drawArcs();
    drawStrip();
    drawLinks();
  };

  // Pointer and keyboard.
  const tip = byId("tip");
  const unitAt = (event) => {
    const node = event.target.closest?.(".u");
    return node && node.dataset.i !== undefined ? Number(node.dataset.i) : -1;
  };
  textBox.addEventListener("mousemove", (event) => {
    const i = unitAt(event);
    tip.hidden = i < 0;
    if (i < 0) return;
    tip.textContent = `${label(i)}   ${roleNames[data.roles[i]]}\nposition ${data.first[i]}   id ${data.ids[i].join(" ")}\nthroughput ${number(data.score[i])}   rank ${rank[i]} of ${count}`;
    tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(event.clientY + 18, innerHeight - tip.offsetHeight - 8)}px`;
  });
  textBox.addEventListener("mouseleave", () => { tip.hidden = true; });
  textBox.addEventListener("click", (event) => {
    const i = unitAt(event);
    if (i >= 0) select(i === selected ? -1 : i, false);
  });
  const nextHub = (step) => {
    const hubs = step > 0 ? data.hubs : [...data.hubs].reverse();
    return hubs.find((hub) => (hub - selected) * step > 0) ?? hubs[0] ?? selected;
  };
  const answer = data.roles.indexOf("a");
  const moves = {
    ArrowRight: () => Math.min(count - 1, selected + 1),
    ArrowLeft: () => Math.max(0, selected < 0 ? count - 1 : selected - 1),
    ArrowUp: () => incoming[selected]?.[0]?.source ?? selected,
    ArrowDown: () => outgoing[selected]?.[0]?.target ?? selected,
    h: () => nextHub(1), H: () => nextHub(-1),
    Home: () => 0, End: () => count - 1, a: () => answer, Escape: () => -1,
    Enter: () => (selected < 0 ? Math.max(0, answer) : selected),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input, button, dialog *");
    if (event.key === "?" && !byId("help").open) return byId("help").showModal();
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    if (byId("help").open || (typing && event.key !== "Escape")) return;
    event.preventDefault();
    select(moves[event.key](), true);
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());

  // Lists.
  byId("summary").textContent = `${data.meta.model}, layers ${data.meta.layers}: ${count} pieces, ${data.hubs.length} hubs, backbone of ${data.backbone.length}`;
  const byScore = [...data.hubs].sort((a, b) => data.score[b] - data.score[a]);
  for (const i of byScore.slice(0, 200)) {
    const item = make("li");
    item.append(make("span", "", `${rank[i]}.`), goButton(i), make("span", "", `at ${data.first[i]}`), make("span", "", number(data.score[i])));
    byId("hubs").append(item);
  }
  for (const route of data.routes) {
    const item = make("li");
    route.units.forEach((i, n) => {
      if (n) item.append(" → ");
      item.append(goButton(i));
    });
    item.append(make("span", "p", ` ${percent(route.p)}`));
    byId("routes").append(item);
  }
  for (const [name, value] of Object.entries(data.meta)) byId("meta").append(make("dt", "", name), make("dd", "", value));

  // Copying.
  const copy = async (button, text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", "", text); // pages opened as files have no clipboard everywhere
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  };
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  byId("copy-json").addEventListener("click", (event) => copy(event.currentTarget, JSON.stringify(data)));
  byId("copy-csv").addEventListener("click", (event) => {
    const rows = data.units.map((text, i) => [data.first[i], quoted(data.ids[i].join(" ")), quoted(text), roleNames[data.roles[i]], data.score[i], data.potential[i], rank[i], isBackbone.has(i) ? 1 : 0, isHub.has(i) ? 1 : 0].join(","));
    copy(event.currentTarget, ["position,ids,text,role,throughput,potential,rank,backbone,hub", ...rows].join("\r\n"));
  });

  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    paint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  const fitPanel = () => {
    document.documentElement.style.setProperty("--head", `${document.querySelector("header").offsetHeight}px`);
  };
  let pending = 0;
  const redraw = () => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(() => { fitPanel(); drawStrip(); drawArcs(); drawLinks(); });
  };
  addEventListener("resize", redraw);

  build();
  fitPanel();
  paint();
  select(-1, false);
  document.documentElement.dataset.ready = "yes";
})();
