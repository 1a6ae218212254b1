// The images of a project: opened one after the other, the next one in advance, and saved after each change.

import * as api from "./api.js";
import { able } from "./buttons.js";
import { Wand } from "./wand.js";

const $ = (id) => document.getElementById(id);
const REST = 700; // milliseconds from a change to its being saved
export const AGAIN = 4000; // and after a fault

export class Queue {
  /** @param act {say(text), fail(error), opened(image)} @param lesson what is known of guesses */
  constructor(act, lesson) {
    Object.assign(this, { act, lesson, project: null, number: null, ahead: new Map(), timer: 0, unsaved: false, turns: 0, saving: Promise.resolve() });
    addEventListener("beforeunload", (event) => { if (this.unsaved || this.turns) event.preventDefault(); });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.flush().catch(() => null); });
  }

  get entry() { return this.project?.images[this.number]; }

  /** The images in the order in which they are shown and opened. */
  get order() {
    const { images } = this.project;
    const by = $("order").value;
    if (by === "name") return images;
    const unsure = ({ number }) => this.lesson.unsure.get(number) ?? -1;
    const rank = ({ number }) => (by === "asked" ? this.lesson.rank(number) : Infinity);
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0); // two infinite ranks are equal
    return [...images].sort((a, b) => compare(rank(a), rank(b)) || unsure(b) - unsure(a));
  }

  /** The image so many steps after this one, undefined if there is none. */
  beside(step) {
    const { order } = this;
    return order[order.findIndex(({ number }) => number === this.number) + step];
  }

  show(project) {
    this.project = project;
    const { images } = project;
    this.lesson.heard(images);
    $("queue").replaceChildren(...this.order.map((image) => {
      const [item, button, mark] = ["li", "button", "span"].map((name) => document.createElement(name));
      mark.textContent = image.done ? "✓" : image.labelled ? "…" : "";
      button.type = "button";
      button.append(mark, image.name);
      const thumb = this.lesson.thumb(image.number);
      const left = this.lesson.left(image.number);
      if (left) button.append(Object.assign(document.createElement("b"), { textContent: left }));
      if (thumb) button.append(thumb);
      button.title = `${image.name}: ${image.done ? "done" : image.labelled ? "begun" : "not labelled yet"}${this.lesson.said(image.number)}`;
      if (image.number === this.number) button.setAttribute("aria-current", "true");
      button.addEventListener("click", () => { this.act.fail(null); this.open(image.number).catch(this.act.fail); });
      item.append(button);
      return item;
    }));
    const done = images.filter((image) => image.done).length;
    $("place").textContent = this.entry ? `${this.order.indexOf(this.entry) + 1} / ${images.length}  ${this.entry.name}` : `${images.length} images`;
    $("notes").textContent = [`${done} of ${images.length} done.`, ...project.notes,
      project.folder ? `Saved in ${project.folder}` : "These uploads are kept until the server ends: export what you need."].join(" ");
    able("previous", this.number !== null && Boolean(this.beside(-1)), "This is the first image");
    able("next", this.number !== null && Boolean(this.beside(1)), "This is the last image");
    able("done", Boolean(this.entry) && this.loaded, "Open an image first");
    $("done").textContent = this.entry?.done ? "✓ Done" : "Done";
    able("export", images.some((image) => image.labelled), "Label something first");
    document.body.dataset.done = done;
  }

  /** Save what is open, then show another image. */
  async open(number) {
    await this.flush();
    const before = this.image;
    this.loaded = false;
    this.image = null;
    this.number = number;
    this.show(this.project);
    this.act.opened(null);
    if (before) api.forget(before.job);
    this.act.say(`Opening ${this.entry.name}`);
    try {
      const image = await this.fetched(number);
      this.show(await api.project(this.project.id)); // another window may have saved meanwhile
      const { revision } = this.project.images[number]; // of the labels, whatever the list learns of other windows later
      const saved = await api.savedLabels(this.project.id, number);
      if (this.number !== number) return;
      image.revision = revision;
      image.labels = saved.length ? saved : new Uint8Array(image.width * image.height);
      if (image.labels.length !== image.superpixels.length) throw new Error(`${this.entry.name}: the saved labels are of another size`);
      this.image = image;
      this.loaded = true;
      this.show(this.project);
      this.act.opened(image);
      const next = this.beside(1);
      if (next) this.fetched(next.number).catch(() => null);
    } finally {
      this.ahead.delete(number);
      for (const [other, coming] of this.ahead) {
        if (other === this.beside(1)?.number) continue;
        this.ahead.delete(other);
        coming.then((image) => api.forget(image.job), () => null);
      }
      if (this.number === number) this.act.say("");
    }
  }

  /** The picture, the superpixels and their tree; begun only once. */
  fetched(number) {
    if (!this.ahead.has(number)) this.ahead.set(number, this.fetch(number));
    return this.ahead.get(number);
  }

  async fetch(number) {
    const job = await api.openImage(this.project.id, number);
    const state = await new Promise((resolve, reject) => {
      const end = (one) => (one.status === "done" ? resolve(one) : one.error && reject(new Error(one.error)));
      api.follow(job.id, end, () => reject(new Error("The connection to the server was lost; open the image again.")));
    });
    const [bitmap, superpixels, tree] = await Promise.all([api.photograph(job.id), api.superpixels(job.id), api.hierarchy(job.id)]);
    const { width, height } = state;
    return { job: job.id, bitmap, width, height, superpixels, tree, wand: new Wand(superpixels, tree), segments: state.regions.length };
  }

  changed() {
    this.unsaved = true;
    $("saved").textContent = "Not saved yet";
    this.later(REST);
  }

  later(milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush().catch((error) => { this.act.fail(error); if (this.unsaved) this.later(AGAIN); }), milliseconds);
  }

  /** Save now what is not saved. */
  flush(done = this.entry?.done) {
    clearTimeout(this.timer);
    return this.inTurn(() => this.save(done));
  }

  /** Send one thing after the other, in the order of the person's deeds. */
  inTurn(work) {
    this.turns += 1;
    this.saving = this.saving.catch(() => null).then(work).finally(() => { this.turns -= 1; });
    return this.saving;
  }

  async save(done) {
    const { image, number, entry } = this;
    if (!image || (!this.unsaved && done === entry.done)) return;
    this.unsaved = false;
    $("saved").textContent = "Saving";
    try {
      const state = await api.saveLabels(this.project.id, number, image, image.revision, done);
      image.revision += 1;
      this.show(state);
      if (!this.unsaved) $("saved").textContent = "Saved";
    } catch (error) {
      this.unsaved = error.status !== 409; // another window's state is not overwritten, however often it is tried
      $("saved").textContent = "Not saved";
      throw error;
    }
  }

  /** Mark as done, and go to the next image that is not; again: take the mark away. */
  async done() {
    if (!this.loaded) return;
    if (this.entry.done) { await this.flush(false); return; }
    await this.flush(true);
    const { order } = this;
    const here = order.findIndex(({ number }) => number === this.number);
    const next = [...order.slice(here + 1), ...order.slice(0, here)].find((image) => !image.done);
    if (next) await this.open(next.number);
    else this.act.say("All images are done. Export them above.", 6);
  }

  async walk(step) {
    const image = this.project && this.beside(step);
    if (image) await this.open(image.number);
  }
}
