"use strict";
// Where texts come from: the model answers a prompt, token by token, or a response is pasted.
flowtracer.ask = (() => {
  const { bench, jobs, shelf, oneLine, visible } = flowtracer;
  const { byId } = bench;
  const { make, button, percent } = flowtracer.dom;

  const showWriting = (title, before = "") => {
    const box = byId("written");
    byId("writing-title").textContent = title;
    box.replaceChildren(...(before ? [make("span", "wb-quiet", visible(before))] : []));
    byId("writing").hidden = false;
    let count = 0;
    return ({ text, probability }) => {
      const span = make("span", "", visible(text));
      span.title = `probability ${percent(probability)}`;
      if (probability < 0.5) span.className = "wb-unsure";
      box.append(span);
      if (count++ === 0) performance.mark("first token");
      box.scrollTop = box.scrollHeight;
    };
  };
  const hideWriting = () => { byId("writing").hidden = true; };

  const prompt = () => ({ prompt: byId("prompt").value, ...(bench.info?.chat ? { chat: byId("chat").checked } : { chat: false }) });
  const count = (id, fallback) => (byId(id).value === "" || !Number.isFinite(byId(id).valueAsNumber) ? fallback : byId(id).valueAsNumber);
  const sampling = () => ({
    max_new_tokens: Math.max(1, Math.round(count("most", 512))),
    temperature: count("temperature", 0),
    seed: Math.max(0, Math.round(count("seed", 0))),
  });
  // The field shows the open text's prompt, where that is one message, unless something else was typed.
  let filled = "";
  const fill = (text) => { byId("prompt").value = filled = text; };
  const promptOf = ({ asked, record }) => {
    if (asked !== undefined) return asked;
    const own = record.pieces.filter((piece) => piece.last < record.prompt_ids.length && record.roles[piece.last] === "u");
    const joined = own.every((piece, i) => i === 0 || piece.first === own[i - 1].last + 1);
    return joined ? own.map((piece) => piece.text).join("").trim() : "";
  };
  const follow = (entry) => {
    const typed = byId("prompt").value;
    if (entry?.record && (typed.trim() === "" || typed === filled)) fill(promptOf(entry));
  };

  const nameOf = (text) => oneLine(text.trim(), 60);

  // The words so far stay to be read when the model is stopped: they are traced as a text of their own.
  const answer = () => bench.attempt("ask-error", async () => {
    if (!byId("prompt").value.trim()) throw new Error("The prompt is empty; write one, or press an example.");
    jobs.cancel("answer", "continue");
    const asked = byId("prompt").value, written = [];
    filled = asked;
    const show = showWriting("The model writes");
    try {
      const options = sampling();
      const record = await jobs.run("Answering", { kind: "answer", ...prompt(), ...options }, (token) => { written.push(token); show(token); });
      const warm = options.temperature > 0 ? ` (temperature ${options.temperature}, seed ${options.seed})` : "";
      await shelf.add(record, `${nameOf(asked)}${warm}`, { asked, sampled: options.temperature > 0 });
      hideWriting();
    } catch (error) {
      if (!error.cancelled || !written.length) hideWriting();
      else await stopped(written.length);
      throw error;
    }
  });
  const stopped = async (tokens) => {
    byId("writing-title").textContent = `Stopped after ${tokens} tokens`;
    const keep = button("Trace what is written", "Ask for exactly so many tokens again, and trace them", () => {
      const before = byId("most").value;
      byId("most").value = tokens;
      answer().finally(() => { byId("most").value = before; });
    });
    byId("written").append(document.createElement("br"), keep);
  };
  const goOn = (entry, position, token, text) => bench.attempt("ask-error", async () => {
    jobs.cancel("answer", "continue");
    const response = entry.record.pieces.filter((piece) => piece.first >= bench.start(entry) && piece.first < position).map((piece) => piece.text).join("");
    const show = showWriting(`The model goes on after “${oneLine(text, 20)}”`, response + text);
    try {
      const record = await jobs.run("Continuing", { kind: "continue", text: entry.id, position, token, ...sampling() }, show);
      await shelf.add(record, `${entry.name} › “${oneLine(text.trim() || text, 20)}” at ${position}`);
    } finally {
      hideWriting();
    }
  });

  const openPaste = (open) => {
    byId("pasting").hidden = !open;
    byId("paste").setAttribute("aria-expanded", String(open));
    byId("paste").textContent = open ? "Trace this response" : "Paste a response";
    if (open) byId("response").focus();
  };
  const paste = () => bench.attempt("ask-error", async () => {
    if (byId("pasting").hidden) return openPaste(true);
    if (!byId("response").value.trim()) {
      openPaste(false);
      return null;
    }
    const record = await jobs.run("Reading the response", { kind: "paste", ...prompt(), response: byId("response").value });
    openPaste(false);
    return shelf.add(record, `${nameOf(byId("prompt").value)} (pasted)`, { sampled: true });
  });

  const start = () => {
    byId("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      answer();
    });
    byId("stop").addEventListener("click", () => jobs.cancel("answer", "continue"));
    byId("paste").addEventListener("click", paste);
    byId("temperature").addEventListener("input", () => { byId("seed-box").hidden = !(count("temperature", 0) > 0); });
    for (const id of ["prompt", "response"]) {
      byId(id).addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        if (id === "prompt") answer();
        else paste();
      });
    }
    bench.on("entry", follow);
    bench.on("jobs", (running) => {
      const busy = running.some((job) => ["answer", "continue"].includes(job.kind));
      byId("stop").disabled = !busy;
      byId("writing").setAttribute("aria-busy", String(busy));
    });
    bench.on("info", (info) => {
      byId("chat").closest("label").hidden = !info.chat;
      byId("most").max = info.limits.response_tokens;
      byId("examples").replaceChildren(...info.examples.map((text) => button(text, `Ask: ${text}`, () => {
        byId("prompt").value = text;
        answer();
      })));
    });
  };
  return { start, answer, goOn, paste, openPaste };
})();
