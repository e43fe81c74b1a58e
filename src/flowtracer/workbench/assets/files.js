"use strict";
// Files in and out: a session, a trace as a page or as JSON, and the examples that come with the package.
flowtracer.files = (() => {
  const { bench, client, shelf } = flowtracer;
  const { byId } = bench;
  const { make, button } = flowtracer.dom;

  const download = (blob, name) => {
    const link = make("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const fileName = () => (bench.entry?.name ?? "flowtracer").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "flowtracer";

  // The server puts in what it knows: how the texts read, and their traces.
  const save = () => bench.attempt("file-error", async () => {
    if (!bench.entries.length) throw new Error("There is nothing to save yet; let the model answer first.");
    const texts = bench.entries.map((entry) => ({ ...shelf.plain(entry), ...(entry.trace ? { trace: entry.trace } : {}) }));
    const response = await client.ask("/api/save", { method: "POST", body: { title: bench.entry?.name ?? "", state: location.hash.slice(1), texts } });
    download(await response.blob(), `${fileName()}.session.json`);
  });
  // A session that the server has checked: its texts come to the list, the first is opened.
  const take = async (given) => {
    const entries = given.texts.map((one) => bench.newEntry(one.id, one.name, one));
    for (const entry of entries) if (!bench.entries.some(({ id }) => id === entry.id)) bench.entries.push(entry);
    shelf.store();
    shelf.draw();
    const named = new URLSearchParams(given.state ?? "").get("text");
    const first = bench.entries.find(({ id }) => id === named && entries.some((one) => one.id === id)) ?? bench.entries.find(({ id }) => id === entries[0]?.id);
    if (first) await shelf.open(first);
  };
  const open = (file) => bench.attempt("file-error", async () => {
    const most = bench.info.limits.session_bytes;
    if (file.size > most) throw new Error(`${file.name} is larger than the ${Math.floor(most / 1e6)} MB that are taken.`);
    let parsed;
    try {
      parsed = JSON.parse(await file.text());
    } catch {
      throw new Error(`${file.name} is not JSON; open a session that this page saved.`);
    }
    await take(await client.json("/api/session", { method: "POST", body: parsed }));
  });
  const exported = (format) => bench.attempt("file-error", async () => {
    if (!bench.entry?.trace) throw new Error("There is no trace to export yet; let the model answer first.");
    let response;
    try {
      response = await client.ask("/api/export", { method: "POST", body: { trace: bench.entry.trace, format } });
    } catch (error) {
      if (error.status !== 404) throw error;
      await flowtracer.tracing.trace(); // the server has forgotten the trace
      response = await client.ask("/api/export", { method: "POST", body: { trace: bench.entry.trace, format } });
    }
    download(await response.blob(), `${fileName()}.${format === "json" ? "trace.json" : "trace.html"}`);
  });

  const cards = (place) => (bench.info?.gallery ?? []).map(({ name, title, note, model }) => {
    const item = make("li"), open_ = button("", "Open this example", () => bench.attempt(place, async () => {
      await take(await client.json(`/api/gallery/${name}`));
      byId("gallery").close();
    }));
    open_.className = "wb-card";
    open_.append(make("b", "", title), make("span", "", note), make("span", "wb-facts", model === "embedded" ? "the embedded model" : `${model}, view only`));
    item.append(open_);
    return item;
  });
  const gallery = () => {
    bench.complain("gallery-error", null);
    byId("gallery-list").replaceChildren(...cards("gallery-error"));
    byId("gallery").showModal();
  };

  const start = () => {
    byId("file-save").addEventListener("click", save);
    byId("file-open").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", async () => {
      const [file] = byId("file").files;
      if (file) await open(file);
      byId("file").value = "";
    });
    byId("export-page").addEventListener("click", () => exported("html"));
    byId("export-json").addEventListener("click", () => exported("json"));
    byId("gallery-open").addEventListener("click", gallery);
    bench.on("info", () => byId("first-gallery").replaceChildren(...cards("file-error")));
    document.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
    document.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return;
      event.preventDefault();
      open(event.dataTransfer.files[0]);
    });
  };
  return { start, save, open, take, exported };
})();
