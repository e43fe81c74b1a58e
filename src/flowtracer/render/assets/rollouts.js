"use strict";
// The page of rollouts: its data is in the file.
(() => {
  const { make, counted } = flowtracer.dom;
  const byId = (id) => document.getElementById(id);
  const model = flowtracer.rolloutsModel(JSON.parse(byId("data").textContent));
  const MOST_CARDS = 64; // at a time
  let cards = [], current = 0, key = "";

  const show = () => {
    const asked = controls.asked();
    const { value, ...rest } = asked;
    if (JSON.stringify(rest) !== key) {
      key = JSON.stringify(rest);
      const found = model.chosen(asked);
      cards = found.slice(0, MOST_CARDS).map((one) => flowtracer.rolloutCard(model, one, asked));
      byId("cards").replaceChildren(...cards.map((card) => card.card));
      controls.status(cards.length, found.length);
      current = Math.min(current, Math.max(0, cards.length - 1));
    }
    paint();
  };
  const paint = () => {
    const { value } = controls.asked();
    for (const card of cards) card.text.paint(value, flowtracer.isDark());
    controls.legend();
  };
  const controls = flowtracer.rolloutsControls(model, show);

  // What a token was given, beside the pointer or the token that was chosen by keys.
  const tip = byId("tip");
  const explain = (card, i, x, y) => {
    tip.textContent = card.describe(i);
    tip.hidden = false;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 18, innerHeight - tip.offsetHeight - 8))}px`;
  };
  const cardOf = (node) => cards.find((card) => card.card === node?.closest?.(".card"));
  byId("cards").addEventListener("mousemove", (event) => {
    const card = cardOf(event.target), i = event.target.dataset?.i;
    if (card && i !== undefined) explain(card, Number(i), event.clientX, event.clientY);
    else tip.hidden = true;
  });
  byId("cards").addEventListener("mouseleave", () => { tip.hidden = true; });
  byId("cards").addEventListener("grown", paint);
  byId("cards").addEventListener("focusin", (event) => { current = Math.max(0, cards.indexOf(cardOf(event.target))); });
  addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

  const clear = () => {
    for (const node of document.querySelectorAll(".chosen")) node.classList.remove("chosen");
    tip.hidden = true;
  };
  const walk = (step) => {
    const card = cards[current];
    if (!card) return;
    clear();
    card.card.scrollIntoView({ block: "nearest" });
    card.chosen = card.text.beside(card.chosen, step);
    const span = card.text.spans[card.chosen];
    if (!span) return;
    span.classList.add("chosen");
    span.scrollIntoView({ block: "nearest" });
    const place = span.getBoundingClientRect();
    explain(card, card.chosen, place.left, place.bottom - 12);
  };
  const go = (number) => {
    if (!cards[number]) return;
    clear();
    current = number;
    cards[number].card.focus();
    cards[number].card.scrollIntoView({ block: "nearest" });
  };
  const keys = {
    ArrowLeft: () => controls.move(controls.at() - 1), ArrowRight: () => controls.move(controls.at() + 1),
    Home: () => controls.move(0), End: () => controls.move(model.steps.length - 1),
    ArrowUp: () => go(current - 1), ArrowDown: () => go(document.activeElement?.closest?.(".card") ? current + 1 : current),
    ",": () => walk(-1), ".": () => walk(1), p: () => controls.toggle("prompts"), a: () => controls.toggle("all"),
    "/": () => byId("search").focus(), Escape: clear,
    1: () => controls.choose(0), 2: () => controls.choose(1), 3: () => controls.choose(2), 4: () => controls.choose(3),
  };
  document.addEventListener("keydown", (event) => {
    if (byId("help").open || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input[type=search], select")) {
      if (event.key === "Escape" || event.key === "Enter") event.target.blur();
      return;
    }
    if (event.key === "?") return byId("help").showModal();
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = flowtracer.isDark() ? "light" : "dark";
    paint();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);

  const of = model.steps.length > 1 || model.steps[0] !== null ? ` of ${counted(model.steps.length, "step")}` : "";
  byId("made").textContent = `${model.data.title}: ${counted(model.rollouts.length, "rollout")}${of}`;
  byId("notes").append(...model.data.notes.map((note) => make("p", "", note)));
  show();
  document.documentElement.dataset.ready = "yes";
})();
