"use strict";
// Requests to the server, and what happens when it is gone.
flowtracer.client = (() => {
  const { bench } = flowtracer;
  const KEY = "flowtracer-token", WAIT = 1000, WATCH = 4000; // ms, our choice
  const fragment = new URLSearchParams(location.hash.slice(1));
  const token = fragment.get("token") ?? sessionStorage.getItem(KEY) ?? "";
  if (fragment.has("token")) { // a secret does not stay in the address, which people copy
    sessionStorage.setItem(KEY, token);
    fragment.delete("token");
    history.replaceState(null, "", fragment.size ? `#${fragment}` : location.pathname);
  }
  let gone = false;
  const broken = () => new Error("The server does not answer; this works again as soon as it does.");

  const ask = async (path, { method = "GET", body, signal } = {}) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    if (body !== undefined) headers["content-type"] = "application/json";
    let response;
    try {
      response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
    } catch (error) {
      if (error.name !== "AbortError") lost();
      throw error.name === "AbortError" ? error : broken();
    }
    if (response.ok) return response;
    const said = await response.json().catch(() => ({}));
    const failure = new Error(sentence(said.error ?? `the server answered ${response.status}`));
    failure.status = response.status;
    throw failure;
  };
  const json = async (path, options) => (await ask(path, options)).json();
  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

  // The server is away: say so, try again, and give it back the texts that it has lost.
  const lost = () => {
    if (gone) return;
    gone = true;
    say("The server does not answer. Your texts are kept in this tab; trying again every second.", true);
    setTimeout(retry, WAIT);
  };
  const retry = async () => {
    try {
      const headers = token ? { authorization: `Bearer ${token}` } : {};
      const response = await fetch("/api/info", { headers, cache: "no-store" });
      if (response.status === 401) return say("The server was started again with another token: open the address that it printed.", true);
      if (!response.ok) throw new Error();
      bench.info = await response.json();
    } catch {
      return setTimeout(retry, WAIT);
    }
    gone = false;
    const results = await Promise.allSettled(bench.entries.map(flowtracer.register));
    const refused = results.filter((result) => result.status === "rejected").length;
    const others = refused ? `; ${refused} of ${results.length} texts are of another model and can only be read` : "";
    say(`The server is back${others}.`, false);
    setTimeout(() => { if (!gone) bench.byId("banner").hidden = true; }, 4000);
    bench.emit("back");
  };
  const say = (text, bad) => {
    const box = bench.byId("banner");
    box.textContent = text;
    box.classList.toggle("bad", bad);
    box.hidden = false;
  };
  setInterval(() => {
    if (!gone && !document.hidden) fetch("/assets/theme.css", { method: "GET", cache: "no-store" }).catch(lost);
  }, WATCH);
  return { ask, json, lost, sentence, broken };
})();

// Give the server a text by its token ids; it answers with what the page shows of it.
flowtracer.register = async (entry) => {
  const { prompt_ids, response_ids, roles, model } = entry.record ?? entry.ids;
  const record = await flowtracer.client.json("/api/texts", { method: "POST", body: { prompt_ids, response_ids, roles, model } });
  return { ...record, correct: record.correct ?? entry.correct ?? null, cut_off: record.cut_off ?? entry.cut_off ?? null };
};
