// A graph on a canvas: zoom, pan, selection, keyboard. Only what is in view is drawn.
class GraphView {
  // on: tip(i), chosen(i), opened(i): what is said of a node, and what happens when it is chosen or opened.
  constructor(host, label, on) {
    this.on = on; this.view = { x: 0, y: 0, k: 1 }; this.chosen = null; this.found = null; this.vertices = []; this.style = () => ({ fill: parts("--node") });
    this.canvas = el("canvas", { tabindex: "0", role: "application", "aria-label": `${label}. Arrow keys go along edges, plus and minus zoom, 0 shows all.` });
    this.said = el("div", { class: "said", "aria-live": "polite" });
    host.prepend(this.canvas, this.said);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(host);
    repaints.push(() => this.draw());
  }

  // vertices: {title, right, sub, detail, pill, inputs}: two lines of text, left and right. keep: the view stays where it is.
  show(vertices, keep = false) {
    this.vertices = vertices; this.chosen = null; this.found = null;
    this.at = layered(vertices.map(v => v.inputs));
    this.before = new Map(this.at.segments.filter(s => s[1] >= this.at.count).map(s => [s[1], s]));  // of lanes
    this.users = vertices.map(() => []);
    vertices.forEach((v, i) => { for (const b of v.inputs) this.users[b].push(i); });
    if (keep) this.draw(); else this.fit(false);
  }

  // --- the view
  fit(all) {
    const w = this.canvas.clientWidth, h = this.canvas.clientHeight, { width, height } = this.at, whole = Math.min(w / (width + 40), h / (height + 24));
    const k = Math.min(all ? whole : Math.max(whole, .72), 1.3), first = this.vertices.length ? this.at.x[0] : 0;
    this.view = { k, x: all || width * k <= w ? (w - width * k) / 2 : w / 2 - first * k, y: all || k === whole ? (h - height * k) / 2 : 14 };
    this.draw();
  }
  centre(i) {
    this.view.k = Math.max(this.view.k, .72);
    this.view.x = this.canvas.clientWidth / 2 - this.at.x[i] * this.view.k; const h = this.canvas.clientHeight, tall = this.at.height * this.view.k;
    this.view.y = h / 2 - this.at.y[i] * this.view.k;
    if (tall > h) this.view.y = Math.min(Math.max(this.view.y, h - tall - 14), 14);  // no emptiness beyond the ends
    this.draw();
  }
  reveal(i) {  // centres a node that is not in view
    const [x, y] = [this.at.x[i] * this.view.k + this.view.x, this.at.y[i] * this.view.k + this.view.y];
    if (this.view.k < .3 || x < 60 || y < 20 || x > this.canvas.clientWidth - 60 || y > this.canvas.clientHeight - 20) this.centre(i); else this.draw();
  }
  zoom(factor, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    const v = this.view, k = Math.min(Math.max(v.k * factor, .005), 4);
    this.view = { k, x: x - (x - v.x) * k / v.k, y: y - (y - v.y) * k / v.k }; this.draw();
  }

  // --- choosing
  choose(i, move = true, quiet = false) {
    this.chosen = i;
    if (i !== null) { const v = this.vertices[i]; this.said.textContent = `${v.title} ${v.sub}`; if (move) this.reveal(i); else this.draw(); } else this.draw();
    if (!quiet) this.on.chosen(i);
  }
  find(set) { this.found = set; this.draw(); }  // a set of nodes to show, the others faint; null: all as usual
  hit(ev) {
    const r = this.canvas.getBoundingClientRect(), x = (ev.clientX - r.left - this.view.x) / this.view.k, y = (ev.clientY - r.top - this.view.y) / this.view.k;
    const layer = this.at.layers[Math.floor(y / (NODE_H + GAP_Y))] || [];
    const i = layer.find(n => n < this.at.count && Math.abs(this.at.x[n] - x) <= NODE_W / 2 && Math.abs(this.at.y[n] - y) <= NODE_H / 2);
    return i === undefined ? null : i;
  }
  beside(i, step) {  // the neighbour in the same layer
    const row = this.at.layers[this.at.depth[i]].filter(n => n < this.at.count).sort((a, b) => this.at.x[a] - this.at.x[b]);
    return row[row.indexOf(i) + step];
  }
  step(key) {
    if (this.chosen === null) return this.vertices.length ? 0 : undefined;
    const c = this.chosen, near = list => list.length ? list.reduce((a, b) => Math.abs(this.at.x[b] - this.at.x[c]) < Math.abs(this.at.x[a] - this.at.x[c]) ? b : a) : undefined;
    return { ArrowUp: () => near(this.vertices[c].inputs), ArrowDown: () => near(this.users[c]), ArrowLeft: () => this.beside(c, -1), ArrowRight: () => this.beside(c, 1) }[key]();
  }
  listen() {
    const c = this.canvas;
    c.addEventListener("wheel", ev => { ev.preventDefault(); const r = c.getBoundingClientRect(); this.zoom(Math.exp(-ev.deltaY * .0016), ev.clientX - r.left, ev.clientY - r.top); }, { passive: false });
    let drag = null;
    c.addEventListener("pointerdown", ev => { drag = { x: ev.clientX - this.view.x, y: ev.clientY - this.view.y, from: [ev.clientX, ev.clientY], moved: false }; c.setPointerCapture(ev.pointerId); });
    c.addEventListener("pointermove", ev => {
      if (!drag) { const i = this.hit(ev); c.style.cursor = i === null ? "" : "pointer"; tell(ev, i === null ? "" : this.on.tip(i)); return; }
      drag.moved = drag.moved || Math.hypot(ev.clientX - drag.from[0], ev.clientY - drag.from[1]) > 4;
      if (drag.moved) { c.classList.add("moving"); tell(ev, ""); this.view.x = ev.clientX - drag.x; this.view.y = ev.clientY - drag.y; this.draw(); }
    });
    c.addEventListener("pointerup", ev => { if (drag && !drag.moved) { const i = this.hit(ev); if (i !== null) this.choose(i, false); } drag = null; c.classList.remove("moving"); });
    c.addEventListener("pointercancel", () => { drag = null; c.classList.remove("moving"); });
    c.addEventListener("pointerleave", ev => tell(ev, ""));
    c.addEventListener("dblclick", ev => { const i = this.hit(ev); if (i !== null && this.on.opened) this.on.opened(i); });
    c.addEventListener("keydown", ev => {
      if (ev.ctrlKey || ev.metaKey || ev.altKey) return;
      if (ev.key.startsWith("Arrow")) {
        if (ev.shiftKey) { const [dx, dy] = { ArrowUp: [0, 80], ArrowDown: [0, -80], ArrowLeft: [80, 0], ArrowRight: [-80, 0] }[ev.key]; this.view.x += dx; this.view.y += dy; this.draw(); }
        else { const i = this.step(ev.key); if (i !== undefined) this.choose(i); }
      } else if (ev.key === "+" || ev.key === "=") this.zoom(1.25);
      else if (ev.key === "-") this.zoom(.8);
      else if (ev.key === "0") this.fit(true);
      else if (ev.key === "Enter" && this.chosen !== null && this.on.opened) this.on.opened(this.chosen);
      else return;
      ev.preventDefault();
    });
  }

  // --- drawing
  draw() { if (!this.frame) this.frame = requestAnimationFrame(() => { this.frame = null; this.paint(); }); }
  paint() {
    if (!this.at) return;
    const [x, w, h] = sized(this.canvas), { x: vx, y: vy, k } = this.view, at = this.at;
    x.translate(vx, vy); x.scale(k, k);
    const box = { l: -vx / k, t: -vy / k, r: (w - vx) / k, b: (h - vy) / k };
    this.paintEdges(x, box, k, at);
    const y0 = Math.max(Math.floor(box.t / (NODE_H + GAP_Y)), 0), y1 = Math.min(Math.ceil(box.b / (NODE_H + GAP_Y)), at.layers.length - 1);
    for (let d = y0; d <= y1; d++) for (const i of at.layers[d]) if (i < at.count && at.x[i] + NODE_W / 2 >= box.l && at.x[i] - NODE_W / 2 <= box.r) this.paintNode(x, i, k);
  }
  lit() {  // the edges of the chosen node, all the way
    const found = new Set();
    if (this.chosen !== null) for (const s of this.at.segments) {
      if (s[2] === this.chosen) found.add(s);
      else if (s[1] === this.chosen) for (let t = s; t && !found.has(t); t = this.before.get(t[0])) found.add(t);
    }
    return found;
  }
  paintEdges(x, box, k, at) {
    const lit = this.lit(), plain = k < .12, curve = ([a, b]) => {
      const ya = at.y[a] + NODE_H / 2, yb = at.y[b] - NODE_H / 2, mid = (ya + yb) / 2;
      x.moveTo(at.x[a], ya);
      if (plain) x.lineTo(at.x[b], yb); else x.bezierCurveTo(at.x[a], mid, at.x[b], mid, at.x[b], yb);
      if (b >= at.count) x.lineTo(at.x[b], at.y[b] + NODE_H / 2);
    };
    x.beginPath(); x.strokeStyle = css("--edge"); x.lineWidth = Math.max(1.2, .5 / k);
    for (const s of at.segments) {
      const [a, b] = s;
      if (at.y[b] + NODE_H < box.t || at.y[a] - NODE_H > box.b || Math.max(at.x[a], at.x[b]) < box.l || Math.min(at.x[a], at.x[b]) > box.r) continue;
      if (!lit.has(s)) curve(s);
    }
    x.globalAlpha = this.found ? .4 : 1; x.stroke(); x.globalAlpha = 1;
    x.beginPath(); x.strokeStyle = css("--accent"); x.lineWidth = Math.max(2.4, 1.2 / k); lit.forEach(curve); x.stroke();
  }
  paintNode(x, i, k) {
    const v = this.vertices[i], s = this.style(i), l = this.at.x[i] - NODE_W / 2, t = this.at.y[i] - NODE_H / 2, ink = inkOn(s.fill);
    x.globalAlpha = this.found && !this.found.has(i) ? .22 : 1;
    x.beginPath(); if (k < .15) x.rect(l, t, NODE_W, NODE_H); else x.roundRect(l, t, NODE_W, NODE_H, v.pill ? NODE_H / 2 : 6);
    x.fillStyle = rgb(s.fill); x.fill();
    x.lineWidth = s.stroke ? Math.max(2.2, 1.4 / k) : 1; x.strokeStyle = s.stroke ? s.stroke : css("--line"); x.setLineDash(s.dash || []); x.stroke(); x.setLineDash([]);
    if (i === this.chosen) { x.beginPath(); x.roundRect(l - 3, t - 3, NODE_W + 6, NODE_H + 6, v.pill ? NODE_H / 2 + 3 : 9); x.lineWidth = Math.max(2.4, 1.6 / k); x.strokeStyle = css("--accent"); x.stroke(); }
    if (k >= .3) {
      const pad = v.pill ? 16 : 9;
      x.fillStyle = ink; x.font = `600 11px ${FONT}`; x.textBaseline = "alphabetic";
      let room = NODE_W - 2 * pad;
      if (v.right) { x.font = `9.5px ${FONT}`; x.textAlign = "right"; x.fillText(v.right, l + NODE_W - pad, t + 14); room -= x.measureText(v.right).width + 6; x.textAlign = "left"; x.font = `600 11px ${FONT}`; }
      x.fillText(fitting(x, v.title, room), l + pad, t + 14);
      x.font = `9.5px ${FONT}`; x.globalAlpha *= .82; room = NODE_W - 2 * pad;
      if (v.detail) { x.textAlign = "right"; x.fillText(v.detail, l + NODE_W - pad, t + 27); room -= x.measureText(v.detail).width + 8; x.textAlign = "left"; }
      x.fillText(fitting(x, v.sub, room), l + pad, t + 27);
    }
    x.globalAlpha = 1;
  }
}
// The text, shortened in the middle to the room that it has.
function fitting(x, text, room) {
  const width = x.measureText(text).width;
  if (width <= room) return text;
  for (let keep = Math.max(Math.floor(text.length * room / width) - 1, 2); ; keep--) {
    const head = Math.ceil(keep * .55), short = text.slice(0, head) + "…" + text.slice(text.length - (keep - head));
    if (keep <= 2 || x.measureText(short).width <= room) return short;
  }
}
