// The slider of granularity. Each step is drawn at once, from the hierarchy; the server is told when it rests.

import * as api from "./api.js";
import { Hierarchy, ladder } from "./hierarchy.js";

const $ = (id) => document.getElementById(id);
const REST = 500; // milliseconds

export class Granularity {
  /** @param act {preview(labels, regions), edit(change)} @param colours of segments 1, 2, ... */
  constructor(act, colours) {
    Object.assign(this, { act, colours, tree: null, pending: null, drawn: 0, timer: 0 });
    $("granularity").addEventListener("input", () => this.step());
    $("cut-by").addEventListener("change", () => { this.scale(); this.show(this.state); });
  }

  get byLevel() { return $("cut-by").value === "level"; }

  /** Fetch what all cuts of a result are made from. */
  async load(state) {
    this.drop();
    this.tree = null;
    $("cut").hidden = !state.hierarchy;
    if (!state.hierarchy) return;
    const [superpixels, tree] = await Promise.all([api.superpixels(state.id), api.hierarchy(state.id)]);
    this.tree = new Hierarchy(superpixels, tree);
    this.ladder = ladder(tree.most);
    this.scale();
  }

  scale() {
    $("granularity").max = this.byLevel ? 100 : this.ladder.length - 1;
  }

  /** Put the slider where the segments are. */
  show(state) {
    this.state = state;
    if (!this.tree) return;
    const { cut } = state;
    const segments = cut ? cut.segments ?? this.tree.segmentsAt(cut.level) : Math.min(state.regions.length, this.tree.most);
    const level = cut?.level ?? this.tree.levelOf(segments);
    $("granularity").value = this.byLevel ? Math.round(100 * level) : this.ladder.findLastIndex((k) => k <= segments);
    this.say(cut ? this.words(segments, level) : "move to cut the hierarchy of superpixels");
  }

  words(segments, level) {
    return `${segments} segment${segments === 1 ? "" : "s"}, level ${level.toFixed(2)}`;
  }

  say(text) {
    $("cut-text").textContent = text;
    $("granularity").setAttribute("aria-valuetext", text);
  }

  step() {
    const value = Number($("granularity").value);
    const level = value / 100;
    const segments = this.byLevel ? this.tree.segmentsAt(level) : this.ladder[value];
    if (segments > this.tree.most) {
      this.drop();
      this.say(`${segments} segments; at most ${this.tree.most}`);
      return;
    }
    this.pending = this.byLevel ? { level } : { segments };
    this.say(this.words(segments, this.byLevel ? level : this.tree.levelOf(segments)));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.settle(), REST);
    cancelAnimationFrame(this.drawn);
    this.drawn = requestAnimationFrame(() => this.draw(segments));
  }

  draw(segments) {
    const { labels, areas } = this.tree.cut(segments);
    const whole = areas.reduce((sum, area) => sum + area, 0);
    this.act.preview(labels, areas.map((area, i) => (
      { segment: i + 1, name: `segment ${i + 1}`, colour: this.colours[i], area, share: area / whole })));
  }

  /** Tell the server of the last step, if it does not know; done when it does. */
  settle() {
    const { pending } = this;
    this.drop();
    return pending ? this.act.edit({ action: "cut", ...pending }) : Promise.resolve();
  }

  drop() {
    clearTimeout(this.timer);
    this.pending = null;
  }
}
