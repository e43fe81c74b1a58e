"use strict";
// A picture of the prompt: a map of its patches, each a piece of the text, over the picture in grey.
flowtracer.picture = (view, picture, number) => {
  const { make, percent } = flowtracer.dom;
  const { data } = view.model;
  const name = data.pictures.length === 1 ? "Picture" : `Picture ${number + 1}`;
  const all = data.regions.reduce((sum, region) => sum + region.tokens, 0) || 1;
  const ratios = `${percent(picture.flow)} of the flow on ${percent(picture.tokens / all)} of the tokens`;
  const box = make("div", "tv-picture"), map = make("div", "tv-map");
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${name}: ${ratios}`);
  map.style.gridTemplateColumns = `repeat(${picture.columns}, minmax(0, 1fr))`;
  map.style.gridTemplateRows = `repeat(${picture.rows}, minmax(0, 1fr))`;
  const known = picture.width > 0 && picture.height > 0 && picture.rows > 1;
  // Very narrow pictures are stretched, or their patches could neither be seen nor clicked.
  const aspect = known ? Math.min(8, Math.max(1 / 8, picture.width / picture.height)) : picture.columns / Math.max(picture.rows, picture.columns / 24);
  map.style.aspectRatio = `${aspect}`;
  if (known) map.style.width = `min(100%, ${Math.round(360 * Math.min(1, aspect))}px)`;
  const image = (className, alt) => {
    const node = make("img", className);
    node.src = picture.thumbnail;
    node.alt = alt;
    return node;
  };
  const note = make("p");
  note.append(make("b", "", name), `, ${picture.rows} by ${picture.columns} patches: ${ratios}.`);
  if (picture.dropped) note.append(` ${percent(picture.dropped)} of its tokens' attention goes to later ones of the picture and is not part of the flow.`);
  box.append(map);
  if (picture.thumbnail) {
    map.append(image("tv-under", ""));
    box.append(image("tv-original", name));
  }
  box.append(note);
  return { box, map };
};
