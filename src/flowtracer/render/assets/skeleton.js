"use strict";
// The empty boxes of a view. No text of a trace ever comes here.
flowtracer.skeleton = `
<section class="tv-summary" aria-label="Answer and flow by region">
  <div class="tv-answer">
    <h2>Answer</h2>
    <p><span class="tv-answer-text"></span> <span class="tv-verdict"></span></p>
    <p class="tv-found"></p>
  </div>
  <div class="tv-regions"></div>
</section>
<section class="tv-overview" aria-label="Overview by position">
  <div class="tv-controls">
    <label>Score <select class="tv-scorer"></select></label>
    <label>Underline <select class="tv-end"><option value="top">the top 40%</option><option value="bottom">the bottom 40%</option></select></label>
    <label>Arcs <input class="tv-ratio" type="range" min="0" max="100" value="50" aria-label="How much of the flow the arcs show"> <output class="tv-ratio-out"></output></label>
  </div>
  <svg class="tv-arcs" role="img" aria-label="Arcs of the strongest edges over the positions of the text"></svg>
  <canvas class="tv-strip" role="img" aria-label="Score by position; click to go there"></canvas>
  <details class="tv-layers"><summary>Layer by layer</summary>
    <canvas role="img" aria-label="Throughput by layer and position; click to go there"></canvas>
    <p class="tv-layers-note"></p>
  </details>
  <p class="tv-legend">
    <span class="tv-scale-box"><span class="tv-scale-low"></span><span class="tv-scale"></span><span class="tv-scale-high"></span></span>
    <span class="tv-keys"><span class="tv-key role-t">template</span> <span class="tv-key role-u">user</span> <span class="tv-key role-a">answer</span> <span class="tv-key chosen"></span> <span class="tv-key hub">hub</span></span>
  </p>
</section>
<div class="tv-body">
  <div class="tv-main">
    <div class="tv-text" tabindex="0" role="application" aria-label="Traced text; arrow keys move from token to token, h goes to the next hub"></div>
    <svg class="tv-links" aria-hidden="true"></svg>
  </div>
  <div class="tv-side">
    <section class="tv-detail" aria-live="polite" aria-label="Selected token"></section>
    <section><h2>Hubs</h2><p class="tv-hubs-note"></p><ol class="tv-hubs" tabindex="0" aria-label="Hubs"></ol></section>
    <section><h2>Strongest routes</h2><p class="tv-routes-note"></p><ol class="tv-routes"></ol></section>
    <section><h2>Made with</h2><dl class="tv-meta"></dl></section>
  </div>
</div>`;
