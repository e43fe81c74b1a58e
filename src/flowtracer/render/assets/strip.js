"use strict";
// Canvases over the positions of the text: one bar a column, and one row a layer.
flowtracer.canvas = (canvas, count, onPick) => {
  canvas.addEventListener("click", (event) => {
    onPick(Math.min(count - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * count))), event.offsetY);
  });
  // A clean pen, and the pieces of every column: no more columns than pixels.
  return () => {
    const width = canvas.clientWidth, height = canvas.clientHeight, ratio = devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const columns = Math.max(1, Math.min(count, Math.floor(width)));
    const from = (c) => Math.floor((c * count) / columns);
    const parts = Array.from({ length: columns }, (_, c) => [from(c), Math.max(from(c) + 1, from(c + 1))]);
    return { pen, width, height, parts, step: width / columns };
  };
};

flowtracer.strongest = (values, from, to) => {
  let best = from;
  for (let i = from; i < to; i++) if (values(i) > values(best)) best = i;
  return best;
};

flowtracer.strip = (view) => {
  const { data, count } = view.model;
  const start = flowtracer.canvas(view.find(".tv-strip"), count, (i) => view.select(i, true));
  return () => {
    const { pen, width, height, parts, step } = start();
    if (!width) return;
    const dark = flowtracer.isDark(), style = getComputedStyle(document.documentElement), base = height - 6;
    parts.forEach(([from, to], c) => {
      const answer = data.roles.slice(from, to).includes("a");
      const level = view.measure.strength(flowtracer.strongest(view.measure.strength, from, to));
      pen.fillStyle = view.colours.shade(level, dark).fill;
      pen.fillRect(c * step, base - level * (base - 1), Math.max(step - (step > 4 ? 1 : 0), 0.6), level * (base - 1));
      const role = answer ? "a" : data.roles[from];
      pen.fillStyle = style.getPropertyValue({ t: "--rule", u: "--in", r: "--quiet", a: "--accent" }[role]);
      const tall = { t: 1, u: 2, r: 3, a: height }[role]; // height tells the role too
      pen.fillRect(c * step, height - tall, Math.max(answer ? 1.5 : 0, step + 0.5), tall);
    });
    if (view.selected >= 0) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(((view.selected + 0.5) * width) / count - 0.75, 0, 1.5, height);
    }
  };
};

flowtracer.layers = (view) => {
  const { data, count, group, label, position } = view.model;
  const box = view.find(".tv-layers"), canvas = box.querySelector("canvas"), note = box.querySelector("p");
  if (!data.layers) {
    box.remove();
    return () => {};
  }
  const { numbers, throughput } = data.layers;
  const { number } = flowtracer.dom;
  const row = (y) => Math.min(numbers.length - 1, Math.max(0, Math.floor((y / canvas.clientHeight) * numbers.length)));
  const full = numbers.map((layer) => view.model.measured(`layer ${layer}`));
  const start = flowtracer.canvas(canvas, count, (i) => view.select(i, true));
  const usual = "One row a layer, the first on top: the flow as it would be through that layer's attention alone. Each row has its own scale.";
  note.textContent = usual;
  canvas.style.height = `${Math.max(40, Math.min(220, 11 * numbers.length))}px`;
  canvas.addEventListener("mousemove", (event) => {
    const i = Math.min(count - 1, Math.max(0, Math.floor((event.offsetX / canvas.clientWidth) * count))), at = row(event.offsetY);
    note.textContent = `Layer ${numbers[at]}, token ${position(i)} ${label(i)}: throughput ${number(throughput[at][i])}`;
  });
  canvas.addEventListener("mouseleave", () => { note.textContent = usual; });
  const draw = () => {
    if (!box.open) return;
    const { pen, width, height, parts, step } = start();
    const dark = flowtracer.isDark(), style = getComputedStyle(document.documentElement), tall = height / numbers.length;
    full.forEach((measure, at) => {
      parts.forEach(([from, to], c) => {
        const best = flowtracer.strongest(measure.strength, from, to);
        const answer = group.slice(from, to).includes("answer");
        pen.fillStyle = answer ? style.getPropertyValue("--accent") : view.colours.shade(measure.strength(best), dark).fill;
        pen.fillRect(c * step, at * tall, step + 0.5, Math.max(1, tall - 1));
      });
      pen.font = "10px system-ui, sans-serif";
      pen.fillStyle = style.getPropertyValue("--paper");
      pen.fillRect(0, at * tall, pen.measureText(numbers[at]).width + 6, Math.max(1, tall - 1));
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.textBaseline = "middle";
      pen.fillText(numbers[at], 3, (at + 0.5) * tall);
    });
    if (view.selected >= 0) {
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillRect(((view.selected + 0.5) * width) / count - 0.75, 0, 1.5, height);
    }
  };
  return draw;
};
