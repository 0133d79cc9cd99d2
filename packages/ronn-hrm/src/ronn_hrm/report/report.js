// --- what paths are called and how they look
const KINDS = [["cache", "cache", "remembered answer"], ["fast", "fast", "cheap model"], ["full", "full", "expensive model"],
  ["cold", "cold", "expensive: nothing certified yet"], ["guard", "guard", "expensive: after an alarm"], ["gate", "gate", "expensive: gate or output"]];
const kindOf = path => path === "cache" || path === "fast" ? path : path === "full" || path === "full:audit" ? "full"
  : path === "full:cold-start" ? "cold" : path === "full:guard" ? "guard" : "gate";
const share = x => x === null || x === undefined ? "–" : (x * 100).toFixed(Math.abs(x) < .0995 ? 2 : 1) + " %";
const number = (x, digits = 2) => x === null || x === undefined ? "–" : x.toFixed(digits);
const when = s => new Date(s * 1000).toISOString().slice(0, 19).replace("T", " ");
const lamText = x => x === null || x === undefined ? "none" : x.toFixed(3);
const swatch = kind => el("span", { class: "swatch", style: `background:var(--${kind})` });
const row = (cells, plain = [], tag = "td") => el("tr", {}, ...cells.map((c, i) => el(tag, { class: plain.includes(i) ? null : "n", scope: tag === "th" ? "col" : null }, c)));
function fill(table, caption, names, rows, plain = [0]) {
  table.replaceChildren(el("caption", {}, caption), el("thead", {}, row(names, plain, "th")), el("tbody", {}, ...rows.map(r => r instanceof Node ? r : row(r, plain))));
}
const W = P.windows, E = P.events, C = P.certificate;

// --- head
document.title = `${P.name}: RONN routing`;
$("title").textContent = P.name;
$("about").textContent = `${P.task} · ${when(P.made)} UTC · ronn-hrm ${P.version}`;
const total = W.reduce((s, w) => s + Object.values(w.paths).reduce((a, b) => a + b, 0), 0);
const by = {};
for (const w of W) for (const p in w.paths) by[kindOf(p)] = (by[kindOf(p)] || 0) + w.paths[p];
const runs = W.reduce((s, w) => s + w.full_runs, 0), audits = W.reduce((s, w) => s + w.audits, 0), wrong = W.reduce((s, w) => s + w.wrong, 0);
tile(count(total || P.logged), total ? `requests; ${count(P.logged)} in the log` : "requests in the log");
if (total) {
  tile(number(runs / total, 3), "runs of the expensive model a request, audits included");
  tile(share((by.fast || 0) / total), "answered by the cheap model");
  tile(share((by.cache || 0) / total), "answered from the exact cache");
}
tile(audits ? share(wrong / audits) : "–", `of ${count(audits)} audited requests got another answer than the expensive model's`);
if (P.advice) tile(P.advice.pays ? share(P.advice.saved) : "does not pay", P.advice.pays ? "of the expensive model's time saved, by times in the log" : P.advice.why);

// --- certificate
const mode = $("mode");
mode.textContent = P.mode; mode.className = "pill " + ({ certified: "good", guard: "bad" }[P.mode] || "plain");
(function () {
  const box = $("certificate");
  if (!C) { box.append(el("p", {}, P.why_not || "Nothing is certified: every request goes to the expensive model.")); return; }
  box.append(el("p", {}, P.statement));
  const list = el("dl", {}), add = (k, v) => list.append(el("dt", {}, k), el("dd", {}, String(v)));
  add("kind", C.kind); add("alpha, delta", `${share(C.alpha)}, ${share(C.delta)}`); add("records", `${C.n}, of which the cheap model may answer ${share(C.share)}`);
  add("disagreements", number(C.wrong, C.wrong % 1 ? 2 : 0)); add("bound", share(C.bound)); add("threshold", lamText(C.lam)); add("scorer", P.state.scorer);
  add("since", `${when(C.since)} UTC`); add("alarms before", C.epoch);
  for (const k in C.fingerprints) add(k, C.fingerprints[k]);
  box.append(list, el("ul", { "aria-label": "Assumptions" }, ...C.assumptions.map(a => el("li", {}, a))));
})();

// --- a picture with axes: places for x and y, from ranges
function axes(svg, box, x0, x1, y0, y1, xs, ys, xName, yName) {
  const X = v => box.l + (v - x0) / (x1 - x0 || 1) * (box.w - box.l - box.r), Y = v => box.h - box.b - (v - y0) / (y1 - y0 || 1) * (box.h - box.t - box.b);
  const g = make("g", { class: "axis" }, svg);
  for (const [v, text] of xs) { make("line", { x1: X(v), x2: X(v), y1: box.t, y2: box.h - box.b }, g); make("text", { x: X(v), y: box.h - box.b + 15, "text-anchor": "middle" }, g, text); }
  for (const [v, text] of ys) { make("line", { x1: box.l, x2: box.w - box.r, y1: Y(v), y2: Y(v) }, g); make("text", { x: box.l - 7, y: Y(v) + 4, "text-anchor": "end" }, g, text); }
  make("text", { x: (box.l + box.w - box.r) / 2, y: box.h - 6, "text-anchor": "middle" }, g, xName);
  make("text", { transform: `translate(12,${(box.t + box.h - box.b) / 2}) rotate(-90)`, "text-anchor": "middle" }, g, yName);
  return [X, Y];
}
const nice = (most, ticks) => { const raw = most / ticks || 1, e = 10 ** Math.floor(Math.log10(raw)), f = raw / e; return e * (f <= 1 ? 1 : f <= 2 ? 2 : f <= 5 ? 5 : 10); };
const steps = (most, ticks, text) => { const s = nice(most, ticks), out = []; for (let i = 0; i * s <= most * 1.0001; i++) out.push([i * s, text(i * s)]); return out; };
const path = (points, X, Y) => points.map((p, i) => `${i ? "L" : "M"}${X(p[0]).toFixed(1)},${Y(p[1]).toFixed(1)}`).join("");
const empty = (svg, text) => { const v = svg.viewBox.baseVal; make("text", { x: v.width / 2, y: v.height / 2, "text-anchor": "middle", class: "soft" }, svg, text); };
const lineLegend = (box, name, text) => { const s = make("svg", { width: 22, height: 8, style: "display:inline;width:22px;vertical-align:2px;margin-right:4px" }); make("path", { class: `line ${name}`, d: "M0,4 L22,4" }, s); box.append(el("span", {}, s, text)); };

// --- risk against share
(function () {
  const svg = $("curve"), K = P.curve;
  if (!K || !K.points.length) { empty(svg, P.why_not || "no calibration records"); $("curvesaid").textContent = "No calibration records."; return; }
  const at = C ? K.points.reduce((b, p) => Math.abs(p.share - C.share) < Math.abs(b.share - C.share) ? p : b) : null;
  const top = Math.max(K.alpha * 3, at ? at.upper * 1.6 : 0, Math.min(K.points[K.points.length - 1].upper, K.alpha * 6)), box = { l: 68, r: 18, t: 16, b: 40, w: 640, h: 380 };
  const [X, Y] = axes(svg, box, 0, 1, 0, top, [0, .2, .4, .6, .8, 1].map(v => [v, percent(v)]), steps(top, 5, v => share(v)), "share of requests that the cheap model answers", "wrong answers, of all requests");
  const clip = make("clipPath", { id: "inside" }, make("defs", {}, svg)); make("rect", { x: box.l, y: box.t, width: box.w - box.l - box.r, height: box.h - box.t - box.b }, clip);
  const g = make("g", { "clip-path": "url(#inside)" }, svg);
  make("path", { class: "line found", d: path(K.points.map(p => [p.share, p.risk]), X, Y) }, g);
  make("path", { class: "line upper", d: path(K.points.map(p => [p.share, p.upper]), X, Y) }, g);
  make("line", { class: "alpha", x1: box.l, x2: box.w - box.r, y1: Y(K.alpha), y2: Y(K.alpha) }, svg);
  make("text", { x: box.l + 6, y: Y(K.alpha) - 5 }, svg, `alpha ${share(K.alpha)}`);
  if (C) {
    make("line", { class: "chosen", x1: X(C.share), x2: X(C.share), y1: box.t, y2: box.h - box.b }, svg); make("circle", { class: "chosen", cx: X(C.share), cy: Y(C.bound), r: 5 }, svg);
    make("text", { x: X(C.share) + (C.share > .7 ? -8 : 8), y: box.t + 12, "text-anchor": C.share > .7 ? "end" : "start" }, svg, `certified ${share(C.share)}`);
  }
  lineLegend($("curvelegend"), "upper", `upper bound (delta ${share(K.delta)})`); lineLegend($("curvelegend"), "found", "in the records"); lineLegend($("curvelegend"), "alpha", "allowed");
  $("curvesaid").textContent = C ? `${K.n} records. At the certified share of ${share(C.share)} the upper bound on the risk is ${share(C.bound)}; allowed is ${share(K.alpha)}.` : `${K.n} records; nothing is certified.`;
  const hover = make("rect", { x: box.l, y: box.t, width: box.w - box.l - box.r, height: box.h - box.t - box.b, fill: "transparent" }, svg);
  tipped(hover, ev => {
    const r = svg.getBoundingClientRect(), v = ((ev.clientX - r.left) / r.width * box.w - box.l) / (box.w - box.l - box.r), p = K.points.reduce((b, q) => Math.abs(q.share - v) < Math.abs(b.share - v) ? q : b);
    return `cheap model answers ${share(p.share)}\nthreshold ${lamText(p.lam)}\nwrong in the records ${share(p.risk)}\nupper bound ${share(p.upper)}`;
  });
  fill($("curvetable"), `Thresholds on ${K.n} calibration records`, ["threshold", "share", "risk found", "upper bound", "within alpha"],
    K.points.map(p => [lamText(p.lam), share(p.share), share(p.risk), share(p.upper), p.upper <= K.alpha ? "yes" : "no"]), [4]);
})();

// --- the stream
const tone = e => e.kind === "alarm" || e.kind === "guard" ? "bad" : e.kind === "certificate" || e.kind === "resume" || (e.kind === "sleep" && e.about.promoted) ? "good" : "";
const first = W.length ? W[0].first : 1, last = W.length ? W[W.length - 1].last : 1;
const ticks = n => steps(n - first, 8, v => count(Math.round(v + first))).map(([v, t]) => [v + first, t]);
(function () {
  const svg = $("stream"), present = KINDS.filter(([k]) => by[k]);
  for (const [k, , text] of present) $("streamlegend").append(el("span", {}, swatch(k), text));
  if (!W.length) { empty(svg, "no requests yet"); $("streamsaid").textContent = "No requests yet."; return; }
  const box = { l: 58, r: 18, t: 26, b: 40, w: 1320, h: 330 };
  const [X, Y] = axes(svg, box, first, last + 1, 0, 1, ticks(last), [0, .25, .5, .75, 1].map(v => [v, percent(v)]), "requests", "share");
  const bars = make("g", {}, svg);
  for (const w of W) {
    const sum = Object.values(w.paths).reduce((a, b) => a + b, 0) || 1, x = X(w.first), width = Math.max(X(w.last + 1) - x, .6);
    let low = 0;
    const told = [`requests ${w.first} to ${w.last}`, when(w.ended) + " UTC"];
    for (const [k, , text] of KINDS) {
      const n = Object.keys(w.paths).filter(p => kindOf(p) === k).reduce((s, p) => s + w.paths[p], 0);
      if (!n) continue;
      make("rect", { x, y: Y(low + n / sum), width: width + .3, height: Y(low) - Y(low + n / sum), fill: `var(--${k})` }, bars);
      low += n / sum; told.push(`${text}: ${share(n / sum)}`);
    }
    if (w.audits) told.push(`audits: ${w.audits}, other answers ${number(w.wrong, w.wrong % 1 ? 2 : 0)}`);
    if (w.gauges.novelty !== undefined) told.push(`novelty ${number(w.gauges.novelty, 3)}`);
    const hover = make("rect", { x, y: box.t, width: width + .3, height: box.h - box.t - box.b, fill: "transparent" }, bars);
    tipped(hover, told.join("\n"));
  }
  const labels = [], urgent = e => ["alarm", "sleep"].includes(e.kind) ? 0 : 1;
  for (const e of [...E].sort((a, b) => urgent(a) - urgent(b))) {  // where there is no room, certificates go without a label
    if (e.request < first - 1) continue;
    const x = X(Math.min(Math.max(e.request, first), last) + .5), line = make("line", { class: `event ${tone(e)}`, x1: x, x2: x, y1: box.t - 6, y2: box.h - box.b }, svg);
    const hover = make("rect", { x: x - 4, y: box.t - 18, width: 8, height: box.h - box.t - box.b + 18, fill: "transparent" }, svg);
    tipped(hover, `${e.kind} behind request ${e.request}\n${said(e)}`);
    const place = Math.min(x, box.w - 34);
    if (labels.every(v => Math.abs(v - place) > 58)) { make("text", { x: place, y: box.t - 10, "text-anchor": "middle" }, svg, e.kind); labels.push(place); }
    line.setAttribute("aria-hidden", "true");
  }
  $("streamsaid").textContent = `${total} requests: ` + present.map(([k, , text]) => `${text} ${share(by[k] / total)}`).join(", ") + `. ${many(E.length, "event")}.`;
  fill($("streamtable"), "Windows of requests", ["requests", "ended (UTC)", ...present.map(k => k[2]), "expensive runs", "audits", "other answers", "threshold", "bound", "novelty"],
    W.map(w => [`${w.first}–${w.last}`, when(w.ended), ...present.map(([k]) => Object.keys(w.paths).filter(p => kindOf(p) === k).reduce((s, p) => s + w.paths[p], 0)), w.full_runs, w.audits,
      number(w.wrong, w.wrong % 1 ? 2 : 0), w.gauges.lam === undefined ? "–" : lamText(w.gauges.lam), share(w.gauges.bound), number(w.gauges.novelty, 3)]), [0, 1]);
})();

// --- events
function said(e) {
  if (e.kind === "sleep") {
    const s = e.about, gain = s.before && s.after ? `; certified share ${share(s.before.share)} before, ${share(s.after.share)} after; agreement ${share(s.before.agreement)}, ${share(s.after.agreement)}` : "";
    const spent = Object.values(s.seconds || {}).reduce((a, b) => a + b, 0);
    return `${s.promoted ? "promoted" : "not promoted"}: ${s.why}${gain}${spent ? `; ${time(spent)}` : ""}${s.tried && s.tried.length ? `; tried ${s.tried.map(t => t.kind).join(", ")}` : ""}`;
  }
  const a = Object.fromEntries(Object.entries(e.about).filter(([k]) => !["at", "text", "kind"].includes(k)));
  const head = [e.about.kind, e.about.text].filter(x => typeof x === "string").join(": ");
  return (head ? head + "; " : "") + Object.keys(a).filter(k => a[k] !== null && typeof a[k] !== "object").map(k => `${k} ${typeof a[k] === "number" && a[k] % 1 ? a[k].toPrecision(3) : a[k]}`).join(", ")
    + Object.keys(a).filter(k => a[k] !== null && typeof a[k] === "object").map(k => `; ${k}: ${JSON.stringify(a[k])}`).join("");
}
$("eventcount").textContent = many(E.length, "event");
fill($("events"), "Alarms, certificates, consolidations; the latest first", ["event", "behind", "at (UTC)", "about"], [...E].reverse().map(e => el("tr", {},
  el("td", {}, el("span", { class: "pill " + (tone(e) || "plain") }, e.kind)), el("td", { class: "n" }, String(e.request)), el("td", {}, when(e.at)), el("td", { class: "wrap" }, said(e)))), [0, 2, 3]);

// --- memory
(function () {
  const svg = $("memory"), lines = [["cache_bytes", "cache", "exact cache"], ["episode_bytes", "full", "episodes"], ["state_bytes", "fast", "learnt state"]];
  const have = lines.filter(([name]) => W.some(w => w.gauges[name] > 0)), most = Math.max(...W.flatMap(w => have.map(([n]) => w.gauges[n] || 0)), 0);
  if (!have.length) { empty(svg, "no sizes were noted"); $("memorysaid").textContent = "No sizes were noted."; return; }
  const box = { l: 70, r: 18, t: 16, b: 40, w: 640, h: 250 };
  const [X, Y] = axes(svg, box, first, last + 1, 0, most * 1.05, ticks(last).filter((t, i) => i % 2 === 0), steps(most * 1.05, 4, bytes), "requests", "bytes");
  for (const [name, colour, text] of have) {
    make("path", { class: "line", style: `stroke:var(--${colour})`, d: path(W.filter(w => name in w.gauges).map(w => [w.last, w.gauges[name]]), X, Y) }, svg);
    $("memorylegend").append(el("span", {}, swatch(colour), text));
  }
  const end = W[W.length - 1].gauges;
  $("memorysaid").textContent = have.map(([n, , text]) => `${text} ${bytes(end[n] || 0)}`).join(", ") + " at the end.";
  fill($("memorytable"), "Sizes at the end of windows", ["requests up to", ...have.map(l => l[2]), "episodes"], W.map(w => [count(w.last), ...have.map(([n]) => bytes(w.gauges[n] || 0)), count(w.gauges.episodes || 0)]), []);
})();

// --- replay
(function () {
  const R = P.replay.rows, most = Math.max(...R.map(r => r.runs), 1);
  $("replaynote").textContent = R.length ? `${count(R[0].requests)} ${P.logged ? "requests of the log in order" : "audited requests"}; risk by ${count(R[0].audited)} audited ones, with the cheap model of this state` : "";
  fill($("replay"), "Runs of the expensive model are counted with audits; the bound is on the risk, of this sample",
    ["policy", "expensive runs a request", "", "cache", "cheap", "expensive", "risk", "bound", "mean time"], R.map(r => {
      const bar = el("span", { class: "bar", style: `width:${(r.runs / most * 140).toFixed(1)}px;background:var(--full)`, "aria-hidden": "true" });
      const bad = r.risk !== null && P.alpha !== null && r.risk > P.alpha;
      const tr = row([r.name, number(r.runs, 3), bar, share(r.cache), share(r.fast), share(r.full), el("span", { style: bad ? "color:var(--bad)" : "" }, share(r.risk)), share(r.bound), r.seconds === null ? "–" : time(r.seconds)], [0, 2]);
      if (r.now) tr.className = "now";
      return tr;
    }), [0, 2]);
  $("leftout").textContent = P.replay.left_out.map(x => `${x.name}: ${x.why}`).join(" · ");
})();

// --- decisions
(function () {
  const D = P.decisions, most = Math.max(...D.flatMap(d => d.reasons.map(r => Math.abs(r[1]))), 1e-9);
  $("checked").textContent = P.replay.check;
  const half = (value, side) => el("span", { class: `half ${side}` }, value > 0 ? el("i", { style: `width:${(value / most * 100).toFixed(0)}%;background:var(--${side === "left" ? "bad" : "good"})` }) : null);
  fill($("decisions"), "The latest first", ["request", "answered by", "score", "threshold", "reasons", "time", "audit"], D.map(d => {
    const reasons = d.reasons.map(([name, value]) => el("span", { class: "reason" }, el("span", { "aria-hidden": "true", style: "display:inline-flex" }, half(-value, "left"), half(value, "right")), `${name} ${value >= 0 ? "+" : "−"}${Math.abs(value).toFixed(2)}`));
    if (d.bias !== null && reasons.length) reasons.unshift(el("span", { class: "reason soft" }, `bias ${d.bias >= 0 ? "+" : "−"}${Math.abs(d.bias).toFixed(2)}`));
    return el("tr", {}, el("td", { class: "n" }, String(d.id)), el("td", {}, swatch(kindOf(d.path)), d.path), el("td", { class: "n" }, number(d.score)), el("td", { class: "n" }, lamText(d.lam)),
      el("td", { class: "wrap" }, ...reasons), el("td", { class: "n" }, time(d.seconds)), el("td", {}, d.role));
  }), [1, 4, 6]);
})();
