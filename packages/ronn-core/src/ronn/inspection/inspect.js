// The page of `ronn inspect --html`.
const F = P.facts, N = P.nodes, V = P.values, S = P.snapshots;
const file = F.file.split(/[/\\]/).pop();
document.title = `${file}: RONN inspection`;
$("title").textContent = file;
$("about").textContent = `${Object.entries(F.opsets).map(([d, v]) => `${d} ${v}`).join(", ")} · ${F.producer ? F.producer + " · " : ""}RONN ${P.ronn}`;

// --- tables of the book
const listed = new Map();
const nodesOf = g => { if (!listed.has(g)) listed.set(g, P.graphs[g].nodes.flatMap(([start, length]) => Array.from({ length }, (_, i) => start + i))); return listed.get(g); };
const keyOf = n => { const v = N[n].out.find(v => v >= 0); return v === undefined ? "n" + N[n].name : v; };
const shortOp = op => op.split("::").pop();
const labelOf = n => N[n].name || `%${V[N[n].out.find(v => v >= 0)] ?? ""}`;
// Types and constants by value, as they are at a snapshot.
let held = { at: -1, types: new Map(), constants: new Map() };
function tablesAt(s) {
  if (held.at > s) held = { at: -1, types: new Map(), constants: new Map() };
  for (; held.at < s;) { const next = S[++held.at]; for (const [v, t] of next.types) held.types.set(v, t); for (const [v, c] of next.constants) if (c < 0) held.constants.delete(v); else held.constants.set(v, c); }
  return held;
}
const typeText = v => { const t = held.types.get(v); return t === undefined ? "?" : P.types[t]; };
const constant = v => { const c = held.constants.get(v); return c === undefined ? null : P.constants[c]; };
const BITS = { bool: 8 };
function sizeOf(type) {
  const m = /^([a-z0-9]+)\[([\d,]*)\]$/.exec(type); if (!m) return 0;
  const bits = BITS[m[1]] || +(/\d+/.exec(m[1]) || [0])[0];
  return Math.ceil(m[2].split(",").filter(Boolean).reduce((p, d) => p * d, 1) * bits / 8);
}
const dims = type => { const m = /\[(.*)\]$/.exec(type); return m && m[1].length < 22 ? m[1].replace(/,/g, "×") : ""; };
const total = g => nodesOf(g).reduce((s, n) => s + 1 + Object.values(N[n].graphs || {}).reduce((t, sub) => t + total(sub), 0), 0);
function diffOf(before, after) {
  const was = new Map(before === undefined ? [] : nodesOf(before).map(n => [keyOf(n), n])), is = new Map(nodesOf(after).map(n => [keyOf(n), n]));
  const d = { added: new Set(), removed: new Set(), changed: new Map(), back: new Map() };
  for (const [k, n] of is) { const old = was.get(k); if (old === undefined) d.added.add(n); else if (old !== n) { d.changed.set(n, old); d.back.set(old, n); } }
  for (const [k, n] of was) if (!is.has(k)) d.removed.add(n);
  return d;
}

// --- kinds of operators
const KINDS = [["products", /Conv|MatMul|Gemm|Einsum|Attention|^Block|LSTM|GRU|RNN|Tree|SVM|Linear/], ["normalise, activate", /Norm|Softmax|Relu|Gelu|Sigmoid|Tanh|Elu|Selu|Swish|Silu|Mish|Clip|HardS|Softplus|LRN|Erf/],
  ["arithmetic", /^(Add|Sub|Mul|Div|Mod|Pow|Sqrt|Exp|Log|Neg|Abs|Min|Max|Sum|Mean|Where|Equal|Greater|Less|And|Or|Not|Xor|Floor|Ceil|Round|Sign|Sin|Cos|Reciprocal|IsNaN|Bit\w*)(OrEqual)?$|Pointwise|Elementwise/],
  ["reduce, pool", /Pool|Reduce|Arg|TopK|CumSum/], ["move data", /Reshape|Transpose|Concat|Split|Slice|Gather|Scatter|Squeeze|Flatten|Expand|Pad|Tile|Resize|Identity|Unblock|DepthTo|SpaceTo|Upsample|Copy|Reverse/],
  ["shapes, constants", /Shape|Constant|Range|Size|NonZero|Cast/], ["control flow", /^(If|Loop|Scan|SequenceMap)$/], ["quantise", /Quant|QLinear|Integer/], ["other", /./]];
const kindOf = op => { const name = shortOp(op); if (KINDS[7][1].test(name)) return 7; if (KINDS[6][1].test(name)) return 6; return KINDS.findIndex(([, r]) => r.test(name)); };
const KIND_HUE = [0, 2, 3, 1, 4, 6, 5, 9, 7];
const kindColour = k => hue(KIND_HUE[k]);

// --- state
let snap = Math.max(S.findIndex(s => s.title === "assigned"), 0), before = false, path = [], verts = [], places = new Map(), diff = null;
const previous = () => $("against").value === "imported" ? (snap ? 0 : null) : snap ? snap - 1 : null;
const graphAt = (s, steps = path) => {
  let g = S[s].graph;
  for (const step of steps) {
    if (step.fn) { g = P.functions[step.fn]; continue; }
    const n = nodesOf(g).find(n => keyOf(n) === step.key), sub = n === undefined ? undefined : (N[n].graphs || {})[step.label];
    if (sub === undefined) return undefined;
    g = sub;
  }
  return g;
};

// --- tiles and notes
const last = S.length - 1, parameters = Object.values(F.parameters), providers = {};
if (F.bytes !== null) tile(bytes(F.bytes + Object.values(F.external_files).reduce((a, b) => a + b, 0)), `model file${Object.keys(F.external_files).length ? " and its data" : ""}`);
tile(count(parameters.reduce((s, r) => s + r.elements, 0)), `parameters, ${bytes(parameters.reduce((s, r) => s + r.bytes, 0))}: ${Object.keys(F.parameters).join(", ") || "none"}`);
tile(`${F.nodes} → ${total(S[last].graph)}`, "nodes, as imported and as run");
for (const n in P.placement) { const name = P.places[P.placement[n]][0]; providers[name] = (providers[name] || 0) + 1; }
tile(Object.keys(providers).length ? Object.entries(providers).sort((a, b) => b[1] - a[1]).map(([p, c]) => `${p} ${c}`).join(", ") : "–", "nodes by provider");
if (P.memory.length) { const m = P.memory[0]; tile(bytes(m.size), `memory of a run: its arena, ${many(m.steps.length, "step")}`); }
tile(`${S.filter(s => s.rewrites).reduce((t, s) => t + s.rewrites, 0)}`, `rewrites in ${many(S.filter(s => s.rewrites !== undefined).length, "pass run")}`);
for (const note of P.notes) $("notes").append(el("div", { class: "note" }, note));

// --- stages and passes
const TITLES = { imported: "as imported", portable: "portable: for any size", specialised: "specialised: for these sizes", assigned: "assigned to providers" };
const rows = [];
(function () {
  let stage = null, host = $("stages");
  S.forEach((s, i) => {
    if (s.stage !== stage) { stage = s.stage; host.append(el("div", { class: "stage", role: "presentation" }, TITLES[stage] || stage)); }
    const d = i ? diffOf(S[i - 1].graph, s.graph) : null, pass = s.rewrites !== undefined;
    const row = el("div", { class: "option", role: "option", id: `stage-${i}`, "aria-selected": "false", onclick: () => show(i) }, el("span", {}, pass ? s.title : `${s.title} (${many(total(s.graph), "node")})`));
    if (pass && d) {
      if (d.added.size) row.append(el("span", { class: "plus" }, `+${d.added.size}`));
      if (d.removed.size) row.append(el("span", { class: "minus" }, `−${d.removed.size}`));
      if (d.changed.size) row.append(el("span", { class: "tilde" }, `~${d.changed.size}`));
      if (!d.added.size && !d.removed.size && !d.changed.size) row.append(el("span", { class: "soft plus", style: "color:var(--soft)" }, "constants"));
      tipped(row, `${s.title}, round ${s.round + 1}\n${many(s.rewrites, "rewrite")} in ${time(s.seconds)}\n${d.added.size} nodes added, ${d.removed.size} removed, ${d.changed.size} changed`);
    }
    host.append(row); rows.push(row);
  });
  host.addEventListener("keydown", ev => { const to = { ArrowUp: snap - 1, ArrowDown: snap + 1, Home: 0, End: last }[ev.key]; if (to !== undefined) { ev.preventDefault(); show(Math.min(Math.max(to, 0), last)); } });
  $("passcount").textContent = `${S.length}`;
})();

// --- the graph
const graph = new GraphView($("graph"), "Graph of the model", { tip, chosen: i => select(i), opened: i => { const n = verts[i].node; if (n !== undefined) openable(n).slice(0, 1).forEach(o => o.go()); } });
function show(s, keep = false) {
  const chosen = graph.chosen === null ? null : verts[graph.chosen].key;
  snap = s;
  while (path.length && graphAt(snap) === undefined && (previous() === null || graphAt(previous()) === undefined)) path.pop();
  rows.forEach((r, i) => r.setAttribute("aria-selected", i === snap)); $("stages").setAttribute("aria-activedescendant", `stage-${snap}`); rows[snap].scrollIntoView({ block: "nearest" });
  draw(keep);
  const again = chosen === null ? -1 : verts.findIndex(v => v.key === chosen);
  if (again >= 0) graph.choose(again); else select(null);
  const d = diff, jump = !keep && again < 0 && S[snap].rewrites !== undefined && (d.added.size || d.changed.size) ? verts.findIndex(v => d.added.has(v.node) || d.changed.has(v.node)) : -1;
  if (jump >= 0) graph.centre(jump);
  seek();
}
function draw(keep = false) {
  const p = previous(), now = graphAt(snap), was = p === null ? undefined : graphAt(p);
  diff = now === undefined ? { added: new Set(), removed: new Set(was === undefined ? [] : nodesOf(was)), changed: new Map(), back: new Map() } : p === null ? { added: new Set(), removed: new Set(), changed: new Map(), back: new Map() } : diffOf(was, now);
  if (p === null) before = false;
  const back = (before || now === undefined) && was !== undefined, g = back ? was : now;
  tablesAt(back ? p : snap);
  verts = vertices(g); places = new Map(verts.map((v, i) => [v.key, i]));
  $("side").disabled = p === null; $("side").setAttribute("aria-pressed", back); $("side").textContent = back ? "Show after" : "Show before";
  $("path").textContent = "";
  const crumbs = [[path.length || !P.graphs[g].name ? "model" : cut(P.graphs[g].name, 40), []], ...path.map((step, i) => [step.title, path.slice(0, i + 1)])];
  crumbs.forEach(([text, to], i) => $("path").append(i ? " › " : "", i < crumbs.length - 1 ? el("button", { class: "link", onclick: () => enter(to) }, text) : text));
  const all = total(g), here = nodesOf(g).length;
  $("count").textContent = `${many(here, "node")}${all > here ? ` (${all} with subgraphs)` : ""} ${back ? `before ${S[snap].title}` : S[snap].rewrites !== undefined ? `after ${S[snap].title}` : S[snap].title}`;
  const box = $("diff"); box.textContent = "";
  if (back) { if (diff.removed.size) dotLegend(box, "var(--removed)", `${diff.removed.size} removed`); if (diff.back.size) dotLegend(box, "var(--changed)", `${diff.back.size} changed`); }
  else { if (diff.added.size) dotLegend(box, "var(--added)", `${diff.added.size} added`); if (diff.changed.size) dotLegend(box, "var(--changed)", `${diff.changed.size} changed`); if (diff.removed.size) dotLegend(box, "var(--removed)", `${diff.removed.size} removed`); }
  graph.show(verts, keep);
  graph.style = styleOf(back);
  legend(); changes();
}
function enter(to) { path = to; before = before && path.length > 0; draw(); select(null); seek(); }
function vertices(g) {
  const found = [], made = new Map(), G = P.graphs[g];
  const pill = (v, title, key) => { found.push({ title, sub: `%${V[v] ?? ""}`, detail: dims(typeText(v)), pill: true, inputs: [], key, value: v }); return found.length - 1; };
  for (const v of G.in) made.set(v, pill(v, "input", `i${v}`));
  const inside = new Set(nodesOf(g).flatMap(n => N[n].out));
  for (const n of nodesOf(g)) {
    const node = N[n], captured = Object.values(node.graphs || {}).flatMap(outerUses), ins = [];
    for (const v of new Set([...node.in, ...captured])) {
      if (v < 0) continue;
      if (!made.has(v) && path.length && !inside.has(v) && !constant(v)) made.set(v, pill(v, "from outside", `c${v}`));
      if (made.has(v)) ins.push(made.get(v));
    }
    const i = found.length, first = node.out.find(v => v >= 0);
    found.push({ title: shortOp(node.op) + (openable(n).length ? " ▸" : ""), sub: labelOf(n), detail: first === undefined ? "" : dims(typeText(first)), inputs: [...new Set(ins)], key: keyOf(n), node: n });
    for (const v of node.out) if (v >= 0) made.set(v, i);
  }
  G.out.forEach((v, i) => found.push({ title: "output", sub: G.names[i] || `%${V[v] ?? ""}`, detail: dims(typeText(v)), pill: true, inputs: made.has(v) ? [made.get(v)] : [], key: `o${i}`, value: v }));
  return found;
}
// Values of graphs around it that a graph uses.
const outer = new Map();
function outerUses(g) {
  if (!outer.has(g)) {
    const own = new Set([...P.graphs[g].in, ...nodesOf(g).flatMap(n => N[n].out)]);
    outer.set(g, [...new Set([...nodesOf(g).flatMap(n => [...N[n].in, ...Object.values(N[n].graphs || {}).flatMap(outerUses)]), ...P.graphs[g].out])].filter(v => v >= 0 && !own.has(v)));
  }
  return outer.get(g);
}
function openable(n) {
  const node = N[n], subs = Object.keys(node.graphs || {}).map(label => ({ label, go: () => enter([...path, { key: keyOf(n), label, title: `${labelOf(n)}: ${label}` }]) }));
  if (P.functions[node.op] !== undefined) subs.push({ label: "function body", go: () => enter([...path, { fn: node.op, title: node.op }]) });
  return subs;
}
const sourceOf = n => { const at = P.source_of[N[n].name] ?? P.source_of["%" + V[N[n].out.find(v => v >= 0)]]; return at === undefined ? null : P.sources[at]; };
function placeOf(n) { const p = P.placement[n]; return p === undefined ? null : P.places[p]; }
const names = [...new Set(P.places.map(p => p[0]))];
const resultBytes = n => N[n].out.reduce((s, v) => s + (v < 0 ? 0 : sizeOf(typeText(v))), 0), constantBytes = n => N[n].in.reduce((s, v) => s + (v >= 0 && constant(v) ? constant(v).bytes : 0), 0);
let most = 1;
function styleOf(back) {
  const how = $("colour").value, size = { memory: resultBytes, weights: constantBytes }[how];
  const sizes = size ? verts.map(v => v.node === undefined ? 0 : size(v.node)) : null;
  if (size) most = sizes.reduce((a, b) => Math.max(a, b), 1);
  return i => {
    const v = verts[i], n = v.node;
    let fill = parts("--panel");
    if (n !== undefined) fill = size ? ramp(Math.sqrt(sizes[i] / most)) : how === "place" ? (placeOf(n) ? hue(names.indexOf(placeOf(n)[0])) : parts("--node")) : kindColour(kindOf(N[n].op));
    if (n === undefined) return { fill, dash: v.title === "from outside" ? [4, 3] : null };
    if (back) return { fill, stroke: diff.removed.has(n) ? css("--removed") : diff.back.has(n) ? css("--changed") : null, dash: diff.removed.has(n) ? [5, 3] : null };
    return { fill, stroke: diff.added.has(n) ? css("--added") : diff.changed.has(n) ? css("--changed") : null };
  };
}
function legend() {
  const how = $("colour").value, box = $("legend"); box.textContent = "";
  if (how === "ops") for (const k of [...new Set(verts.filter(v => v.node !== undefined).map(v => kindOf(N[v.node].op)))].sort()) dotLegend(box, rgb(kindColour(k)), KINDS[k][0]);
  else if (how === "place") { names.forEach((n, i) => dotLegend(box, rgb(hue(i)), n === "ronn" ? "ronn: the plan itself" : n)); if (verts.some(v => v.node !== undefined && !placeOf(v.node))) dotLegend(box, "var(--node)", "not in the assigned graph"); }
  else rampLegend(box, "0", bytes(most), Math.sqrt);
}
function tip(i) {
  const v = verts[i], n = v.node;
  if (n === undefined) return `${v.title} %${V[v.value] ?? ""}: ${typeText(v.value)}`;
  const p = placeOf(n), state = diff.added.has(n) ? "\nadded by this step" : diff.changed.has(n) || diff.back.has(n) ? "\nchanged by this step" : diff.removed.has(n) ? "\nremoved by this step" : "";
  return `${N[n].op} · ${labelOf(n)}\n${N[n].out.filter(v => v >= 0).map(v => `%${V[v]}: ${typeText(v)}`).join("\n")}${p ? `\nruns on ${p[0]}` : ""}${state}`;
}

// --- tabs
const TABS = ["node", "changes", "results"];
function tab(name) { for (const t of TABS) { $(t).hidden = t !== name; $(`tab-${t}`).setAttribute("aria-selected", t === name); } }
TABS.forEach(t => $(`tab-${t}`).addEventListener("click", () => tab(t)));

// --- the selected node
const pairs = list => { const d = el("dl"); for (const [k, v] of list) d.append(el("dt", {}, k), v instanceof Node ? el("dd", {}, v) : el("dd", {}, "" + v)); return d; };
const number = x => Math.abs(x) >= 1e5 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2) : +x.toPrecision(4) + "";
function select(i) {
  const box = $("node"); box.textContent = ""; memoryOf(i);
  if (i === null) { box.append(el("p", { class: "soft" }, "Choose a node: by a click, with the arrow keys, or by a search.")); return; }
  const v = verts[i], n = v.node;
  if (!$("results").hidden && document.activeElement !== $("search")) tab("node"); else if ($("results").hidden) tab("node");
  if (n === undefined) { box.append(el("h3", {}, v.title), valueBox(v.value)); return; }
  const node = N[n], p = placeOf(n), rowsOf = [];
  box.append(el("h3", {}, node.op), where(node.name));
  const state = diff.added.has(n) ? ["plus", "added"] : diff.changed.has(n) || diff.back.has(n) ? ["tilde", "changed"] : diff.removed.has(n) ? ["minus", "removed"] : null;
  if (state) rowsOf.push(["this step", el("span", { class: state[0] }, state[1])]);
  const old = diff.changed.get(n);
  if (old !== undefined) rowsOf.push(["was", `${N[old].op}(${N[old].in.map(v => v < 0 ? "_" : "%" + V[v]).join(", ")})${Object.keys(N[old].attributes || {}).length ? ` {${Object.entries(N[old].attributes).map(([k, t]) => `${k}=${t}`).join(", ")}}` : ""}`]);
  rowsOf.push(["opset", node.version]);
  if (node.tags) rowsOf.push(["made by", node.tags.join(", ")]);
  if (p) rowsOf.push(["runs on", p[0]], ["because", p[1] || "it takes part in the plan itself"]);
  box.append(pairs(rowsOf));
  const open = openable(n);
  if (open.length) { box.append(el("h4", {}, "Graphs inside")); for (const o of open) box.append(el("div", {}, el("button", { class: "link", onclick: o.go }, `open ${o.label}`))); }
  const notes = sourceOf(n);
  if (notes) {
    box.append(el("h4", {}, "Where it comes from"));
    const trace = notes["pkg.torch.onnx.stack_trace"], rest = Object.entries(notes).filter(([k]) => !k.endsWith("stack_trace"));
    if (trace) box.append(el("div", { class: "trace" }, trace.split("\n").slice(-8).join("\n")));
    if (rest.length) box.append(el("details", trace ? {} : { open: "" }, el("summary", { class: "soft" }, "the exporter's notes"), pairs(rest.map(([k, v]) => [k.replace("pkg.torch.onnx.", ""), cut(v, 400)]))));
  }
  if (node.attributes) box.append(el("h4", {}, "Attributes"), pairs(Object.entries(node.attributes)));
  box.append(el("h4", {}, "Inputs")); node.in.forEach(v => box.append(v < 0 ? el("div", { class: "value soft" }, "omitted") : valueBox(v)));
  box.append(el("h4", {}, "Outputs")); node.out.forEach(v => box.append(v < 0 ? el("div", { class: "value soft" }, "not wanted") : valueBox(v, true)));
  const blocks = blocksOf(n);
  if (blocks.length) { box.append(el("h4", {}, "In memory")); for (const b of blocks) box.append(el("div", { class: "value" }, `%${node.out.map(v => V[v]).find(name => b[0].includes(name))}: bytes ${count(b[2])} to ${count(b[2] + b[3])} of the arena, steps ${stepsOf(b)}`)); }
}
// A node's name as the path of modules that exporters make it from; each part finds what lies in it.
function where(name) {
  const line = el("div", { class: "value" });
  if (!name) return el("div", { class: "soft" }, "without a name");
  const parts = name.split(/(?<=[/.])/); let so_far = "";
  for (const part of parts) { so_far += part; const prefix = so_far; line.append(parts.length > 1 ? el("button", { class: "link", title: `all in ${prefix}`, onclick: () => { $("search").value = `name:${prefix}`; seek(true); } }, part) : part); }
  return line;
}
function valueBox(v, made = false) {
  const c = constant(v), box = el("div", { class: "value" });
  const source = verts.findIndex(x => x.node !== undefined && N[x.node].out.includes(v)), users = verts.map((x, i) => i).filter(i => verts[i].node !== undefined && N[verts[i].node].in.includes(v));
  const input = places.get(`i${v}`) ?? places.get(`c${v}`);
  const to = made ? null : source >= 0 ? source : input;
  box.append(to === null || to === undefined ? `%${V[v]}` : el("button", { class: "link", onclick: () => graph.choose(to) }, `%${V[v]}`), el("span", { class: "type" }, ` ${typeText(v)}`));
  if (c) {
    box.append(el("div", { class: "soft" }, `constant, ${bytes(c.bytes)}` + (c.sample ? `; figures from ${count(c.sample)} elements` : "")));
    if (c.values) box.append(el("div", {}, `{${c.values.join(", ")}}`));
    if (c.min !== undefined) box.append(el("div", {}, `${number(c.min)} … ${number(c.max)}, mean ${number(c.mean)} ± ${number(c.std)}` + (c.zeros > 0 ? `, ${percent(c.zeros)} zeros` : "") + (c.not_finite ? `, ${count(c.not_finite)} not finite` : "")));
    if (c.histogram) box.append(spark(c));
  }
  if (made) users.slice(0, 12).forEach((i, at) => box.append(at ? ", " : el("span", { class: "soft" }, " → "), el("button", { class: "link", onclick: () => graph.choose(i) }, labelOf(verts[i].node))));
  if (made && users.length > 12) box.append(` and ${users.length - 12} more`);
  return box;
}
function spark(c) {
  const h = c.histogram, top = h.reduce((a, b) => Math.max(a, b), 1), svg = make("svg", { class: "spark", viewBox: `0 0 ${h.length * 10} 30`, preserveAspectRatio: "none", role: "img", "aria-label": "histogram" });
  h.forEach((n, i) => make("rect", { x: i * 10 + .5, y: 30 - 30 * n / top, width: 9, height: Math.max(30 * n / top, n ? .6 : 0) }, svg));
  tipped(svg, `how often values occur, ${number(c.min)} to ${number(c.max)}`);
  return svg;
}

// --- what the step changed
function changes() {
  const box = $("changes"); box.textContent = "";
  const all = [["Added", "plus", [...diff.added], false], ["Changed", "tilde", [...diff.changed.keys()], false], ["Removed", "minus", [...diff.removed], true]];
  $("tab-changes").textContent = `Changes (${all.reduce((s, a) => s + a[2].length, 0)})`;
  const p = previous();
  box.append(el("div", { class: "soft" }, p === null ? "The first stage: nothing to compare with." : `${S[snap].title} against ${S[p].title}` + (S[snap].seconds !== undefined ? `; the pass took ${time(S[snap].seconds)}` : "")));
  for (const [title, mark, list, back] of all) {
    if (!list.length) continue;
    box.append(el("h4", { class: mark }, `${title}: ${list.length}`));
    for (const n of list.slice(0, 200)) {
      const old = diff.changed.get(n), what = old === undefined ? "" : N[old].op !== N[n].op ? `was ${N[old].op}` : N[old].in.join() !== N[n].in.join() ? "other inputs" : N[old].name !== N[n].name ? "other name" : "other attributes";
      box.append(el("button", { class: "result", onclick: () => jump(n, back) }, el("b", {}, shortOp(N[n].op)), " ", labelOf(n), what ? el("span", {}, what) : null));
    }
    if (list.length > 200) box.append(el("div", { class: "soft" }, `and ${list.length - 200} more`));
  }
  const types = S[snap].types.length;
  if (p === snap - 1 && types) box.append(el("h4", {}, `Types found or changed: ${types}`));
}
function jump(n, back) {
  if (before !== back) { before = back; draw(true); }
  const i = verts.findIndex(v => v.node === n); if (i >= 0) { graph.choose(i, false, true); graph.centre(i); select(i); }
}

// --- search
let hits = [], at = -1;
const FIELDS = { op: n => N[n].op, name: n => N[n].name, value: n => [...N[n].in, ...N[n].out].filter(v => v >= 0).map(v => V[v]).join(" "), provider: n => (placeOf(n) || [""])[0], tag: n => (N[n].tags || []).join(" "), source: n => Object.values(sourceOf(n) || {}).join(" ") };
const texts = new Map();
const textOf = n => { if (!texts.has(n)) texts.set(n, [FIELDS.op(n), FIELDS.name(n), FIELDS.value(n)].join(" ").toLowerCase()); return texts.get(n); };
const matches = (n, list) => list.every(w => { const [, field, rest] = /^(\w+):(.*)$/.exec(w) || []; return field in FIELDS ? FIELDS[field](n).toLowerCase().includes(rest) : textOf(n).includes(w); });
function walk(g, steps, visit) { for (const n of nodesOf(g)) { visit(n, steps); for (const label in N[n].graphs || {}) walk(N[n].graphs[label], [...steps, { key: keyOf(n), label, title: `${labelOf(n)}: ${label}` }], visit); } }
function seek(go = false) {
  const list = words($("search").value), box = $("results"); box.textContent = ""; hits = []; at = -1;
  $("tab-results").textContent = "Search";
  if (!list.length) { graph.find(null); box.append(el("p", { class: "soft" }, "Names of nodes, operators and values; several words must all be found. op:Conv, name:layer3, value:logits, provider:cpu, tag:fuse and source:model.py look in one place only.")); return; }
  const s = before && previous() !== null ? previous() : snap;
  walk(S[s].graph, [], (n, steps) => { if (matches(n, list)) hits.push([n, steps]); });
  graph.find(new Set(verts.map((v, i) => i).filter(i => verts[i].node !== undefined ? matches(verts[i].node, list) : list.every(w => `${verts[i].title} ${verts[i].sub}`.toLowerCase().includes(w)))));
  $("tab-results").textContent = `Search (${hits.length})`;
  for (const [k, [n, steps]] of hits.slice(0, 300).entries()) box.append(el("button", { class: "result", onclick: () => toHit(k) }, el("b", {}, shortOp(N[n].op)), " ", labelOf(n), steps.length ? el("span", {}, steps.map(x => x.title).join(" › ")) : null));
  if (!hits.length) box.append(el("p", { class: "soft" }, "Nothing in this graph."));
  if (hits.length > 300) box.append(el("p", { class: "soft" }, `and ${hits.length - 300} more`));
  if (go) { tab("results"); if (hits.length) toHit(0); }
}
function toHit(k) {
  const [n, steps] = hits[k]; at = k;
  if (JSON.stringify(steps) !== JSON.stringify(path)) { const keep = hits; path = steps; draw(); seek(); hits = keep; at = k; }
  const i = verts.findIndex(v => v.node === n); if (i >= 0) { graph.choose(i, false); graph.centre(i); }
}
$("search").addEventListener("input", () => seek(true));
$("search").addEventListener("keydown", ev => {
  if (ev.key === "Enter" && hits.length) toHit((at + (ev.shiftKey ? hits.length - 1 : 1)) % hits.length);
  else if (ev.key === "Escape") { $("search").value = ""; seek(); graph.canvas.focus(); }
});

// --- memory
const plans = P.memory, area = $("memory"), M = { l: 64, r: 12, t: 12, b: 24, chart: 70, gap: 18 };
const stepsOf = b => b[4] === b[5] ? b[4] + 1 : `${b[4] + 1}–${b[5] + 1}`;
let plan = 0, step = null, lit = new Set();
plans.forEach((m, i) => $("plan").append(el("option", { value: i }, `${m.title}: ${bytes(m.size)}`)));
$("plan").hidden = plans.length < 2;
$("memorypanel").hidden = !plans.length;
function blocksOf(n) { const own = new Set(N[n].out.filter(v => v >= 0).map(v => V[v])); return plans.length ? plans[0].blocks.filter(b => b[0].some(name => own.has(name))) : []; }
function memoryOf(i) {
  lit = new Set();
  if (i !== null && plans.length) { const v = verts[i], own = new Set(v.node === undefined ? [V[v.value]] : N[v.node].out.filter(x => x >= 0).map(x => V[x])); plans[plan].blocks.forEach((b, k) => { if (b[0].some(name => own.has(name))) lit.add(k); }); }
  drawMemory();
}
const scaleOf = (w, h) => { const m = plans[plan], n = Math.max(m.steps.length, 1), high = h - M.t - M.b - M.chart - M.gap; return { X: s => M.l + s / n * (w - M.l - M.r), Y: b => M.t + (1 - b / Math.max(m.size, 1)) * high, high, n }; };
function drawMemory() {
  if (!plans.length || !area.clientWidth) return;
  const [x, w, h] = sized(area), m = plans[plan], { X, Y, high, n } = scaleOf(w, h), bottom = M.t + high;
  x.font = `10.5px ${FONT}`; x.textBaseline = "middle"; x.textAlign = "right"; x.fillStyle = css("--soft"); x.strokeStyle = css("--line"); x.lineWidth = 1;
  if (!m.size) { x.textAlign = "center"; x.fillText("The plan keeps nothing in an arena: its kernels allocate what they make.", w / 2, M.t + high / 2); }
  else for (let i = 0; i <= 4; i++) { const y = Y(m.size * i / 4); x.beginPath(); x.moveTo(M.l, y); x.lineTo(w - M.r, y); x.stroke(); x.fillText(bytes(Math.round(m.size * i / 4)), M.l - 6, y); }
  x.textAlign = "left";
  m.blocks.forEach((b, k) => {
    const [values, , offset, size, first, lastStep] = b, l = X(first), r = X(lastStep + 1), t = Y(offset + size), tall = Math.max(Y(offset) - t, 1), wide = Math.max(r - l - .6, .8);
    const c = values.length ? kindColour(kindOf((m.steps[first] || ["", ""])[1].split("+").pop())) : parts("--line");
    x.globalAlpha = lit.size && !lit.has(k) ? .45 : 1; x.fillStyle = rgb(c); x.fillRect(l, t, wide, tall); if (tall > 3 && wide > 3) { x.strokeStyle = css("--panel"); x.strokeRect(l, t, wide, tall); }
    if (lit.has(k)) { x.strokeStyle = css("--accent"); x.lineWidth = 2; x.strokeRect(l, t, wide, tall); x.lineWidth = 1; }
    if (wide > 44 && tall > 12) { x.fillStyle = inkOn(c); x.fillText(fitting(x, values[0] || "scratch", wide - 8), l + 4, t + tall / 2); }
    x.globalAlpha = 1;
  });
  // in use at each step: in the arena, and with what lies outside
  const top = m.steps.reduce((a, s) => Math.max(a, s[3] + s[4]), Math.max(m.size, 1)), base = h - M.b, up = v => base - v / top * M.chart;
  for (const [from, to, colour] of [[() => 0, s => s[3], "--accent"], [s => s[3], s => s[3] + s[4], "--changed"]]) {
    x.globalAlpha = .6; x.fillStyle = css(colour);
    m.steps.forEach((s, i) => { const a = up(from(s)), b = up(to(s)); if (a > b) x.fillRect(X(i), b, X(i + 1) - X(i) + .4, a - b); });
    x.globalAlpha = 1;
  }
  x.fillStyle = css("--soft"); x.textAlign = "right"; x.fillText(bytes(top), M.l - 6, up(top)); x.fillText("0 B", M.l - 6, base); x.textAlign = "left"; x.fillText("step 1", M.l, base + 13); x.textAlign = "right"; x.fillText(`${n}`, w - M.r, base + 13);
  const p = m.peak, px = (X(p) + X(p + 1)) / 2;
  if (m.steps.length) { x.strokeStyle = css("--removed"); x.setLineDash([4, 3]); x.beginPath(); x.moveTo(px, M.t); x.lineTo(px, base); x.stroke(); x.setLineDash([]); x.fillStyle = css("--removed"); const text = `peak ${bytes(m.steps[p][3] + m.steps[p][4])}, step ${p + 1}`; x.textAlign = px > w - 190 ? "right" : "left"; x.fillText(text, px + (px > w - 190 ? -5 : 5), bottom + 8); }
  if (step !== null) { x.fillStyle = css("--ink"); x.globalAlpha = .12; x.fillRect(X(step), M.t, Math.max(X(step + 1) - X(step), 1), base - M.t); x.globalAlpha = 1; }
}
function tellStep() {
  const m = plans[plan], s = step === null ? m.peak : step, [label, ops, , arena, outside] = m.steps[s] || ["", "", [], 0, 0];
  $("atstep").textContent = ""; if (!m.steps.length) return;
  $("atstep").append(el("b", {}, `${step === null ? "Peak, step" : "Step"} ${s + 1} of ${m.steps.length}: ${ops}`), el("div", { class: "soft" }, label), `${bytes(arena)} of the arena in use` + (outside ? `, ${bytes(outside)} outside of it` : ""));
}
function memoryTable() {
  const m = plans[plan]; $("memorynote").textContent = `${P.signature} · arena ${bytes(m.size)} for ${bytes(m.blocks.reduce((s, b) => s + b[3], 0))} of results · blue: in the arena, orange: outside (outputs)` + (m.unknown.length ? ` · ${many(m.unknown.length, "value")} of unknown size not shown` : "");
  $("largest").textContent = "";
  m.blocks.map((b, i) => i).sort((a, b) => m.blocks[b][3] - m.blocks[a][3]).slice(0, 7).forEach(i => { const b = m.blocks[i]; $("largest").append(el("tr", { onclick: () => toValue(b[0][0]) }, el("td", { title: `${b[0].join(", ")} ${b[1]}` }, b[0][0] || "scratch"), el("td", { class: "n" }, bytes(b[3])), el("td", { class: "n" }, `${stepsOf(b)}`))); });
  tellStep(); drawMemory();
}
function toValue(name) {
  if (!name) return;
  const s = S.length - 1; let found = null;
  walk(S[s].graph, [], (n, steps) => { if (!found && N[n].out.some(v => v >= 0 && V[v] === name)) found = [n, steps]; });
  if (!found) return;
  before = false; path = found[1]; snap = s; show(s);
  const i = verts.findIndex(v => v.node === found[0]); if (i >= 0) { graph.choose(i, false); graph.centre(i); }
}
function under(ev) {
  const r = area.getBoundingClientRect(), { X, Y, n } = scaleOf(r.width, r.height), px = ev.clientX - r.left, py = ev.clientY - r.top, m = plans[plan];
  const s = Math.floor((px - M.l) / (r.width - M.l - M.r) * n), k = m.blocks.findIndex(b => px >= X(b[4]) && px <= X(b[5] + 1) && py <= Y(b[2]) + 1 && py >= Y(b[2] + b[3]) - 1);
  return [s >= 0 && s < m.steps.length ? s : null, k];
}
if (plans.length) {
  area.addEventListener("pointermove", ev => { const [s, k] = under(ev), m = plans[plan]; step = s; tellStep(); drawMemory(); const b = m.blocks[k]; tell(ev, b ? `${b[0].length ? b[0].map(v => "%" + v).slice(0, 6).join(", ") : "scratch"}\n${b[1]}, ${bytes(b[3])} at ${count(b[2])}\nsteps ${stepsOf(b)}` : ""); });
  area.addEventListener("pointerleave", ev => { step = null; tell(ev, ""); tellStep(); drawMemory(); });
  area.addEventListener("click", ev => { const b = plans[plan].blocks[under(ev)[1]]; if (b) toValue(b[0][0]); });
  area.addEventListener("keydown", ev => {
    const m = plans[plan], to = { ArrowLeft: (step ?? m.peak) - 1, ArrowRight: (step ?? m.peak) + 1, Home: 0, End: m.steps.length - 1 }[ev.key];
    if (to !== undefined) { step = Math.min(Math.max(to, 0), m.steps.length - 1); tellStep(); drawMemory(); ev.preventDefault(); }
    else if (ev.key === "Enter") toValue(m.steps[step ?? m.peak][2][0]);
  });
  $("plan").addEventListener("change", () => { plan = +$("plan").value; step = null; memoryTable(); });
  new ResizeObserver(drawMemory).observe(area); repaints.push(drawMemory); memoryTable();
}

// --- tables
(function () {
  const about = [["file", F.file]];
  if (F.producer) about.push(["producer", F.producer]);
  if (F.graph) about.push(["graph", F.graph]);
  if (F.description) about.push(["description", F.description]);
  about.push(["IR version", F.ir_version], ["opsets", Object.entries(F.opsets).map(([d, v]) => `${d} ${v}`).join(", ")]);
  for (const [name, size] of Object.entries(F.external_files)) about.push(["external data", `${name} (${bytes(size)})`]);
  for (const name of F.functions) about.push(["function", P.functions[name] === undefined ? name : el("button", { class: "link", onclick: () => enter([{ fn: name, title: name }]) }, name)]);
  for (const [k, v] of Object.entries(F.metadata)) about.push([k, cut(v, 300)]);
  $("about2").append(pairs(about));
  const run = {}; walk(S[last].graph, [], n => run[N[n].op] = (run[N[n].op] || 0) + 1);
  const ops = [...new Set([...Object.keys(F.operators), ...Object.keys(run)])].sort((a, b) => (run[b] || 0) - (run[a] || 0) || (F.operators[b] || 0) - (F.operators[a] || 0)), top = ops.reduce((m, op) => Math.max(m, run[op] || 0), 1);
  $("operators").append(el("tr", {}, el("th", {}, "operator"), el("th", { class: "n" }, "imported"), el("th", { class: "n" }, "run"), el("th", {})));
  for (const op of ops) { const bar = el("span", { class: "share" }); bar.style.width = `${90 * (run[op] || 0) / top}px`; $("operators").append(el("tr", {}, el("td", {}, el("button", { class: "link", onclick: () => { $("search").value = `op:${op}`; seek(true); $("graph").scrollIntoView({ block: "center" }); } }, op)), el("td", { class: "n" }, F.operators[op] || ""), el("td", { class: "n" }, run[op] || ""), el("td", {}, run[op] ? bar : ""))); }
  $("values").append(el("tr", {}, el("th", {}, ""), el("th", {}, "name"), el("th", {}, "type")));
  for (const [kind, list] of [["input", F.inputs], ["output", F.outputs]]) for (const v of list) $("values").append(el("tr", {}, el("td", {}, kind), el("td", { title: v.name }, v.name), el("td", {}, v.type)));
  for (const [dtype, r] of Object.entries(F.parameters)) $("values").append(el("tr", {}, el("td", {}, "constants"), el("td", {}, `${many(r.tensors, "tensor")}, ${count(r.elements)} ${r.elements === 1 ? "element" : "elements"}`), el("td", {}, `${dtype}, ${bytes(r.bytes)}`)));
})();

// --- keys
$("colour").addEventListener("change", () => { graph.style = styleOf(before); legend(); graph.draw(); });
$("against").addEventListener("change", () => { draw(true); select(null); seek(); });
const flip = () => { if (previous() === null) return; const key = graph.chosen === null ? null : verts[graph.chosen].key; before = !before; draw(true); const i = key === null ? undefined : places.get(key); if (i === undefined) select(null); else graph.choose(i); seek(); };
$("side").addEventListener("click", flip);
$("fit").addEventListener("click", () => graph.fit(true));
repaints.push(() => { graph.style = styleOf(before); legend(); });
addEventListener("keydown", ev => {
  if (typing(ev) || ev.ctrlKey || ev.metaKey || ev.altKey) return;
  if (ev.key === "/") { ev.preventDefault(); $("search").focus(); $("search").select(); }
  else if (ev.key === "[") show(Math.max(snap - 1, 0));
  else if (ev.key === "]") show(Math.min(snap + 1, last));
  else if (ev.key === "b") flip();
  else if (ev.key === "t") switchTheme();
  else if (ev.key === "Escape" && path.length) { const step = path[path.length - 1]; enter(path.slice(0, -1)); const i = places.get(step.key); if (i !== undefined) graph.choose(i); }
});
tab("node"); seek(); show(snap);
