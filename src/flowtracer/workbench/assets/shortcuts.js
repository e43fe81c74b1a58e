"use strict";
// The keyboard for everything, and the dialog that lists the keys.
flowtracer.shortcuts = (() => {
  const { bench } = flowtracer;
  const { byId } = bench;
  const { make } = flowtracer.dom;
  const press = (id) => () => byId(id).click();
  const focus = (id) => () => {
    byId(id).focus();
    byId(id).select?.();
  };
  // key: [what to do, words for the dialog]
  const KEYS = {
    "/": [focus("prompt"), "write a prompt; Ctrl+Enter answers"],
    i: [() => flowtracer.ask.openPaste(true), "paste a response; Ctrl+Enter traces it"],
    1: [() => flowtracer.modes.set("select"), "clicks look at a token"],
    2: [() => flowtracer.modes.set("hide"), "clicks hide a token (Space does)"],
    3: [() => flowtracer.modes.set("answer"), "clicks mark the answer"],
    x: [() => flowtracer.tokenBar.hide(), "hide or show what is selected"],
    m: [() => flowtracer.tokenBar.answer(), "make what is selected the answer"],
    v: [() => flowtracer.tokenBar.alternatives(), "alternatives to the selected token"],
    k: [() => flowtracer.hiding.pick(), "hide the top or bottom tokens of the slider"],
    K: [focus("pick-ratio"), "go to the slider; arrow keys move it"],
    z: [() => flowtracer.hiding.undo(), "undo what was hidden last"],
    0: [() => flowtracer.hiding.clear(), "hide nothing"],
    r: [() => flowtracer.trials.regenerate(), "regenerate"],
    c: [() => flowtracer.trials.control(), "five random controls"],
    d: [press("compare-open"), "compare with a second trace"],
    l: [focus("layers"), "choose layers"],
    s: [() => bench.view?.find(".tv-scorer").focus(), "choose the scorer"],
    u: [focus("rule"), "choose the rule for the answer"],
    "[": [() => flowtracer.shelf.step(-1), "the text before"],
    "]": [() => flowtracer.shelf.step(1), "the next text"],
    g: [press("gallery-open"), "examples"],
    w: [press("file-save"), "save the session as a file"],
    o: [press("file-open"), "open a session file"],
    e: [press("export-page"), "export the trace as a page"],
    t: [press("theme"), "light or dark"],
    "?": [() => help(), "this help"],
  };
  const help = () => {
    byId("help").showModal();
    byId("help").scrollTop = 0; // the button with the focus is at its end
  };
  const VIEW = [
    ["← →", "previous, next token"], ["↑ ↓", "strongest source, strongest target"], ["Shift+arrows, Enter", "select a span: to look at, hide, or mark as the answer"],
    ["h H", "next, previous hub"], ["Home End a", "first token, last token, answer"], ["p", "fold the prompt"], ["Esc", "stop the model; leave a field; clear the selection"],
  ];

  const listen = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return undefined;
    if (event.key === "Escape" && flowtracer.jobs.running.length) {
      flowtracer.jobs.cancel();
      event.stopImmediatePropagation();
      return undefined;
    }
    if (event.key === "Escape" && event.target.matches("input, textarea, select")) return event.target.blur(); // out of the field: the keys work again
    if (event.target.matches("input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, select")) return undefined;
    const found = KEYS[event.key];
    if (!found) return undefined;
    event.preventDefault();
    return found[0]();
  };
  const start = () => {
    for (const [keys, words] of [...VIEW, ...Object.entries(KEYS).map(([key, [, text]]) => [key, text])]) byId("keys").append(make("dt", "", keys), make("dd", "", words));
    document.addEventListener("keydown", listen, { capture: true });
    byId("help-open").addEventListener("click", KEYS["?"][0]);
    byId("theme").addEventListener("click", () => {
      document.documentElement.dataset.theme = flowtracer.isDark() ? "light" : "dark";
      localStorage.setItem("flowtracer-theme", document.documentElement.dataset.theme);
      bench.view?.repaint();
      bench.emit("theme");
    });
  };
  return { start, KEYS };
})();
