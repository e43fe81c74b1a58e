"use strict";
// One colour scale for light and dark: weak fades into the paper, strong stands far from it.
flowtracer.isDark = () => {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
};

flowtracer.colours = (palette) => {
  const channels = palette.map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  const luminance = (rgb) => {
    const linear = rgb.map((c) => (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  // Background and ink of a strength in 0..1.
  const shade = (level, dark) => {
    const position = (dark ? level : 1 - level) * (channels.length - 1);
    const low = Math.min(Math.floor(position), channels.length - 2);
    const cover = Math.min(1, 0.12 + 1.1 * level);
    const mixed = channels[low].map((a, c) => {
      const colour = a + (channels[low + 1][c] - a) * (position - low);
      return Math.round(colour * cover + (dark ? 24 : 255) * (1 - cover));
    });
    return { fill: `rgb(${mixed})`, ink: luminance(mixed) > 0.179 ? "#000" : "#fff" };
  };
  const gradient = (dark) => {
    const stops = Array.from({ length: 11 }, (_, n) => shade(n / 10, dark).fill);
    return `linear-gradient(90deg, ${stops})`;
  };
  return { shade, gradient };
};
