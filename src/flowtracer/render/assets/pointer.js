"use strict";
// Mouse and touch over the text: hover tells, a click selects or marks, a drag reports a span.
flowtracer.pointer = (view) => {
  const { make, number, percent } = flowtracer.dom;
  const { data, inPicture, ratio, roleNames, label, position } = view.model;
  const { box } = view.text;
  const tip = make("div", "tv-tip");
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  document.body.append(tip); // fixed to the window whatever contains the view
  const pieceAt = (target) => {
    const node = target.closest?.(".u");
    return node && box.contains(node) ? Number(node.dataset.i) : -1;
  };
  let from = -1, to = -1, dragged = false; // of the drag that goes on
  const showSpan = (a, b) => view.mark("dragged", a < 0 ? [] : Array.from({ length: Math.abs(b - a) + 1 }, (_, n) => Math.min(a, b) + n));

  const describe = (i, event) => {
    tip.hidden = i < 0;
    if (i < 0) return;
    const measure = view.measure, name = measure.name === "flow" ? "throughput" : measure.name;
    const part = inPicture.has(i) ? `\n${percent(ratio(i))} of the flow` : "";
    tip.textContent = `${label(i)}   ${roleNames[data.roles[i]]}\nposition ${position(i)}   id ${data.ids[i].join(" ")}\n${name} ${number(measure.score[i])}   rank ${measure.rankText(i)}${part}`;
    tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.min(event.clientY + 18, innerHeight - tip.offsetHeight - 8)}px`;
  };
  const listeners = {
    mousemove: (event) => {
      const i = pieceAt(event.target);
      describe(i, event);
      if (from < 0 || i < 0 || i === to) return;
      to = i;
      dragged = true;
      showSpan(from, to);
    },
    mouseleave: () => { tip.hidden = true; },
    mousedown: (event) => {
      dragged = false;
      if (!view.options.onSpan || event.button !== 0) return;
      from = to = pieceAt(event.target);
      if (from >= 0) event.preventDefault(); // a span is dragged, not text selected
      box.focus({ preventScroll: true });
    },
    click: (event) => {
      const i = pieceAt(event.target);
      if (i < 0 || dragged) return;
      if (view.pick) view.toggle(i);
      else view.select(i === view.selected ? -1 : i, false);
    },
  };
  const release = () => {
    const [first, last] = [Math.min(from, to), Math.max(from, to)];
    from = -1;
    setTimeout(() => { dragged = false; }); // after the click that ends a drag, if there is one
    if (dragged && first >= 0) view.options.onSpan(first, last);
    showSpan(-1, -1);
  };
  for (const [name, listener] of Object.entries(listeners)) box.addEventListener(name, listener);
  document.addEventListener("mouseup", release);
  return () => {
    tip.remove();
    document.removeEventListener("mouseup", release);
  };
};
