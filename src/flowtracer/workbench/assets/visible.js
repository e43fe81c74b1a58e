"use strict";
// Text in which every character can be seen, and harms nothing around it; as render/visible.py does it.
flowtracer.visible = (() => {
  const marks = { "\n": "⏎\n", "\r": "␍", "\t": "⇥\t", "\x7f": "␡" };
  const mark = (sign) => {
    if (marks[sign]) return marks[sign];
    if (sign < " ") return String.fromCharCode(0x2400 + sign.charCodeAt(0));
    return `‹U+${sign.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}›`;
  };
  return (text) => text.replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, (sign) => (sign === "\u200d" && text.length > 1 ? sign : mark(sign)));
})();
flowtracer.oneLine = (text, most = 80) => {
  const line = flowtracer.visible(text).replaceAll("⏎\n", "⏎").replaceAll("⇥\t", "⇥");
  if (line !== "" && line.trim() === "") return "␣".repeat(Math.min(most, line.length));
  return line.length > most ? `${line.slice(0, most - 1)}…` : line || "∅";
};
