"use strict";
// The list of texts: open, rename, remove; kept in this tab until it is closed.
flowtracer.shelf = (() => {
  const { bench, client } = flowtracer;
  const { make, button, counted } = flowtracer.dom;
  const KEY = "flowtracer-texts";
  let pending = 0;

  const ids = (entry) => {
    const { model, prompt_ids, response_ids, roles } = entry.record ?? entry.ids;
    return { model, prompt_ids, response_ids, roles };
  };
  // What is kept of an entry: everything but what the server makes anew from its ids.
  const plain = (entry) => ({
    id: entry.id, name: entry.name, ids: ids(entry), options: entry.options, hidden: [...entry.hidden], trials: entry.trials,
    correct: entry.record?.correct ?? entry.correct ?? null, cut_off: entry.record?.cut_off ?? entry.cut_off ?? null,
  });
  const write = () => {
    clearTimeout(pending);
    pending = 0;
    try {
      sessionStorage.setItem(KEY, JSON.stringify(bench.entries.filter((entry) => entry.record ?? entry.ids).map(plain)));
    } catch {
      sessionStorage.removeItem(KEY); // larger than what a tab may keep: saving a file still works
    }
  };
  const store = () => {
    clearTimeout(pending);
    pending = setTimeout(write, 400);
  };
  addEventListener("pagehide", () => { if (pending) write(); }); // a reload does not lose the last half second
  const restore = () => {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
      bench.entries = kept.map((one) => bench.newEntry(one.id, one.name, one));
    } catch {
      bench.entries = [];
    }
    draw();
  };

  // The server's record of an entry; it is given the ids where it does not have them any more.
  const load = async (entry) => {
    if (entry.record) return entry.record;
    let record = null;
    try {
      record = await client.json(`/api/texts/${entry.id}`);
    } catch (error) {
      if (error.status !== 404 || !entry.ids) throw error;
      record = await flowtracer.register(entry);
    }
    entry.record = { ...record, correct: record.correct ?? entry.correct ?? null, cut_off: record.cut_off ?? entry.cut_off ?? null };
    return entry.record;
  };

  const open = (entry) => bench.attempt("trace-error", async () => {
    bench.byId("bench").hidden = false;
    await load(entry);
    bench.entry = entry;
    draw();
    bench.emit("entry", entry);
  });
  // A text that came into being; one that is in the list already is opened as it is.
  const add = (record, name, given = {}) => {
    let entry = bench.entries.find((one) => one.id === record.id);
    if (!entry) {
      entry = bench.newEntry(record.id, name, given);
      bench.entries.push(entry);
    }
    entry.record = { ...record, correct: record.correct ?? given.correct ?? null };
    store();
    return open(entry);
  };
  const remove = (entry) => {
    const at = bench.entries.indexOf(entry);
    bench.entries.splice(at, 1);
    store();
    bench.emit("removed", entry);
    if (entry !== bench.entry) return draw();
    bench.entry = null;
    const next = bench.entries[Math.min(at, bench.entries.length - 1)];
    if (next) return open(next);
    draw();
    bench.emit("entry", null);
  };
  const rename = (entry, item) => {
    const field = make("input", "wb-rename");
    field.value = entry.name;
    field.setAttribute("aria-label", `New name of ${entry.name}`);
    field.maxLength = 120;
    let ended = false;
    const end = (keep) => {
      if (ended) return;
      ended = true;
      if (keep && field.value.trim()) entry.name = field.value.trim();
      store();
      draw();
      bench.emit("entries");
      bench.byId("texts").querySelector(`[data-id="${entry.id}"] .wb-text-name`)?.focus();
    };
    field.addEventListener("blur", () => end(true));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === "Escape") {
        event.preventDefault();
        event.stopPropagation();
        end(event.key === "Enter");
      }
    });
    item.querySelector(".wb-text-name").replaceWith(field);
    field.select();
    field.focus();
  };

  const facts = (entry) => {
    const known = entry.record ?? entry, response = (entry.record ?? entry.ids)?.response_ids;
    const parts = [response && counted(response.length, "token"), known.correct === true && "✓ right", known.correct === false && "✗ wrong", known.cut_off && "cut off", bench.isForeign(entry) && entry.record.model];
    return parts.filter(Boolean).join(" · ");
  };
  const draw = () => {
    bench.byId("texts").replaceChildren(...bench.entries.map((entry) => {
      const item = make("li"), name = button(entry.name, entry.name, () => open(entry));
      item.dataset.id = entry.id;
      name.className = "wb-text-name";
      if (entry === bench.entry) name.setAttribute("aria-current", "true");
      name.addEventListener("dblclick", () => rename(entry, item));
      const tools = make("span", "wb-tools");
      const tool = (sign, title, act) => {
        const node = button(sign, title, act);
        node.setAttribute("aria-label", title);
        tools.append(node);
      };
      tool("✎", `Rename ${entry.name}`, () => rename(entry, item));
      tool("×", `Remove ${entry.name}`, () => remove(entry));
      item.append(name, tools, make("span", "wb-facts", facts(entry)));
      return item;
    }));
    bench.byId("shelf").hidden = bench.entries.length === 0;
    document.body.classList.toggle("started", bench.entries.length > 0);
    bench.emit("entries");
  };
  const step = (by) => {
    const { entries, entry } = bench;
    if (entries.length) open(entries[(entries.indexOf(entry) + by + entries.length) % entries.length]);
  };
  return { open, add, remove, rename, load, plain, store, restore, draw, step };
})();
