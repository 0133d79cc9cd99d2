// What all pages share: the data, elements, numbers as text, colours, the theme, tooltips.
const P = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const el = (name, attributes = {}, ...children) => {
  const e = document.createElement(name);
  for (const k in attributes) if (k.startsWith("on")) e.addEventListener(k.slice(2), attributes[k]); else if (attributes[k] !== null) e.setAttribute(k, attributes[k]);
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
};
const NS = "http://www.w3.org/2000/svg";
const make = (name, attributes = {}, parent = null, text = null) => {
  const e = document.createElementNS(NS, name);
  for (const k in attributes) e.setAttribute(k, attributes[k]);
  if (text !== null) e.textContent = text;
  if (parent) parent.appendChild(e);
  return e;
};

// --- numbers as text
const time = s => s >= 1 ? s.toPrecision(3) + " s" : s >= 1e-3 ? (s * 1e3).toPrecision(3) + " ms"
  : s >= 1e-6 ? (s * 1e6).toPrecision(3) + " µs" : (s * 1e9).toFixed(0) + " ns";
const bytes = n => n >= 1e9 ? (n / 1e9).toFixed(2) + " GB" : n >= 1e6 ? (n / 1e6).toFixed(2) + " MB" : n >= 1e3 ? (n / 1e3).toFixed(1) + " kB" : n + " B";
const count = n => n >= 1e9 ? (n / 1e9).toFixed(2) + " G" : n >= 1e6 ? (n / 1e6).toFixed(2) + " M" : n >= 1e4 ? (n / 1e3).toFixed(1) + " k" : "" + n;
const percent = x => (x * 100).toFixed(x < .0995 ? 1 : 0) + " %";
const many = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
const cut = (text, n) => text.length > n ? text.slice(0, n - 1) + "…" : text;
const tile = (value, label) => $("tiles").append(el("div", { class: "tile" }, el("b", {}, value), el("span", {}, label)));
const words = text => text.toLowerCase().split(/\s+/).filter(Boolean);

// --- colours
const probe = document.body.appendChild(el("i", { style: "display:none" }));
let known = new Map();
const css = name => { if (!known.has(name)) { probe.style.color = `var(${name})`; known.set(name, getComputedStyle(probe).color); } return known.get(name); };
const rgb = c => `rgb(${c.join(",")})`;
const parts = name => css(name).match(/[\d.]+/g).slice(0, 3).map(Number);
const inkOn = c => (c[0] * .299 + c[1] * .587 + c[2] * .114) > 140 ? "#18202c" : "#ffffff";
const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
const STOPS = { true: [[34, 45, 63], [58, 88, 150], [150, 90, 160], [233, 96, 84], [255, 196, 110]], false: [[238, 242, 248], [178, 205, 240], [250, 206, 140], [240, 130, 90], [200, 45, 50]] };
const ramp = t => {
  const stops = STOPS[dark()], x = Math.min(Math.max(t, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2), f = x - i;
  return stops[i].map((c, j) => Math.round(c + (stops[i + 1][j] - c) * f));
};
// Hues that people with the common kinds of colour blindness tell apart, softened for what is behind text.
const HUES = [[68, 119, 170], [238, 136, 102], [34, 136, 51], [204, 187, 68], [102, 204, 238], [170, 51, 119], [187, 187, 187], [153, 153, 51], [136, 34, 85], [68, 170, 153]];
const soften = c => c.map(v => Math.round(dark() ? v * .62 + 12 : v * .55 + 255 * .45));
const hue = i => soften(HUES[i % HUES.length]);
function rampLegend(box, low, high, shade) {
  const c = el("canvas", { width: 90, height: 9 }), x = c.getContext("2d");
  for (let i = 0; i < 90; i++) { x.fillStyle = rgb(ramp(shade(i / 89))); x.fillRect(i, 0, 1, 9); }
  box.append(low, c, high);
}
const dotLegend = (box, colour, text) => { const d = el("span", { class: "dot" }); d.style.background = colour; box.append(el("span", {}, d, text)); };

// --- the theme
const repaints = [];
const repaint = () => { known = new Map(); repaints.forEach(f => f()); };
function switchTheme() { document.documentElement.dataset.theme = dark() ? "light" : "dark"; repaint(); }
$("theme").addEventListener("click", switchTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
const typing = ev => ["INPUT", "SELECT", "TEXTAREA"].includes(ev.target.tagName);

// --- tooltips
function tell(ev, text) {
  const t = $("tip");
  t.style.display = text ? "block" : "none"; if (!text) return;
  t.textContent = text;
  t.style.left = Math.max(Math.min(ev.clientX + 14, innerWidth - t.offsetWidth - 8), 4) + "px"; t.style.top = Math.max(Math.min(ev.clientY + 14, innerHeight - t.offsetHeight - 8), 4) + "px";
}
function tipped(e, text) {
  e.addEventListener("pointermove", ev => tell(ev, typeof text === "function" ? text(ev) : text));
  e.addEventListener("pointerleave", () => $("tip").style.display = "none");
}

// --- drawing
// A canvas that fills its place at the screen's resolution: its 2d context, in units of the page.
function sized(canvas) {
  const scale = devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight, x = canvas.getContext("2d");
  if (canvas.width !== Math.round(w * scale) || canvas.height !== Math.round(h * scale)) { canvas.width = Math.round(w * scale); canvas.height = Math.round(h * scale); }
  x.setTransform(scale, 0, 0, scale, 0, 0); x.clearRect(0, 0, w, h);
  return [x, w, h];
}
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
