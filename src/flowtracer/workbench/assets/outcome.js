"use strict";
// The new text beside the old one: what changed, and what became of the answer.
flowtracer.outcome = (() => {
  const { bench, jobs, visible, oneLine } = flowtracer;
  const { byId } = bench;
  const { make, button, counted } = flowtracer.dom;

  const column = (title, pieces, classOf) => {
    const box = make("div", "wb-column"), text = make("div", "wb-text");
    text.tabIndex = 0;
    text.setAttribute("role", "region");
    text.setAttribute("aria-label", title);
    for (const piece of pieces) text.append(make("span", classOf(piece), visible(piece.text)));
    box.append(make("h3", "", title), text);
    return box;
  };
  // Pieces of a response; positions count from its first token.
  const response = (record) => {
    const start = record.prompt_ids.length;
    return record.pieces.filter((piece) => piece.first >= start).map((piece) => ({ text: piece.text, first: piece.first - start, last: piece.last - start }));
  };
  const covered = (ranges) => new Set(ranges.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, n) => first + n)));
  const marked = (changed, hidden, name) => (piece) => {
    const has = (set) => { for (let token = piece.first; token <= piece.last; token++) if (set.has(token)) return true; return false; };
    return [has(changed) && name, has(hidden) && "hidden"].filter(Boolean).join(" ");
  };

  const records = new Map(); // of new texts, by name
  const remember = (record) => records.set(record.id, record);
  const recordOf = async (entry, result) => {
    const { model, prompt_ids, roles } = entry.record, { id, response_ids } = result;
    const ids = { model, prompt_ids, response_ids, roles: roles.slice(0, prompt_ids.length) + "r".repeat(response_ids.length) };
    if (!records.has(id)) remember(await flowtracer.shelf.load({ id, ids, record: null }));
    return records.get(id);
  };

  const verdict = (result) => {
    const box = make("p", "wb-verdict"), now = result.answer_new, was = result.answer_old;
    if (result.answer_changed === true) box.append(make("b", "wb-changed", "The answer changed"), ": ", make("span", "wb-token", oneLine(was ?? "", 60)), " → ", make("span", "wb-token", oneLine(now ?? "", 60)));
    else if (result.answer_changed === false) box.append(make("b", "", "The answer is the same"), ": ", make("span", "wb-token", oneLine(now ?? "", 60)));
    else if (result.note) box.append(make("b", "", flowtracer.client.sentence(result.note)));
    else box.append(make("b", "wb-changed", "No answer can be read"), " in the new text; it was ", make("span", "wb-token", oneLine(was ?? "", 60)));
    return box;
  };
  const facts = (entry, trial, result) => {
    const { drop, dropText } = flowtracer.trials, fell = drop(result), { tokens } = result;
    const parts = [`${counted(tokens.length, "token")} hidden (${result === trial.result ? trial.how : "random"})`];
    if (result.ignored) parts.push(`${result.ignored} of those chosen come after that point and are written anew`);
    if (fell !== null) parts.push(`log-probability of the old answer ${dropText(result.log_probability_old)} → ${dropText(result.log_probability_hidden)}, a drop of ${dropText(fell)}`);
    if (result.reproduced === false) parts.push("with nothing hidden the model would not write this response again either: it was sampled or pasted, so a change alone says nothing");
    if (result.cut_off) parts.push("cut off at its limit of tokens");
    const box = make("p", "wb-quiet", `${parts.join("; ")}.`);
    if (trial.controls.length) box.append(" ", make("b", "", `${flowtracer.trials.sentence(trial)}.`));
    return box;
  };
  const show = (entry, trial, result, scroll) => bench.attempt("hide-error", async () => {
    const record = await recordOf(entry, result);
    if (entry !== bench.entry) return;
    const start = bench.start(entry), gone = covered(result.changed.old), fresh = covered(result.changed.new);
    const hidden = new Set(result.tokens.map((token) => token - start));
    const box = byId("outcome"), columns = make("div", "wb-columns"), buttons = make("div", "wb-row");
    columns.append(column("Before", response(entry.record), marked(gone, hidden, "removed")), column("After", response(record), marked(fresh, new Set(), "added")));
    const changes = make("p", "wb-quiet", gone.size || fresh.size ? `${counted(gone.size, "token")} gone (struck out), ${fresh.size} new (underlined).` : "Word for word the same.");
    buttons.append(
      button("Keep as a text", "Put the new text into the list, to trace and compare it", () => keep(entry, result, record)),
      button("Close", "Close this comparison", close),
    );
    box.replaceChildren(make("h2", "", "Regenerated"), verdict(result), facts(entry, trial, result), columns, changes, buttons);
    box.hidden = false;
    if (scroll) byId("bar").scrollIntoView({ block: "start" });
    for (const text of columns.querySelectorAll(".wb-text")) text.scrollTop = (text.querySelector(".added, .removed")?.offsetTop ?? 0) - text.offsetTop - 40;
  });
  const keep = (entry, result, record) => flowtracer.shelf.add(record, `${entry.name} › ${counted(result.tokens.length, "token")} hidden`, { sampled: true });
  const close = () => { byId("outcome").hidden = true; };

  // What is written now, as it comes; gives what takes a token.
  const writing = (entry, trial, control) => {
    const box = byId("outcome"), text = make("div", "wb-text");
    box.replaceChildren(make("h2", "", control ? "Random control writes" : "The model writes again"), text, button("Stop", "Stop the model (Esc)", () => jobs.cancel("hide")));
    box.hidden = false;
    return ({ text: words }) => text.append(make("span", "", visible(words)));
  };
  const ended = () => { byId("outcome").hidden = true; };
  const start = () => {
    bench.on("entry", close);
  };
  return { start, show, remember, writing, ended, close };
})();
