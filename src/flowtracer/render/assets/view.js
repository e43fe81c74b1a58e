"use strict";
// One view of one trace; a page may hold several.
//
//   const view = flowtracer.traceView(container, data, options)
//     data: what `page_data` of flowtracer.render gives
//     options (all optional):
//       onSelect(i)             a piece was selected, -1 for none
//       onSpan(first, last)     a span of pieces was dragged over, or drawn with Shift and arrows and Enter
//       onMark(pieces)          the pieces marked "hidden" changed by a click (only with pick)
//       pick                    clicks (and the space bar) toggle the mark "hidden" instead of selecting
//       keys                    listen to the keyboard on the whole page, not only where the text is focused
//   view.select(i, scroll)      -1 for none
//   view.selected, view.scorer, view.end, view.data
//   view.setScorer(name), view.setEnd("top" | "bottom"), view.setPick(bool)
//   view.mark(name, pieces)     gives exactly these pieces the class `name`; known to the style sheet are
//                               hidden, changed, added, removed
//   view.marked(name)           those pieces, in order
//   view.repaint()              after the theme or the size of the container changed
//   view.destroy()              empties the container
flowtracer.traceView = (container, data, options = {}) => {
  const root = flowtracer.dom.make("div", "trace-view");
  root.innerHTML = flowtracer.skeleton;
  container.replaceChildren(root);
  const model = flowtracer.model(data);
  const view = { root, data, model, options, selected: -1, scorer: "flow", end: "top", pick: Boolean(options.pick) };
  view.find = (selector) => root.querySelector(selector);
  view.colours = flowtracer.colours(data.palette);
  view.measure = model.measured(view.scorer);
  view.text = flowtracer.text(view);
  const { spans } = view.text;
  const arcs = flowtracer.arcs(view), drawStrip = flowtracer.strip(view), drawLayers = flowtracer.layers(view);
  const describe = flowtracer.detail(view), showControls = flowtracer.controls(view);
  view.drawLinks = flowtracer.links(view);
  view.mark = view.text.mark;
  view.marked = view.text.marked;

  let outlined = []; // [piece, class] of the selection
  const outline = (i, name) => {
    spans[i].classList.add(name);
    outlined.push([i, name]);
  };
  view.select = (i, scroll = false) => {
    for (const [piece, name] of outlined) spans[piece].classList.remove(name);
    outlined = [];
    view.selected = i;
    if (i >= 0) {
      view.text.reveal(i);
      outline(i, "selected");
      for (const edge of model.incoming[i].slice(0, flowtracer.SHOWN_EDGES)) outline(edge.source, "is-source");
      for (const edge of model.outgoing[i].slice(0, flowtracer.SHOWN_EDGES)) outline(edge.target, "is-target");
    }
    describe(i);
    if (i >= 0 && scroll) spans[i].scrollIntoView({ block: "center" });
    arcs.drawOwn();
    drawStrip();
    drawLayers();
    view.drawLinks();
    options.onSelect?.(i);
  };
  view.toggle = (i) => {
    const marked = new Set(view.marked("hidden"));
    if (!marked.delete(i)) marked.add(i);
    view.mark("hidden", marked);
    options.onMark?.(view.marked("hidden"));
  };
  view.repaint = () => {
    view.measure = model.measured(view.scorer);
    showControls();
    view.text.paint();
    drawStrip();
    drawLayers();
    describe(view.selected);
  };
  view.setScorer = (name) => {
    if (!model.scorers[name]) return;
    view.scorer = name;
    view.repaint();
  };
  view.setEnd = (end) => {
    view.end = end === "bottom" ? "bottom" : "top";
    showControls();
    view.text.underline(); // colours and canvases do not depend on it
    describe(view.selected);
  };
  view.setPick = (pick) => {
    view.pick = Boolean(pick);
    root.classList.toggle("picking", view.pick);
  };

  flowtracer.summary(view);
  flowtracer.lists(view);
  const ends = [flowtracer.pointer(view), flowtracer.keys(view)];
  const theme = matchMedia("(prefers-color-scheme: dark)");
  theme.addEventListener("change", view.repaint);
  let pending = 0;
  const overview = view.find(".tv-overview");
  const fit = () => {
    // The panel of the selected token sticks below the overview, while that sticks itself.
    const height = overview.querySelector(".tv-layers[open]") ? 0 : overview.offsetHeight;
    root.style.setProperty("--tv-overview", `${height}px`);
    drawStrip();
    drawLayers();
    arcs.drawAll();
    view.drawLinks();
  };
  const resized = new ResizeObserver(() => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(fit);
  });
  resized.observe(overview);
  resized.observe(root);
  view.destroy = () => {
    for (const end of ends) end();
    theme.removeEventListener("change", view.repaint);
    resized.disconnect();
    cancelAnimationFrame(pending);
    root.remove();
  };
  view.setPick(view.pick);
  view.repaint();
  fit();
  return view;
};
