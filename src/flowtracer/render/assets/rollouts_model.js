"use strict";
// Rollouts, what their tokens were given, and which of them are asked for.
flowtracer.rolloutsModel = (data) => {
  const rollouts = data.rollouts;
  const steps = [...new Set(rollouts.map((one) => one.step))].sort((a, b) => (a ?? 0) - (b ?? 0));
  const has = (name) => rollouts.some((one) => one[name] !== undefined && one[name] !== null);

  const at = (list, i) => (list === undefined ? undefined : Array.isArray(list) ? list[i] : list);
  // name: what a menu says; of: the value of token i; zero: the neutral one; signed: whether there are two sides.
  const values = {
    product: { name: "weight × advantage", zero: 0, signed: true, there: has("a"), of: (one, i) => at(one.a, i), low: "less likely", high: "more likely" },
    weight: { name: "weight", zero: 1, signed: true, there: has("w"), of: (one, i) => at(one.w, i), low: "less than 1", high: "more than 1" },
    advantage: { name: "advantage", zero: 0, signed: true, there: has("advantage"), of: (one) => one.advantage ?? undefined, low: "worse than its group", high: "better than its group" },
    score: { name: data.scoreName, zero: 0, signed: false, there: has("s"), of: (one, i) => at(one.s, i), low: "", high: "" },
  };
  const other = new WeakMap(), answer = new WeakMap();
  const places = (cache, one, name) => {
    if (!cache.has(one)) cache.set(one, new Set(one[name] ?? []));
    return cache.get(one);
  };
  const level = (name, one, i) => {
    if (places(other, one, "other").has(i)) return 0;
    const value = values[name].of(one, i);
    return value === undefined ? 0 : Math.max(-1, Math.min(1, (value - values[name].zero) / data.scale[name]));
  };

  const text = (number) => data.vocabulary[number][1];
  const shown = (number) => data.vocabulary[number][2] ?? data.vocabulary[number][1];
  const id = (number) => data.vocabulary[number][0];
  const prompt = (one) => data.prompts[one.prompt];
  const joined = new Map();
  const searched = (one) => {
    if (!joined.has(one)) joined.set(one, `${prompt(one)[0]}\n${one.t.map(text).join("")}`.toLowerCase());
    return joined.get(one);
  };

  // Rewards to choose from: each where there are few, else quarters of their range.
  const distinct = [...new Set(rollouts.map((one) => one.reward).filter((reward) => reward !== null))].sort((a, b) => a - b);
  const number = (value) => (Number.isInteger(value) ? String(value) : Number(value.toPrecision(3)).toString());
  const rewardChoices = [{ name: "any", test: () => true }];
  if (distinct.length <= 8) {
    for (const reward of distinct) rewardChoices.push({ name: number(reward), test: (one) => one.reward === reward });
  } else {
    const edge = (n) => distinct[Math.round(((distinct.length - 1) * n) / 4)];
    for (let n = 0; n < 4; n++) {
      rewardChoices.push({ name: `${number(edge(n))} to ${number(edge(n + 1))}`, test: (one) => one.reward !== null && one.reward >= edge(n) && (n === 3 ? one.reward <= edge(4) : one.reward < edge(n + 1)) });
    }
  }
  if (rollouts.some((one) => one.reward === null) && distinct.length) rewardChoices.push({ name: "none", test: (one) => one.reward === null });
  if (has("advantage")) {
    rewardChoices.push({ name: "advantage above 0", test: (one) => one.advantage > 0 }, { name: "advantage below 0", test: (one) => one.advantage !== null && one.advantage < 0 });
  }

  const size = (one) => one.t.reduce((sum, _, i) => sum + Math.abs(values.product.of(one, i) ?? 0), 0) / Math.max(1, one.t.length);
  const falling = (key) => (a, b) => (key(b) ?? -Infinity) - (key(a) ?? -Infinity);
  const orders = {
    batch: { name: "as in the batch", by: (a, b) => a.row - b.row },
    reward: { name: "reward, highest first", by: falling((one) => one.reward) },
    low: { name: "reward, lowest first", by: (a, b) => (a.reward ?? Infinity) - (b.reward ?? Infinity) },
    advantage: { name: "advantage, highest first", by: falling((one) => one.advantage) },
    size: { name: "strongest signal first", by: falling(size) },
    length: { name: "longest first", by: falling((one) => one.tokens) },
    short: { name: "shortest first", by: (a, b) => a.tokens - b.tokens },
  };

  // What is asked for: {step, all, reward: number of the choice, answered, search, sort}.
  const chosen = (asked) => {
    const words = asked.search.toLowerCase();
    const found = rollouts.filter((one) =>
      (asked.all || one.step === asked.step) && rewardChoices[asked.reward].test(one) &&
      (!asked.answered || one.answered === (asked.answered === "yes")) && (!words || searched(one).includes(words)));
    return found.sort((a, b) => orders[asked.sort].by(a, b) || (a.step ?? 0) - (b.step ?? 0) || a.row - b.row);
  };
  return { data, rollouts, steps, values, level, text, shown, id, prompt, rewardChoices, orders, chosen, number, has,
    isOther: (one, i) => places(other, one, "other").has(i), isAnswer: (one, i) => places(answer, one, "answer").has(i) };
};
