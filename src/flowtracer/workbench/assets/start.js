"use strict";
// Everything is wired here, once; then the server says what it has, and the address what to open.
(async () => {
  const { bench, client, shelf } = flowtracer;
  const { byId } = bench;
  const theme = localStorage.getItem("flowtracer-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  for (const part of ["shortcuts", "modes", "ask", "tracing", "answerSpans", "hiding", "trials", "outcome", "compare", "tokenBar", "files", "address"]) flowtracer[part].start();

  const describe = (info) => {
    byId("model").textContent = `${info.model === "embedded" ? "the embedded Countdown model" : info.model}, ${info.layer_count} layers, on this machine`;
    byId("model").title = `${info.dtype}; flowtracer ${info.version}`;
  };
  const greet = () => {
    byId("welcome").hidden = bench.entries.length > 0;
    byId("looking").hidden = bench.entries.length > 0 || !bench.info.gallery.length;
    document.body.classList.toggle("started", bench.entries.length > 0);
  };
  bench.on("entries", greet);
  // The bar sticks to the top; what the view lets stick comes below it.
  new ResizeObserver(() => {
    const bar = byId("bar"), sticks = getComputedStyle(bar).position === "sticky";
    document.documentElement.style.setProperty("--tv-top", sticks ? `${bar.offsetHeight}px` : "0px");
  }).observe(byId("bar"));

  let info;
  for (;;) {
    try {
      info = await client.json("/api/info");
      break;
    } catch (error) {
      if (error.status) {
        byId("model").textContent = "";
        return bench.complain("file-error", error);
      }
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
  bench.info = info;
  describe(info);
  bench.emit("info", info);
  bench.on("back", () => {
    describe(bench.info);
    bench.emit("info", bench.info);
    if (bench.entry) flowtracer.tracing.showOptions(bench.entry);
  });
  shelf.restore();
  greet();
  const opened = await flowtracer.address.read();
  if (!opened && info.open) await flowtracer.files.take(info.open);
  else if (!opened && bench.entries.length) await shelf.open(bench.entries.at(-1));
  document.documentElement.dataset.ready = "yes";
  if (!bench.entries.length) byId("prompt").focus();
  return undefined;
})();
