"use strict";
// One rollout: its facts, its prompt and its tokens.
flowtracer.rolloutCard = (model, one, asked) => {
  const { make } = flowtracer.dom;
  const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${model.number(Math.abs(value))}`;
  const card = make("article", "card");
  card.tabIndex = 0;
  const facts = make("p", "facts");
  const fact = (name, value, className) => {
    const item = make("span", "", `${name} `);
    item.append(make("b", className ?? "", value));
    facts.append(item);
  };
  if (one.step !== null) fact("step", String(one.step));
  fact("row", String(one.row));
  if (one.reward !== null) fact("reward", model.number(one.reward));
  const named = Object.entries(one.rewards);
  if (named.length > 1 || (named.length === 1 && one.reward === null)) {
    for (const [name, value] of named) fact(name, value === null ? "none" : model.number(value));
  }
  if (one.advantage !== null) fact("advantage", signed(one.advantage), one.advantage > 0 ? "up" : one.advantage < 0 ? "down" : "");
  if (one.answered !== null) fact("answer", one.answered ? "found" : "not found", one.answered ? "" : "none");
  fact("tokens", one.tokens.toLocaleString("en"));
  card.setAttribute("aria-label", facts.textContent);
  card.append(facts);
  if (asked.prompts) {
    const [text, shown] = model.prompt(one);
    const box = make("div", "prompt", shown ?? text);
    box.tabIndex = 0;
    box.setAttribute("aria-label", "prompt");
    box.setAttribute("role", "region");
    card.append(box);
  }
  const box = make("div", "text");
  card.append(box);
  const text = flowtracer.rolloutText(model, one, box, asked.search.toLowerCase());

  const describe = (i) => {
    const number = one.t[i], token = model.id(number);
    const place = one.gap !== null && i >= one.gap ? i + one.tokens - one.t.length : i;
    const lines = [`${JSON.stringify(model.text(number))}   token ${place}${token === null ? "" : `, id ${token}`}`];
    for (const value of Object.values(model.values)) {
      const given = value.of(one, i);
      if (value.there && given !== undefined) lines.push(`${value.name} ${value.signed && value.zero === 0 ? signed(given) : model.number(given)}`);
    }
    if (model.isAnswer(one, i)) lines.push("part of the answer");
    if (model.isOther(one, i)) lines.push("not written by the policy");
    return lines.join("\n");
  };
  return { one, card, text, describe, chosen: -1 };
};
