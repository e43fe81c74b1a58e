"use strict";
// Elements, numbers as text, and copying. Text of tokens is only ever set as textContent.
window.flowtracer ??= {};
flowtracer.dom = (() => {
  const parsed = document.createElement("div");
  parsed.innerHTML = "<svg></svg>";
  const svgNamespace = parsed.firstChild.namespaceURI; // read off: the page holds no address

  const make = (name, className, text) => {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const svg = (name, attributes) => {
    const node = document.createElementNS(svgNamespace, name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  };
  const button = (text, title, action) => {
    const node = make("button", "", text);
    node.type = "button";
    if (title) node.title = title;
    node.addEventListener("click", action);
    return node;
  };
  const number = (value) => (value === 0 ? "0" : value >= 0.001 ? value.toFixed(4) : value.toExponential(2));
  const percent = (ratio) => (ratio === 0 ? "0%" : ratio < 0.0001 ? "<0.01%" : `${Number((100 * ratio).toPrecision(2))}%`);
  const counted = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

  const copy = async (source, text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", "", text); // pages opened as files have no clipboard everywhere
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    const before = source.textContent;
    source.textContent = "Copied";
    setTimeout(() => { source.textContent = before; }, 1200);
  };
  return { make, svg, button, number, percent, counted, copy };
})();
