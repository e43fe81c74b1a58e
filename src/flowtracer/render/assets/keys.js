"use strict";
// The keyboard. Without `options.keys` only where the text has the focus, with it on the whole page.
flowtracer.keys = (view) => {
  const { data, count, incoming, outgoing } = view.model;
  const nextHub = (step) => {
    const hubs = step > 0 ? data.hubs : [...data.hubs].reverse();
    return hubs.find((hub) => (hub - view.selected) * step > 0) ?? hubs[0] ?? view.selected;
  };
  const answer = Math.max(0, data.roles.indexOf("a"));
  const right = () => Math.min(count - 1, view.selected + 1);
  const left = () => Math.max(0, view.selected < 0 ? count - 1 : view.selected - 1);
  const moves = {
    ArrowRight: right, ArrowLeft: left,
    ArrowUp: () => incoming[view.selected]?.[0]?.source ?? view.selected,
    ArrowDown: () => outgoing[view.selected]?.[0]?.target ?? view.selected,
    h: () => nextHub(1), H: () => nextHub(-1),
    Home: () => 0, End: () => count - 1, a: () => answer, Escape: () => -1,
  };
  let anchor = -1; // of the span that Shift and the arrows draw
  const span = () => [Math.min(anchor, view.selected), Math.max(anchor, view.selected)];
  const showSpan = () => {
    const [first, last] = span();
    view.mark("dragged", anchor < 0 ? [] : Array.from({ length: last - first + 1 }, (_, n) => first + n));
  };
  const acts = {
    p: () => view.text.foldPrompt(),
    Enter: () => {
      if (anchor < 0 || !view.options.onSpan) return view.select(view.selected < 0 ? answer : view.selected, true);
      const [first, last] = span();
      anchor = -1;
      showSpan();
      view.options.onSpan(first, last);
    },
    " ": () => { if (view.pick && view.selected >= 0) view.toggle(view.selected); },
  };
  const listen = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const other = event.target.closest?.(".trace-view");
    if (other && other !== view.root) return;
    const typing = event.target.matches?.("input, textarea, select, button, summary, [contenteditable]");
    if (typing && event.key !== "Escape") return;
    const act = acts[event.key], move = moves[event.key];
    if (!act && !move) return;
    event.preventDefault();
    if (act) return act();
    const extends_ = view.options.onSpan && event.shiftKey && event.key.startsWith("Arrow");
    if (extends_ && anchor < 0) anchor = Math.max(0, view.selected);
    if (!extends_) anchor = -1;
    view.select((extends_ && { ArrowUp: left, ArrowDown: right }[event.key] || move)(), true);
    showSpan();
  };
  const target = view.options.keys ? document : view.text.box;
  target.addEventListener("keydown", listen);
  return () => target.removeEventListener("keydown", listen);
};
