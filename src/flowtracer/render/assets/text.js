"use strict";
// The text itself: regions that fold, lines, and pieces in their colours.
flowtracer.text = (view) => {
  const { make, counted } = flowtracer.dom;
  const { data, count, shown } = view.model;
  const box = view.find(".tv-text");
  const spans = new Array(count);
  const blocks = []; // regions in the order of the text: {role, name, heading, lines, first, last}
  const blockOf = new Array(count);
  const marks = new Map(); // class name to the pieces that have it

  const addBlock = (role, first) => {
    const heading = make("button", "tv-region");
    heading.type = "button";
    const lines = make("div", "tv-lines");
    const block = { role, name: { t: "prompt: template", u: "prompt: user", r: "response" }[role], heading, lines, first, last: first };
    heading.addEventListener("click", () => fold(block, !lines.hidden));
    blocks.push(block);
    box.append(heading, lines);
    return block;
  };
  const fold = (block, folded) => {
    block.lines.hidden = folded;
    block.heading.setAttribute("aria-expanded", String(!folded));
    view.drawLinks?.();
  };
  const foldPrompt = () => {
    const prompt = blocks.filter((block) => block.role !== "r");
    const folded = prompt.some((block) => !block.lines.hidden);
    for (const block of prompt) fold(block, folded);
  };
  const reveal = (i) => { if (blockOf[i].lines.hidden) fold(blockOf[i], false); };

  const pictures = (data.pictures ?? []).map((picture, n) => ({ ...picture, ...flowtracer.picture(view, picture, n) }));
  const pictureOf = (i) => (view.model.inPicture.has(i) ? pictures.find((picture) => picture.first <= i && i <= picture.last) : null);

  // Lines are blocks of their own so that the browser lays out only what is in view.
  const build = () => {
    let block = null, line = null;
    const endLine = () => {
      if (line?.childNodes.length) block.lines.append(line);
      line = make("div", "tv-line");
    };
    for (let i = 0; i < count; i++) {
      const role = data.roles[i] === "a" ? "r" : data.roles[i];
      if (role !== block?.role) {
        endLine();
        block = addBlock(role, i);
      }
      block.last = i;
      blockOf[i] = block;
      const picture = pictureOf(i);
      const span = make("span", `u role-${data.roles[i]}`);
      span.dataset.i = i;
      if (picture) {
        if (i === picture.first) { endLine(); line.append(picture.box); }
        span.classList.add("patch");
        spans[i] = span;
        picture.map.append(span);
        if (i === picture.last) endLine();
        continue;
      }
      const parts = (shown(i) === "" ? "∅" : shown(i)).split("\n");
      span.textContent = parts.join("");
      spans[i] = span;
      line.append(span);
      for (let n = 1; n < parts.length; n++) endLine();
    }
    endLine();
    for (const part of blocks) {
      part.heading.append(make("span", "", part.name), make("span", "tv-count", counted(data.last[part.last] - data.first[part.first] + 1, "token")));
      part.heading.setAttribute("aria-expanded", "true");
    }
    for (const i of data.hubs) spans[i].classList.add("hub");
  };

  const paint = () => {
    const dark = flowtracer.isDark();
    const { measure } = view;
    for (let i = 0; i < count; i++) {
      const level = measure.strength(i);
      const { fill, ink } = level === 0 ? { fill: "", ink: "" } : view.colours.shade(level, dark);
      if (spans[i].classList.contains("patch")) {
        spans[i].style.background = fill && fill.replace(")", `,${0.15 + 0.7 * level})`).replace("rgb", "rgba");
        continue;
      }
      spans[i].style.background = fill;
      spans[i].style.color = ink;
    }
    underline();
  };
  const underline = () => mark("chosen", view.measure.chosen(view.end));
  const mark = (name, pieces) => {
    const next = new Set(pieces);
    for (const i of marks.get(name) ?? []) if (!next.has(i)) spans[i].classList.remove(name);
    for (const i of next) spans[i]?.classList.add(name);
    marks.set(name, next);
  };
  const marked = (name) => [...(marks.get(name) ?? [])].sort((a, b) => a - b);
  // Where a piece stands on the screen; of one that is folded away, its region's heading.
  const place = (i) => (blockOf[i].lines.hidden ? blockOf[i].heading : spans[i]).getBoundingClientRect();
  build();
  return { box, spans, paint, underline, mark, marked, place, reveal, foldPrompt };
};
