"use strict";
// A diverging scale for light and dark: blue above zero, orange below, the paper itself at zero. Blue and
// orange stay apart with every kind of colour-vision deficiency.
flowtracer.diverging = (() => {
  const ends = {
    light: { paper: [255, 255, 255], up: [23, 98, 184], down: [201, 84, 0] },
    dark: { paper: [20, 22, 26], up: [96, 170, 250], down: [255, 150, 70] },
  };
  const luminance = (rgb) => {
    const linear = rgb.map((c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  // Background and ink of a level in -1..1; 0 has none.
  const shade = (level, dark) => {
    const { paper, up, down } = ends[dark ? "dark" : "light"];
    const strength = Math.min(1, Math.abs(level));
    const end = level < 0 ? down : up;
    const mixed = paper.map((c, i) => Math.round(c + (end[i] - c) * strength));
    return { fill: strength === 0 ? "" : `rgb(${mixed})`, ink: strength === 0 ? "" : luminance(mixed) > 0.179 ? "#000" : "#fff" };
  };
  const gradient = (dark, from) => {
    const stops = Array.from({ length: 21 }, (_, n) => shade(from + ((1 - from) * n) / 20, dark).fill || `rgb(${ends[dark ? "dark" : "light"].paper})`);
    return `linear-gradient(90deg, ${stops})`;
  };
  return { shade, gradient };
})();
