"use strict";
// The state in the address: which text, how it is traced, what is selected and hidden.
flowtracer.address = (() => {
  const { bench, shelf } = flowtracer;
  const NAMES = { rule: "auto", layers: "middle", edges: "mean", question: "prompt", answer_tokens: "absorb", scorer: "flow", end: "top" };
  const COMPARED = ["text", "layers", "edges", "scorer"];
  const WAIT = 300; // ms; browsers limit how often an address may change
  let pending = 0, written = "";

  const fragment = () => {
    const { entry, view } = bench, parts = new URLSearchParams();
    if (!entry) return "";
    parts.set("text", entry.id);
    for (const [name, usual] of Object.entries(NAMES)) if (entry.options[name] !== usual) parts.set(name, entry.options[name]);
    if (entry.options.spans.length) parts.set("spans", entry.options.spans.map(([a, b]) => `${a}-${b}`).join(","));
    if (entry.hidden.size) parts.set("hidden", bench.ranges(entry.hidden));
    const compared = flowtracer.compare.state();
    if (compared) parts.set("compare", COMPARED.map((name) => compared[name]).join(";"));
    if (view?.selected >= 0) parts.set("selected", view.selected);
    return parts.toString().replaceAll("%2C", ",").replaceAll("%3B", ";");
  };
  const write = () => {
    clearTimeout(pending);
    pending = setTimeout(() => {
      shelf.store();
      written = fragment();
      history.replaceState(null, "", written ? `#${written}` : location.pathname);
    }, WAIT);
  };
  const spans = (text) => text.split(",").map((part) => /^(\d{1,6})-(\d{1,6})$/.exec(part)).filter(Boolean).map((match) => [Number(match[1]), Number(match[2])]);

  // Open what the address names; whether it names anything.
  const read = async () => {
    const parts = new URLSearchParams(location.hash.slice(1)), id = parts.get("text");
    if (!id || location.hash.slice(1) === written) return Boolean(id);
    let entry = bench.entries.find((one) => one.id === id);
    if (!entry) {
      entry = bench.newEntry(id, `text ${id}`);
      bench.entries.push(entry);
      try {
        await shelf.load(entry);
        entry.name = flowtracer.oneLine(entry.record.response, 40);
      } catch (error) {
        bench.entries.pop();
        bench.complain("file-error", error.status === 404 ? "The text in the address is not known here any more; the address holds no text, a saved session does." : error);
        return false;
      }
    }
    for (const name of Object.keys(NAMES)) if (parts.has(name)) entry.options[name] = parts.get(name);
    if (parts.has("spans")) entry.options.spans = spans(parts.get("spans"));
    if (parts.has("hidden")) entry.hidden = new Set(bench.numbers(parts.get("hidden")).filter((token) => !entry.record || token < entry.record.roles.length));
    entry.data = null;
    const selected = Number(parts.get("selected") ?? -1);
    await shelf.open(entry);
    if (selected >= 0 && selected < (bench.view?.data.units.length ?? 0)) bench.view.select(selected, true);
    const compared = parts.get("compare")?.split(";");
    if (compared) flowtracer.compare.open(Object.fromEntries(COMPARED.map((name, n) => [name, compared[n]])));
    return true;
  };
  const start = () => {
    for (const name of ["entry", "view", "hidden", "selected", "options", "compared"]) bench.on(name, write);
    addEventListener("hashchange", read);
  };
  return { start, read };
})();
