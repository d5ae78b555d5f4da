"use strict";
// The controls of the interactive phase diagram: reads them, asks law.js, draws.

(() => {
  const { spectrum, weights, law, logHfcLfc } = globalThis.linsimLaw;
  const el = (id) => document.getElementById(id);
  const RE = [-5, 3], IM = [0, 3];
  const plane = el("plane"), path = el("path");
  // ends and middle of the map PuOr: smoothing, a tie, sharpening
  const ENDS = { smoothing: [179, 88, 6], balanced: [247, 247, 247], sharpening: [106, 79, 163] };

  function state() {
    return {
      re: +el("re").value, im: +el("im").value, second: +el("second").value,
      lowest: +el("lowest").value, n: +el("n").value, depth: +el("depth").value,
    };
  }

  function shade(margin) {
    const end = margin > 0 ? ENDS.smoothing : ENDS.sharpening;
    const t = Math.min(1, Math.abs(margin) / 0.6) ** 0.6;
    return ENDS.balanced.map((x, k) => Math.round(x + (end[k] - x) * t));
  }

  let painted = "";
  function paint(s) {
    // the plane depends on the attention and the second eigenvalue alone
    const key = [s.lowest, s.n, s.second].join();
    if (key === painted) return;
    painted = key;
    const w = plane.width, h = plane.height, ctx = plane.getContext("2d");
    const picture = ctx.createImageData(w, h), ends = spectrum(s.n, s.lowest);
    // moduli are convex in lambda: of the eigenvalues beside 1 only the lowest and the largest can lead
    const lambdas = [1, ...new Set([s.lowest, ends[ends.length - 1]])];
    const step = 2; // pixels a cell
    for (let y = 0; y < h; y += step) {
      for (let x = 0; x < w; x += step) {
        const re = RE[0] + ((x + step / 2) / w) * (RE[1] - RE[0]);
        const im = IM[1] - ((y + step / 2) / h) * (IM[1] - IM[0]);
        const rgb = shade(law(lambdas, weights(re, im, s.second)).margin);
        for (let a = 0; a < step; a++) for (let b = 0; b < step; b++) {
          const at = 4 * ((y + b) * w + x + a);
          picture.data.set([...rgb, 255], at);
        }
      }
    }
    ctx.putImageData(picture, 0, 0);
    // the disk in which the lowest eigenvalue beats the constant mode, for this mu alone
    const radius = 1 / (1 + s.lowest);
    const px = (re) => ((re - RE[0]) / (RE[1] - RE[0])) * w, py = (im) => h - (im / IM[1]) * h;
    ctx.strokeStyle = "#000";
    ctx.lineWidth = 2;
    ctx.beginPath();
    ctx.ellipse(px(-radius), py(0), (radius / (RE[1] - RE[0])) * w, (radius / IM[1]) * h, 0, Math.PI, 2 * Math.PI);
    ctx.stroke();
  }

  const short = (x) => (x === 0 ? "0" : Math.abs(x) >= 1e-3 && Math.abs(x) < 1e5 ? x.toPrecision(5) : x.toExponential(3));

  function put(id, text, value) {
    el(id).textContent = text;
    el(id).dataset.value = String(value); // all digits
  }

  function trajectory(lambdas, mus, depth) {
    const count = Math.min(depth, 120);
    const layers = Array.from({ length: count + 1 }, (_, k) => Math.round((k * depth) / count));
    const values = logHfcLfc(lambdas, mus, layers).map((x) => x / Math.LN10);
    const shown = values.filter(Number.isFinite);
    let low = Math.min(0, ...shown), high = Math.max(0, ...shown);
    if (high - low < 1) high = low + 1;
    const x = (l) => 44 + (l / depth) * 346, y = (v) => 10 + ((high - v) / (high - low)) * 150;
    const points = layers.map((l, k) => [l, values[k]]).filter(([, v]) => Number.isFinite(v));
    path.querySelector("polyline").setAttribute("points", points.map(([l, v]) => `${x(l).toFixed(1)},${y(v).toFixed(1)}`).join(" "));
    path.querySelector(".zero").setAttribute("d", `M44 ${y(0).toFixed(1)}H390`);
    const label = (name, text, at) => {
      const node = path.querySelector(name);
      node.textContent = text;
      node.setAttribute("y", String(at));
    };
    label(".top", high.toFixed(0), 14);
    label(".bottom", low.toFixed(0), 160);
    path.querySelector(".deep").textContent = String(depth);
    return values[values.length - 1] * Math.LN10;
  }

  function show() {
    const s = state(), lambdas = spectrum(s.n, s.lowest), mus = weights(s.re, s.im, s.second);
    for (const id of ["re", "im", "second", "lowest", "n", "depth"]) el(`${id}-value`).textContent = el(id).value;
    const found = law(lambdas, mus);
    put("regime", found.regime, found.regime);
    el("regime").className = found.regime;
    put("margin", short(found.margin), found.margin);
    put("limit-rank", String(found.limit_rank), found.limit_rank);
    for (const gap of ["token_diversity", "cosine_gap", "rank_gap"]) {
      const rate = found.rates[gap];
      put(`rate-${gap}`, rate === 1 ? "does not close" : `× ${short(rate)}`, rate);
    }
    const end = trajectory(lambdas, mus, s.depth);
    put("hfc-lfc", Number.isFinite(end) ? `10^${(end / Math.LN10).toFixed(2)}` : end < 0 ? "0" : "∞", end);
    paint(s);
    const handle = el("handle");
    handle.style.left = `${((s.re - RE[0]) / (RE[1] - RE[0])) * 100}%`;
    handle.style.top = `${(1 - s.im / IM[1]) * 100}%`;
  }

  function drag(event) {
    const box = plane.getBoundingClientRect();
    const at = (value, low, high, step) => Math.min(high, Math.max(low, Math.round(value / step) * step)).toFixed(2);
    el("re").value = at(RE[0] + ((event.clientX - box.left) / box.width) * (RE[1] - RE[0]), ...RE, 0.01);
    el("im").value = at(IM[1] * (1 - (event.clientY - box.top) / box.height), ...IM, 0.01);
    show();
  }

  for (const input of document.querySelectorAll("#explore input")) input.addEventListener("input", show);
  plane.parentElement.addEventListener("pointerdown", (event) => {
    plane.parentElement.setPointerCapture(event.pointerId);
    drag(event);
  });
  plane.parentElement.addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
  // what is folded would not be printed
  addEventListener("beforeprint", () => { for (const fold of document.querySelectorAll("details")) fold.open = true; });
  show();
})();
