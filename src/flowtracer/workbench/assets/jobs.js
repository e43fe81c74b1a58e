"use strict";
// Work for the model: asked for, followed over a stream of events, shown with its progress, cancelled.
flowtracer.jobs = (() => {
  const { bench, client } = flowtracer;
  const { make, button, counted } = flowtracer.dom;
  const QUIET = 200; // ms before a job is shown at all, our choice
  const running = [];

  const read = async (id, signal, act) => {
    const response = await client.ask(`/api/jobs/${id}/events`, { signal });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const fields = Object.fromEntries(block.split("\n").map((line) => [line.slice(0, line.indexOf(": ")), line.slice(line.indexOf(": ") + 2)]));
        if (fields.event) act(fields.event, JSON.parse(fields.data));
      }
    }
  };

  // A line at the bottom of the page: what is done, how far it is, and a button that ends it.
  const showRow = (job) => {
    const row = make("li", "wb-job"), said = make("span", "", job.label), bar = make("progress");
    row.append(said, bar, button("Cancel", `Cancel: ${job.label}`, job.cancel));
    let tokens = 0;
    const timer = setTimeout(() => bench.byId("jobs").append(row), QUIET);
    const tell = (event, data) => {
      if (event === "queued") said.textContent = `${job.label}: ${data.position ? `waits for ${counted(data.position, "other")}` : "starts"}`;
      if (event === "token") said.textContent = `${job.label}: ${counted(++tokens, "token")}`;
      if (event !== "progress") return;
      said.textContent = `${job.label}: ${data.stage}, ${data.done} of ${data.of}`;
      bar.max = data.of;
      bar.value = data.done;
    };
    const end = () => { clearTimeout(timer); row.remove(); };
    return { tell, end };
  };

  const submit = async (request, signal) => {
    const post = () => client.json("/api/jobs", { method: "POST", body: request, signal });
    try {
      return await post();
    } catch (error) {
      const entry = bench.entries.find((one) => one.id === request.text);
      if (error.status !== 404 || !entry) throw error;
      await flowtracer.register(entry); // the server has forgotten the text
      return post();
    }
  };

  // Resolves with the result; rejects with the error, whose `cancelled` is true where somebody cancelled.
  const run = async (label, request, onToken) => {
    const control = new AbortController();
    const job = { label, kind: request.kind, id: null };
    job.cancel = () => {
      if (job.id) client.ask(`/api/jobs/${job.id}`, { method: "DELETE" }).catch(() => {});
      control.abort(); // reading ends at once, whatever the model does
    };
    const row = showRow(job);
    running.push(job);
    bench.emit("jobs", running);
    let ending = null;
    try {
      job.id = (await submit(request, control.signal)).job;
      await read(job.id, control.signal, (event, data) => {
        row.tell(event, data);
        if (event === "token") onToken?.(data);
        if (["result", "error", "cancelled"].includes(event)) ending = [event, data];
      });
    } catch (error) {
      if (error.name === "AbortError") ending = ["cancelled", {}];
      else if (error.status || !(error instanceof TypeError)) throw error;
      else client.lost();
    } finally {
      row.end();
      running.splice(running.indexOf(job), 1);
      bench.emit("jobs", running);
    }
    if (ending?.[0] === "result") return ending[1];
    if (!ending) throw new Error("The connection to the server broke off; press the button again once it is back.");
    const failure = new Error(client.sentence(ending[1].message ?? "cancelled"));
    failure.cancelled = ending[0] === "cancelled";
    throw failure;
  };
  const cancel = (...kinds) => { for (const job of [...running]) if (!kinds.length || kinds.includes(job.kind)) job.cancel(); };
  return { run, cancel, running };
})();
