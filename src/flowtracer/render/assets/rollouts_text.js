"use strict";
// The tokens of one rollout, coloured; a part at first of a long one.
flowtracer.rolloutText = (model, one, box, words) => {
  const { make, button, counted } = flowtracer.dom;
  const AT_FIRST = 1500; // tokens that are laid out before more is asked for
  const spans = new Array(one.t.length);
  const found = matches(words);

  function matches(search) {
    if (!search) return new Set();
    const starts = [], all = [];
    let length = 0;
    for (const number of one.t) {
      starts.push(length);
      const text = model.text(number).toLowerCase();
      all.push(text);
      length += text.length;
    }
    const joined = all.join(""), places = new Set();
    for (let from = joined.indexOf(search); from >= 0; from = joined.indexOf(search, from + search.length)) {
      const stop = from + search.length;
      // The tokens that the words overlap; starts rise, so the first one is found by halving.
      let low = 0, high = starts.length;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (starts[middle] <= from) low = middle; else high = middle;
      }
      for (let i = low; i < starts.length && starts[i] < stop; i++) places.add(i);
    }
    return places;
  }

  const add = (from, stop) => {
    const part = document.createDocumentFragment();
    for (let i = from; i < stop; i++) {
      if (one.gap === i) part.append(make("span", "gap", `\n… ${counted(one.tokens - one.t.length, "token")} left out …\n`));
      const text = model.shown(one.t[i]);
      if (text === "") continue; // the rest of a character that an earlier token shows
      const span = make("span", "t", text);
      span.dataset.i = i;
      if (model.isAnswer(one, i)) span.classList.add("answer");
      if (model.isOther(one, i)) span.classList.add("other");
      if (found.has(i)) span.classList.add("found");
      spans[i] = span;
      part.append(span);
    }
    box.append(part);
  };
  const paint = (name, dark) => {
    spans.forEach((span, i) => {
      if (!span) return;
      const { fill, ink } = flowtracer.diverging.shade(model.level(name, one, i), dark);
      span.style.background = fill;
      span.style.color = ink;
    });
  };
  add(0, Math.min(AT_FIRST, one.t.length));
  let more = null;
  if (one.t.length > AT_FIRST) {
    more = button(`Show all ${counted(one.t.length, "token")}`, "", () => {
      more.remove();
      add(AT_FIRST, one.t.length);
      box.dispatchEvent(new CustomEvent("grown", { bubbles: true }));
    });
    box.after(more);
  }
  // The next span from token i on, or back; tokens without a text of their own have none.
  const beside = (i, step) => {
    let next = i + step;
    while (next >= 0 && next < spans.length && !spans[next]) next += step;
    return spans[next] ? next : i;
  };
  return { spans, paint, beside };
};
