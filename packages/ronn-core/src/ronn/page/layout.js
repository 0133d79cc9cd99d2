// Where the nodes of a graph go: in layers by depth. Edges pass the layers between on lanes; those from one node share
// theirs; where lanes would be too many, the longest edges go without. Uses nothing of the browser.
const NODE_W = 172, NODE_H = 34;
const GAP_X = 22, GAP_Y = 30, LANE = 14, SWEEPS = 6, MOST_LANES = 60000;

// inputs[i]: the nodes before node i, all of them with smaller numbers. Returns centres x, y of nodes and lanes (lanes
// from number inputs.length on), segments [from, to, source node], layers, width and height.
function layered(inputs) {
  const n = inputs.length, depth = new Array(n).fill(0), users = inputs.map(() => []);
  inputs.forEach((before, i) => { for (const b of before) { depth[i] = Math.max(depth[i], depth[b] + 1); users[b].push(i); } });
  // Nodes that follow nothing stand just above their first user.
  inputs.forEach((before, i) => { if (!before.length && users[i].length) depth[i] = users[i].reduce((least, u) => Math.min(least, depth[u]), Infinity) - 1; });
  const layers = [], put = (node, d) => { while (layers.length <= d) layers.push([]); layers[d].push(node); };
  depth.forEach((d, i) => put(i, d));
  const up = inputs.map(() => []), down = inputs.map(() => []), segments = [];
  const join = (a, b, source) => { down[a].push(b); up[b].push(a); segments.push([a, b, source]); };
  const spans = users.map((list, i) => list.reduce((most, t) => Math.max(most, depth[t] - depth[i]), 0));
  let reach = layers.length;
  while (spans.reduce((sum, s) => sum + Math.min(s, reach), 0) > MOST_LANES + n) reach = Math.floor(reach / 2);
  for (let source = 0; source < n; source++) {
    const all = [...new Set(users[source])], targets = all.filter(t => depth[t] - depth[source] <= reach);
    const last = targets.reduce((most, t) => Math.max(most, depth[t]), depth[source]);
    for (const t of all) if (depth[t] - depth[source] > reach) segments.push([source, t, source]);
    const at = [source];  // what stands for the source in each layer below it
    for (let d = depth[source] + 1; d < last; d++) {
      const lane = up.length;
      up.push([]); down.push([]); depth.push(d); put(lane, d); join(at[at.length - 1], lane, source); at.push(lane);
    }
    for (const t of targets) join(at[depth[t] - depth[source] - 1], t, source);
  }
  const x = place(layers, up, down, n), y = depth.map(d => d * (NODE_H + GAP_Y) + NODE_H / 2);
  let left = 0, right = 0;
  x.forEach((v, i) => { left = i ? Math.min(left, v - NODE_W / 2) : v - NODE_W / 2; });
  for (let i = 0; i < x.length; i++) { x[i] -= left; right = Math.max(right, x[i] + NODE_W / 2); }
  return { count: n, x, y, segments, layers, depth, width: right, height: layers.length * (NODE_H + GAP_Y) };
}

// Horizontal centres: layers are ordered by the mean place of neighbours, and kept as near to it as widths let.
function place(layers, up, down, real) {
  const x = new Array(up.length).fill(0);
  for (const layer of layers) spread(layer, layer.map((_, i) => i * (NODE_W + GAP_X)), x, real);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const near = sweep % 2 ? down : up;
    for (let i = 0; i < layers.length; i++) {
      const layer = layers[sweep % 2 ? layers.length - 1 - i : i];
      const wanted = new Map(layer.map(n => [n, near[n].length ? near[n].reduce((s, m) => s + x[m], 0) / near[n].length : x[n]]));
      layer.sort((a, b) => wanted.get(a) - wanted.get(b));
      spread(layer, layer.map(n => wanted.get(n)), x, real);
    }
  }
  return x;
}

// Gives the nodes of a layer, in order, places that do not overlap, near the wanted ones: blocks of nodes that touch are
// merged until none overlap, each at the mean of what its members want.
function spread(layer, wanted, x, real) {
  const width = layer.map(n => n < real ? NODE_W + GAP_X : LANE * 1.5), half = layer.map(n => n < real ? NODE_W / 2 : LANE / 2);
  const blocks = [];  // [sum of wanted starts, count, width, first member]
  layer.forEach((_, i) => {
    let block = [wanted[i] - half[i], 1, width[i], i];
    for (let last; (last = blocks[blocks.length - 1]) && last[0] / last[1] + last[2] > block[0] / block[1];) {
      blocks.pop();
      block = [last[0] + block[0] - last[2] * block[1], last[1] + block[1], last[2] + block[2], last[3]];
    }
    blocks.push(block);
  });
  blocks.forEach(([total, count, , first]) => {
    let start = total / count;
    for (let i = first; i < first + count; i++) { x[layer[i]] = start + half[i]; start += width[i]; }
  });
}
