const K = P.kernels, G = P.graph;
const byCall = G.map(() => []);
K.forEach((k, i) => byCall[k.call].push(i));
const callTime = byCall.map(list => list.reduce((s, i) => s + K[i].seconds, 0));
const worst = Math.max(...callTime, 1e-12), most = Math.max(...G.map(n => n.nbytes), 1);
let chosen = null;  // a call

// --- colours
const reached = call => {
  const list = byCall[call].filter(i => K[i].of_roofline !== null), all = list.reduce((s, i) => s + K[i].seconds, 0);
  return all ? list.reduce((s, i) => s + K[i].of_roofline * K[i].seconds, 0) / all : null;
};
const colour = {
  time: i => ramp(Math.sqrt(callTime[i] / worst)),
  roofline: i => { const r = reached(i); return r === null ? ramp(0) : ramp(1 - Math.min(r, 1)); },
  kind: i => byCall[i].length || G[i].kind === "python" ? parts(G[i].kind === "native" ? "--native" : "--python") : ramp(0),
  memory: i => ramp(Math.sqrt(G[i].nbytes / most)),
};
const legends = { time: ["0", time(worst)], roofline: ["at the roof", "far below"], memory: ["0", bytes(most)], kind: null };

// --- head
const file = P.model.split("/").pop();
document.title = `${file}: RONN profile`;
$("title").textContent = file;
$("about").textContent = `${P.signature} · ${P.threads} thread${P.threads > 1 ? "s" : ""} · ${P.machine.name || ""} · RONN ${P.ronn}`;
const whole = Math.max(P.accounted_seconds, 1e-12), busy = P.seconds > 1.3 * whole;
tile(time(P.seconds), `a run, median of ${P.runs}; ${time(P.fastest_seconds)} at best` + (busy ? ": the machine was busy with other things" : ""));
tile(percent(P.native_seconds / whole), `in native kernels: ${time(P.native_seconds)}`);
tile(time(P.function_seconds), "in functions called from Python");
tile(time(P.python_seconds), "Python around them");
tile(P.gflops.toFixed(1) + " GFLOP/s", P.ceilings ? percent(P.gflops * 1e9 / P.ceilings.flops) + " of the measured peak" : "over the whole run");
if (P.ceilings) tile((P.ceilings.flops / 1e9).toFixed(0) + " GFLOP/s", `peak; memory ${(P.ceilings.memory / 1e9).toFixed(1)} GB/s, caches ${(P.ceilings.cache / 1e9).toFixed(0)} GB/s`);
[["--native", P.native_seconds, "native kernels"], ["--python", P.function_seconds, "functions called from Python"], ["--overhead", P.python_seconds, "Python around them"]].forEach(([c, s, what]) => {
  const i = document.createElement("i"); i.style.background = `var(${c})`; i.style.width = 100 * s / whole + "%"; tipped(i, `${what}: ${time(s)}`); $("split").append(i);
});

// --- graph
const graph = new GraphView($("graph"), "Graph of the plan", {
  tip: i => `${G[i].label} · ${G[i].ops} · ${callTime[i] ? time(callTime[i]) : "no kernel: an alias, or made ahead"}`,
  chosen: i => i === null || select(i),
});
graph.style = i => ({ fill: colour[$("colour").value](i) });
function paint() {
  const how = $("colour").value, box = $("legend"); box.textContent = "";
  if (legends[how]) rampLegend(box, ...legends[how], how === "roofline" ? t => t : Math.sqrt);
  else for (const [k, t] of [["--native", "native"], ["--python", "Python"]]) dotLegend(box, `var(${k})`, t);
  graph.draw();
}
$("count").textContent = `${many(G.length, "call")}, ${many(K.length, "kernel")}`;
$("colour").addEventListener("change", paint);
$("fit").addEventListener("click", () => graph.fit(true));
graph.show(G.map((n, i) => ({ title: n.ops, sub: n.signature, right: callTime[i] ? time(callTime[i]) : "", inputs: n.inputs })));

// --- roofline
const roof = $("roofline"), R = { l: 52, r: 14, t: 16, b: 40, w: 560, h: 372 };
const dots = new Map();
(function () {
  const points = K.map((k, i) => ({ i, x: k.nbytes ? k.flops / k.nbytes : 0, y: k.gflops })).filter(p => p.x > 0 && p.y > 0);
  if (!P.ceilings || !points.length) { make("text", { x: 280, y: 180, "text-anchor": "middle", class: "soft" }, roof, "no kernel says what it does, or no ceilings are known"); return; }
  const c = P.ceilings, peak = c.flops / 1e9;
  const x0 = Math.floor(Math.log10(Math.min(...points.map(p => p.x), .1))), x1 = Math.ceil(Math.log10(Math.max(...points.map(p => p.x), 2 * c.flops / c.memory)));
  const y0 = Math.floor(Math.log10(Math.max(Math.min(...points.map(p => p.y), peak / 100), peak / 1e5))), y1 = Math.log10(Math.max(peak * 1.7, Math.max(...points.map(p => p.y)) * 1.3));
  const X = v => R.l + (Math.log10(v) - x0) / (x1 - x0) * (R.w - R.l - R.r), Y = v => R.t + (y1 - Math.log10(v)) / (y1 - y0) * (R.h - R.t - R.b);
  const axis = make("g", { class: "axis" }, roof);
  for (let e = x0; e <= x1; e++) { make("line", { x1: X(10 ** e), x2: X(10 ** e), y1: R.t, y2: R.h - R.b }, axis); make("text", { x: X(10 ** e), y: R.h - R.b + 15, "text-anchor": "middle" }, axis, 10 ** e); }
  for (let e = y0; e <= y1; e++) { make("line", { x1: R.l, x2: R.w - R.r, y1: Y(10 ** e), y2: Y(10 ** e) }, axis); make("text", { x: R.l - 7, y: Y(10 ** e) + 4, "text-anchor": "end" }, axis, 10 ** e); }
  make("text", { x: (R.l + R.w) / 2, y: R.h - 8, "text-anchor": "middle" }, axis, "operations a byte");
  make("text", { transform: `translate(13,${R.h / 2 - 10}) rotate(-90)`, "text-anchor": "middle" }, axis, "GFLOP/s");
  const clip = make("clipPath", { id: "inside" }, make("defs", {}, roof)); make("rect", { x: R.l, y: R.t - 6, width: R.w - R.l - R.r, height: R.h - R.t - R.b + 6 }, clip);
  const inside = make("g", { "clip-path": "url(#inside)" }, roof);
  for (const [speed, dash, label] of [[c.memory, "", "memory"], [c.cache, "5 4", "caches"]]) {
    const bend = c.flops / speed, low = 10 ** x0;
    make("path", { class: "roof", "stroke-dasharray": dash, d: `M${X(low)},${Y(low * speed / 1e9)} L${X(bend)},${Y(peak)} L${X(10 ** x1)},${Y(peak)}` }, inside);
    const at = Math.max(bend / 12, low * 1.3), slope = Math.atan2(Y(at * 2 * speed / 1e9) - Y(at * speed / 1e9), X(at * 2) - X(at)) * 180 / Math.PI;
    if (at * speed / 1e9 > 10 ** y0) make("text", { class: "soft", transform: `translate(${X(at)},${Y(at * speed / 1e9) - 6}) rotate(${slope})`, style: "fill:var(--soft)" }, inside, `${label} ${(speed / 1e9).toFixed(0)} GB/s`);
  }
  make("text", { x: R.w - R.r - 4, y: Y(peak) - 7, "text-anchor": "end", style: "fill:var(--soft)" }, roof, `peak ${peak.toFixed(0)} GFLOP/s`);
  points.sort((a, b) => K[b.i].seconds - K[a.i].seconds).forEach(p => {
    const k = K[p.i], r = 3 + 17 * Math.sqrt(k.seconds / whole);
    const e = make("circle", { cx: X(p.x), cy: Math.min(Y(p.y), R.h - R.b), r, fill: `var(--${k.kind})` }, inside);
    e.addEventListener("click", () => choose(k.call, true));
    tipped(e, `${k.name} · ${k.node} · ${k.gflops.toFixed(1)} GFLOP/s, ${k.gbytes.toFixed(1)} GB/s · ${time(k.seconds)}`);
    if (!dots.has(k.call)) dots.set(k.call, []); dots.get(k.call).push(e);
  });
  $("roofnote").textContent = "area: time";
})();

// --- timeline
const line = $("timeline"), total = Math.max(...P.spans.map(s => s[1] + s[2]), 1e-9);
let range = [0, total];
const laneOf = k => K[k].kind === "native" ? 0 : 1;
function drawTimeline() {
  line.textContent = "";
  const w = line.clientWidth, left = 74, X = t => left + (t - range[0]) / (range[1] - range[0]) * (w - left - 28);
  const axis = make("g", { class: "axis" }, line), step = [1, 2, 5, 10].map(m => m * 10 ** Math.floor(Math.log10((range[1] - range[0]) / 6))).find(s => (range[1] - range[0]) / s <= 9) || (range[1] - range[0]) / 6;
  for (let t = Math.ceil(range[0] / step) * step; t <= range[1]; t += step) { make("line", { x1: X(t), x2: X(t), y1: 8, y2: 106 }, axis); make("text", { x: X(t), y: 122, "text-anchor": "middle" }, axis, t ? time(t) : "0"); }
  ["native", "Python"].forEach((name, i) => make("text", { x: 12, y: 38 + i * 48, style: "fill:var(--soft)" }, line, name));
  for (const [k, start, seconds] of P.spans) {
    if (start + seconds < range[0] || start > range[1]) continue;
    const a = Math.max(X(start), left), b = Math.min(X(start + seconds), w - 28), i = K[k].call, c = colour.time(i), y = 14 + laneOf(k) * 48;
    const r = make("rect", { x: a, y, width: Math.max(b - a, .6), height: 38, rx: b - a > 6 ? 3 : 0, fill: rgb(c), stroke: dark() ? "none" : "rgba(20,30,50,.14)", "data-call": i }, line);
    if (i === chosen) r.classList.add("chosen");
    r.addEventListener("click", () => choose(i, true));
    tipped(r, `${K[k].name} · ${K[k].node} · ${time(seconds)}`);
    if (b - a > 34) { const t = make("text", { x: a + 5, y: y + 23, "pointer-events": "none", style: `fill:${inkOn(c)}` }, line, cut(K[k].ops, Math.floor((b - a - 8) / 6.2))); void t; }
  }
}
line.addEventListener("wheel", ev => { ev.preventDefault(); const r = line.getBoundingClientRect(), f = (ev.clientX - r.left - 74) / (r.width - 102), t = range[0] + f * (range[1] - range[0]), z = Math.exp(ev.deltaY * .0016);
  const a = Math.max(t - (t - range[0]) * z, 0), b = Math.min(t + (range[1] - t) * z, total); if (b - a > 1e-8) { range = [a, b]; drawTimeline(); } }, { passive: false });
let slide = null;
line.addEventListener("pointerdown", ev => slide = { x: ev.clientX, range: [...range] });
addEventListener("pointermove", ev => { if (!slide) return; const d = (slide.x - ev.clientX) / (line.clientWidth - 102) * (slide.range[1] - slide.range[0]), s = Math.min(Math.max(d, -slide.range[0]), total - slide.range[1]); if (Math.abs(slide.x - ev.clientX) > 3) { range = [slide.range[0] + s, slide.range[1] + s]; drawTimeline(); } });
addEventListener("pointerup", () => slide = null);
$("whole").addEventListener("click", () => { range = [0, total]; drawTimeline(); });

// --- table
const columns = [["time", k => k.seconds, k => time(k.seconds), 1], ["share", k => k.seconds, null, 0], ["kernel", k => k.name, k => k.calls > 1 ? `${k.name} × ${k.calls}` : k.name, 0],
  ["node", k => k.node, k => k.node, 0], ["operators", k => k.ops, k => k.ops, 0], ["GFLOP/s", k => k.gflops, k => k.flops ? k.gflops.toFixed(1) : "", 1],
  ["GB/s", k => k.gbytes, k => k.nbytes ? k.gbytes.toFixed(1) : "", 1], ["roofline", k => k.of_roofline === null ? -1 : k.of_roofline, k => k.of_roofline === null ? "" : percent(k.of_roofline), 1], ["shares", k => k.shares, k => k.shares, 1]];
let order = [0, -1];
const sought = () => words($("search").value);
const hit = (text, list) => list.every(w => text.toLowerCase().includes(w));
function drawTable() {
  $("thead").textContent = ""; const tr = $("thead").insertRow();
  columns.forEach(([name, , , n], i) => { const th = document.createElement("th"); th.textContent = name + (order[0] === i ? (order[1] < 0 ? " ↓" : " ↑") : ""); if (n) th.className = "n"; th.onclick = () => { order = [i, order[0] === i ? -order[1] : -1]; drawTable(); }; tr.append(th); });
  const list = sought(), shown = K.map((k, i) => i).filter(i => hit(`${K[i].name} ${K[i].node} ${K[i].ops} ${K[i].provider}`, list)), of = columns[order[0]][1];
  shown.sort((a, b) => (of(K[a]) < of(K[b]) ? -1 : of(K[a]) > of(K[b]) ? 1 : 0) * order[1]);
  $("rows").textContent = `${shown.length} of ${K.length}, ${time(shown.reduce((s, i) => s + K[i].seconds, 0))}`;
  const slowest = Math.max(...K.map(k => k.seconds), 1e-12), body = $("tbody"); body.textContent = "";
  for (const i of shown) {
    const k = K[i], row = body.insertRow(); row.dataset.call = k.call; if (k.call === chosen) row.className = "chosen";
    columns.forEach(([name, , show, n]) => { const td = row.insertCell(); if (n) td.className = "n";
      if (name === "share") { const b = document.createElement("span"); b.className = "share"; b.style.width = 90 * k.seconds / slowest + "px"; b.style.background = `var(--${k.kind})`; td.append(b, " " + percent(k.seconds / whole)); }
      else { td.textContent = show(k); td.title = td.textContent; } });
    row.onclick = () => choose(k.call, true);
  }
}
$("search").addEventListener("input", () => {
  const list = sought(), found = G.map((_, i) => i).filter(i => hit(`${G[i].label} ${G[i].ops} ${byCall[i].map(j => K[j].name).join(" ")}`, list));
  graph.find(list.length ? new Set(found) : null);
  if (list.length && found.length) graph.centre(found[0]);
  drawTable();
});
addEventListener("keydown", ev => { if (typing(ev) || ev.ctrlKey || ev.metaKey) return; if (ev.key === "/") { ev.preventDefault(); $("search").focus(); } else if (ev.key === "t") switchTheme(); });

// --- selection
const choose = (i, move) => graph.choose(i, !!move);
function select(i) {
  chosen = i; const n = G[i], box = $("details"); box.textContent = "";
  dots.forEach((list, c) => list.forEach(e => e.classList.toggle("chosen", c === i)));
  document.querySelectorAll("#tbody tr").forEach(r => r.className = +r.dataset.call === i ? "chosen" : "");
  const b = document.createElement("b"); b.textContent = n.label; box.append(b);
  const dl = document.createElement("dl"), row = (a, v) => { const dt = document.createElement("dt"), dd = document.createElement("dd"); dt.textContent = a; dd.textContent = v; dl.append(dt, dd); };
  row("operators", n.ops); row("result", `${n.signature} (${bytes(n.nbytes)})`); row("runs on", `${n.provider}, ${n.kind === "native" ? "native" : "called from Python"}`);
  if (!byCall[i].length) row("kernels", "none: an alias of its input, or made ahead");
  for (const j of byCall[i]) { const k = K[j];
    row(k.name, `${time(k.seconds)} (${percent(k.seconds / whole)})` + (k.flops ? ` · ${count(k.flops)}FLOP, ${k.gflops.toFixed(1)} GFLOP/s` : "") + (k.nbytes ? ` · ${bytes(k.nbytes)}, ${k.gbytes.toFixed(1)} GB/s` : "") + (k.of_roofline !== null ? ` · ${percent(k.of_roofline)} of the roofline` : "") + (k.shares > 1 ? ` · ${k.shares} shares` : "")); }
  box.append(dl); $("position").textContent = `call ${i + 1} of ${G.length}`;
  drawTimeline();
}
paint(); drawTable(); drawTimeline();
if (G.length) graph.choose(callTime.indexOf(Math.max(...callTime)), false);
repaints.push(() => { paint(); drawTimeline(); });
addEventListener("resize", drawTimeline);
