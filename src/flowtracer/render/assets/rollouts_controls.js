"use strict";
// Menus, slider and legend: what is asked for, and how it is coloured.
flowtracer.rolloutsControls = (model, changed) => {
  const { make, counted } = flowtracer.dom;
  const byId = (id) => document.getElementById(id);
  const colours = Object.entries(model.values).filter(([, value]) => value.there);
  const fill = (id, entries) => {
    for (const [value, name] of entries) {
      const option = make("option", "", name);
      option.value = value;
      byId(id).append(option);
    }
    byId(id).parentElement.hidden = entries.length < 2;
  };
  fill("value", colours.map(([key, value]) => [key, value.name]));
  fill("reward", model.rewardChoices.map((choice, n) => [n, choice.name]));
  fill("sort", Object.entries(model.orders).filter(([key]) => model.has("reward") || !["reward", "low"].includes(key)).map(([key, order]) => [key, order.name]));
  byId("answered").parentElement.hidden = !model.has("answered");

  const slider = byId("slider");
  slider.max = model.steps.length - 1;
  // The step is in the address, so that it can be passed on.
  slider.value = Math.max(0, model.steps.indexOf(Number(/^#step=(\d+)$/.exec(location.hash)?.[1])));
  const keep = (step) => {
    try {
      history.replaceState(null, "", step === null ? "#" : `#step=${step}`);
    } catch { /* a frame without an address of its own */ }
  };
  byId("steps").hidden = model.steps.length < 2 && model.steps[0] === null;
  byId("all").parentElement.hidden = model.steps.length < 2;

  const asked = () => ({
    step: model.steps[slider.value], all: byId("all").checked, reward: Number(byId("reward").value),
    answered: byId("answered").value, search: byId("search").value, sort: byId("sort").value || "batch",
    value: byId("value").value || "product", prompts: byId("prompts").checked,
  });
  const legend = () => {
    const { value } = asked();
    const { name, zero, signed, low, high } = model.values[value];
    const full = model.data.scale[value], dark = flowtracer.isDark();
    byId("scale").style.background = flowtracer.diverging.gradient(dark, signed ? -1 : 0);
    byId("scale").setAttribute("aria-label", `Colour scale of ${name}`);
    byId("low").textContent = signed ? `${zero === 1 ? model.number(Math.max(0, 1 - full)) : `−${model.number(full)}`} ${low}` : "0";
    byId("high").textContent = `${zero === 1 ? model.number(1 + full) : `${signed ? "+" : ""}${model.number(full)}`} ${high}`;
    byId("meaning").textContent = signed ? `${name}; no colour at ${zero}` : name;
  };
  const status = (shown, found) => {
    const { all, step } = asked();
    slider.disabled = all;
    keep(step ?? null);
    const at = Number(slider.value);
    const said = step === null ? "" : `step ${step} (${at + 1} of ${model.steps.length})`;
    byId("step").textContent = all ? "all steps" : said;
    slider.setAttribute("aria-valuetext", said);
    byId("previous").disabled = all || at === 0;
    byId("next").disabled = all || at === model.steps.length - 1;
    byId("count").textContent = shown < found ? `${shown} of ${counted(found, "rollout")} are shown; filter or search to see others` : found ? counted(found, "rollout") : "No rollout fits the filters.";
  };
  const move = (step) => {
    if (slider.disabled) return;
    slider.value = step;
    changed();
  };
  byId("previous").addEventListener("click", () => move(Number(slider.value) - 1));
  byId("next").addEventListener("click", () => move(Number(slider.value) + 1));
  for (const id of ["slider", "value", "reward", "answered", "sort", "search", "all", "prompts"]) byId(id).addEventListener("input", changed);
  const choose = (number) => {
    if (!colours[number]) return;
    byId("value").value = colours[number][0];
    changed();
  };
  const toggle = (id) => {
    if (byId(id).parentElement.hidden) return;
    byId(id).checked = !byId(id).checked;
    changed();
  };
  return { asked, legend, status, move, choose, toggle, at: () => Number(slider.value) };
};
