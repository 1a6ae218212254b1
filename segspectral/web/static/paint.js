// The class of each pixel, and the steps that made it: undo and redo.

const STEPS = 200;
const BYTES = 200e6; // of all steps that can be undone

export class Painting {
  /** @param labels Uint8Array, a class for each pixel, 0 for none @param changed called after each change */
  constructor(labels, changed) {
    Object.assign(this, { labels, changed, past: [], future: [], open: null });
  }

  get canUndo() { return this.past.length > 0; }
  get canRedo() { return this.future.length > 0; }
  get empty() { return this.labels.every((label) => label === 0); }

  /** Everything that is set until `end` is one step. */
  begin() { this.open = []; }

  /** Give pixels a class. @param pixels Uint32Array, kept as it is */
  set(pixels, value) {
    const { labels } = this;
    let same = true;
    const before = new Uint8Array(pixels.length);
    for (let i = 0; i < pixels.length; i++) {
      const label = labels[pixels[i]];
      before[i] = label;
      if (label !== value) same = false;
    }
    if (same) return;
    for (let i = 0; i < pixels.length; i++) labels[pixels[i]] = value;
    this.open.push({ pixels, before, value });
  }

  end() {
    const step = this.open;
    this.open = null;
    if (!step?.length) return;
    this.past.push(step);
    this.future = [];
    let bytes = 0;
    let kept = 0;
    for (const one of [...this.past].reverse()) {
      bytes += one.reduce((sum, { pixels }) => sum + 5 * pixels.length, 0);
      if (kept && (bytes > BYTES || kept >= STEPS)) break;
      kept++;
    }
    this.past.splice(0, this.past.length - kept);
    this.changed();
  }

  /** Take back what was set since `begin`. */
  cancel() {
    if (this.open) this.back(this.open);
    this.open = null;
  }

  back(step) {
    for (const { pixels, before } of [...step].reverse()) {
      for (let i = 0; i < pixels.length; i++) this.labels[pixels[i]] = before[i];
    }
  }

  undo() {
    const step = this.past.pop();
    if (!step) return;
    this.back(step);
    this.future.push(step);
    this.changed();
  }

  redo() {
    const step = this.future.pop();
    if (!step) return;
    for (const { pixels, value } of step) for (const i of pixels) this.labels[i] = value;
    this.past.push(step);
    this.changed();
  }

  /** Take a class away from all its pixels, also in the middle of a stroke. */
  takeAway(value) {
    const stroke = this.open;
    if (!stroke) this.begin();
    this.set(Uint32Array.from(this.labels.keys()).filter((i) => this.labels[i] === value), 0);
    if (!stroke) this.end();
  }

  /** Give pixels without a class the one that `of` says. */
  fill(of) {
    const found = new Map();
    for (let i = 0; i < this.labels.length; i++) {
      const value = this.labels[i] ? 0 : of(i);
      if (!value) continue;
      if (!found.has(value)) found.set(value, []);
      found.get(value).push(i);
    }
    this.begin();
    for (const [value, pixels] of found) this.set(Uint32Array.from(pixels), value);
    this.end();
  }
}
