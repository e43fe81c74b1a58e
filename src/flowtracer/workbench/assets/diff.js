"use strict";
// Which tokens two texts have in common, in order (longest common subsequence).
flowtracer.diff = (() => {
  const MOST = 20_000_000; // cells of the table, our choice: two texts of 4,400 tokens that share no end

  // For every token of a its partner in b, or -1.
  const partners = (a, b) => {
    const found = new Int32Array(a.length).fill(-1);
    let from = 0, endA = a.length, endB = b.length;
    while (from < endA && from < endB && a[from] === b[from]) found[from] = from++;
    while (endA > from && endB > from && a[endA - 1] === b[endB - 1]) found[--endA] = --endB;
    const rows = endA - from, columns = endB - from;
    if (!rows || !columns || rows * columns > MOST) return found;
    const width = columns + 1, longest = new Uint16Array((rows + 1) * width);
    for (let i = rows - 1; i >= 0; i--) {
      for (let j = columns - 1; j >= 0; j--) {
        longest[i * width + j] = a[from + i] === b[from + j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < rows && j < columns;) {
      if (a[from + i] === b[from + j]) found[from + i++] = from + j++;
      else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1]) i++;
      else j++;
    }
    return found;
  };
  const back = (found, count) => {
    const others = new Int32Array(count).fill(-1);
    found.forEach((j, i) => { if (j >= 0) others[j] = i; });
    return others;
  };
  return { partners, back };
})();
