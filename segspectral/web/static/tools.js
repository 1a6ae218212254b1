// Pointers and the wheel on the stage: paint regions, scribble, move, zoom. One finger works, two move and zoom.

import { alongLine, insidePolygon } from "./shapes.js";

const $ = (id) => document.getElementById(id);

export class Tools {
  /** @param desk {stage, wand(), painting(), value(), regions()} what the tools work on */
  constructor(desk) {
    Object.assign(this, { desk, name: "region", held: null, pointers: new Map(), stroke: null, node: 0, under: 0 });
    const stage = $("stage");
    stage.addEventListener("pointerdown", (event) => this.down(event));
    stage.addEventListener("pointermove", (event) => this.move(event));
    for (const type of ["pointerup", "pointercancel"]) stage.addEventListener(type, (event) => this.up(event));
    stage.addEventListener("pointerleave", () => { if (!this.stroke) this.point(null); });
    stage.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    stage.addEventListener("contextmenu", (event) => event.preventDefault());
    for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => this.choose(button.dataset.tool));
    this.choose("region");
  }

  choose(name) {
    this.name = name;
    for (const button of document.querySelectorAll("[data-tool]")) button.setAttribute("aria-checked", button.dataset.tool === name);
    $("stage").classList.toggle("moving", name === "move");
    this.point(null);
  }

  get radius() { return Number($("size").value) / 2 / this.desk.stage.scale; }

  /** What the tool would do at a point of the image. */
  point(at) {
    const { stage } = this.desk;
    const { tool } = stage;
    const superpixel = at && this.desk.wand() ? stage.superpixelAt(at) : 0;
    const wand = this.desk.wand();
    if (!superpixel || this.name !== "region") this.node = 0;
    else if (!this.node || wand.place[superpixel] < wand.first[this.node] || wand.place[superpixel] > wand.last[this.node]) {
      this.node = this.desk.regions()[superpixel];
    }
    this.under = superpixel;
    tool.node = this.node;
    tool.circle = at && ["brush", "pencil"].includes(this.name) && stage.inside(at) ? { at, radius: this.radius } : null;
    stage.draw();
  }

  down(event) {
    if (event.target.closest("#empty, #error") || !this.desk.painting()) return;
    $("stage").focus({ preventScroll: true });
    $("stage").setPointerCapture(event.pointerId);
    event.preventDefault();
    this.desk.stage.tool.cross = null;
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size > 1) { this.drop(); return; } // two fingers
    const at = this.desk.stage.at(event.clientX, event.clientY);
    if (this.name === "move" || this.held === " " || event.button === 1) { this.stroke = { panning: true }; return; }
    if (event.button !== 0) return;
    this.stroke = { value: event.altKey ? 0 : this.desk.value(), last: at, line: [at], seen: new Set() };
    this.desk.painting().begin();
    this.point(at);
    this.paint(at);
  }

  move(event) {
    const { stage } = this.desk;
    const before = this.pointers.get(event.pointerId);
    if (before) this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (before && this.pointers.size === 2) { this.pinch(event, before); return; }
    if (before && this.stroke?.panning) { stage.pan(event.clientX - before[0], event.clientY - before[1]); return; }
    if (!this.stroke) { if (this.pointers.size === 0) this.point(stage.at(event.clientX, event.clientY)); return; }
    // A quick stroke has points between two events.
    for (const one of event.getCoalescedEvents?.() ?? []) this.paint(stage.at(one.clientX, one.clientY));
    const at = stage.at(event.clientX, event.clientY);
    this.point(at);
    this.paint(at);
  }

  up(event) {
    const last = this.pointers.delete(event.pointerId);
    if (!last || !this.stroke) return;
    if (!this.stroke.panning) {
      if (event.type === "pointercancel") this.desk.painting().cancel();
      else {
        if (this.name === "lasso") this.lasso();
        this.desk.painting().end();
      }
    }
    this.stroke = null;
    this.desk.stage.tool.line = null;
    this.point(event.pointerType === "mouse" ? this.desk.stage.at(event.clientX, event.clientY) : null);
  }

  drop() {
    if (this.stroke && !this.stroke.panning) this.desk.painting().cancel();
    this.stroke = null;
    this.desk.stage.tool.line = null;
    this.point(null);
  }

  pinch(event, before) {
    const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    const now = [event.clientX, event.clientY];
    const apart = (a) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
    const { stage } = this.desk;
    stage.pan((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
    stage.zoom(apart(now) / apart(before), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  }

  /** The wheel changes the region under the pointer; with Ctrl, as a trackpad's pinch says it, the zoom. */
  wheel(event) {
    if (!this.desk.wand()) return;
    event.preventDefault();
    const { stage } = this.desk;
    if (event.ctrlKey || event.metaKey || this.name !== "region") {
      stage.zoom(Math.exp(-Math.sign(event.deltaY) * Math.min(Math.abs(event.deltaY), 60) * 0.004), event.clientX, event.clientY);
    } else if (event.deltaY) {
      this.point(stage.at(event.clientX, event.clientY));
      this.resize(event.deltaY < 0);
    }
  }

  /** Make the region that is pointed at larger or smaller. */
  resize(larger) {
    const wand = this.desk.wand();
    if (!this.node) return;
    this.node = larger ? wand.larger(this.node) : wand.smaller(this.node, this.under);
    this.desk.stage.tool.node = this.node;
    this.desk.stage.draw();
  }

  paint(at) {
    const { stage } = this.desk;
    const { stroke } = this;
    if (this.name === "lasso") { stroke.line.push(at); stage.tool.line = stroke.line; stage.draw(); return; }
    const { width, height, superpixels } = stage.image;
    if (this.name === "region") {
      const s = stage.superpixelAt(at);
      if (s) this.give(this.within(s) ? this.node : this.desk.regions()[s]);
    } else if (this.name === "brush") {
      const regions = this.desk.regions();
      alongLine(stroke.last, at, this.radius, width, height, (i) => { if (superpixels[i]) this.give(regions[superpixels[i]]); });
    } else if (this.name === "pencil") {
      const pixels = [];
      alongLine(stroke.last, at, this.radius, width, height, (i) => { if (superpixels[i]) pixels.push(i); });
      this.desk.painting().set(Uint32Array.from(pixels), stroke.value);
    }
    stroke.last = at;
    stage.draw();
  }

  within(superpixel) {
    const wand = this.desk.wand();
    return this.node && wand.place[superpixel] >= wand.first[this.node] && wand.place[superpixel] <= wand.last[this.node];
  }

  /** Paint a region, once in a stroke. */
  give(node) {
    const { seen, value } = this.stroke;
    if (seen.has(node)) return;
    seen.add(node);
    this.desk.painting().set(this.desk.wand().pixels(node), value);
  }

  /** The regions most of which lie within the outline. */
  lasso() {
    const { width, height, superpixels } = this.desk.stage.image;
    const regions = this.desk.regions();
    const counts = new Map();
    insidePolygon(this.stroke.line, width, height, (i) => {
      const node = superpixels[i] && regions[superpixels[i]];
      if (node) counts.set(node, (counts.get(node) || 0) + 1);
    });
    for (const [node, count] of counts) if (2 * count > this.desk.wand().area(node)) this.give(node);
  }

  /** With the keyboard: move a cross over the picture, and paint what is under it. */
  step(dx, dy) {
    const { stage } = this.desk;
    if (!stage.image) return;
    const { width, height } = stage.image;
    const [x, y] = stage.tool.cross ?? [width / 2, height / 2];
    stage.tool.cross = [Math.min(width - 1, Math.max(0, x + dx / stage.scale)), Math.min(height - 1, Math.max(0, y + dy / stage.scale))];
    this.point(stage.tool.cross);
  }

  press() {
    const { stage } = this.desk;
    if (!stage.tool.cross) { this.step(0, 0); return; }
    const at = stage.tool.cross;
    this.stroke = { value: this.desk.value(), last: at, line: [at], seen: new Set() };
    this.desk.painting().begin();
    this.paint(at);
    this.desk.painting().end();
    this.stroke = null;
  }
}
