// Teaching from what is painted: guesses for every image, beside the labels until a person accepts them.

import * as api from "./api.js";
import { able } from "./buttons.js";

const $ = (id) => document.getElementById(id);
const POLL = 250; // milliseconds
const RUNS = ["queued", "running"];
const waits = (place) => !place.labelled && !place.done;
const percent = (share) => (share < 0.01 ? "less than 1" : Math.round(100 * share));

export class Lesson {
  /** @param act {say(text, seconds), fail(error), changed()} the last one when there are other guesses */
  constructor(act) {
    Object.assign(this, { act, project: null, state: null, unsure: new Map(), thumbs: new Map(), places: [], last: -1, watching: false, preparing: false });
  }

  get runs() { return RUNS.includes(this.state?.status); }
  get round() { return this.state?.round ?? 0; }

  /** What the server has of a project; a teaching that another window began is waited for. */
  async open(project) {
    this.project = project;
    this.take(await api.lesson(project));
    if (this.runs) this.watch().catch(this.act.fail);
  }

  /** Teach from what is saved, or cancel what runs. */
  async press(project) {
    if (this.runs) { this.take(await api.cancelLesson(project)); return; }
    this.project = project;
    this.act.say("Teaching");
    this.take(await api.teach(project));
    await this.watch();
  }

  /** Have images described one by one while the person paints, so that the first teaching takes seconds. */
  async prepare(project) {
    if (this.preparing) return;
    this.preparing = true;
    try {
      for (let left = 1; left > 0;) {
        if (!document.hidden) ({ left } = await api.prepareLesson(project));
        await new Promise((resolve) => { setTimeout(resolve, 2 * POLL); });
      }
    } catch { /* the server is busy, or ends: teaching does it */ } finally {
      this.preparing = false;
    }
  }

  async watch() {
    if (this.watching) return;
    this.watching = true;
    try {
      while (this.runs) {
        const { seen, of, status } = this.state;
        const how = status === "queued" ? "waiting" : seen < of ? `looking at image ${seen + 1} of ${of}` : "learning";
        this.act.say(`Teaching: ${how}`);
        await new Promise((resolve) => { setTimeout(resolve, POLL); });
        this.take(await api.lesson(this.project));
      }
    } finally {
      this.watching = false;
      this.act.say("");
    }
    if (this.state.status === "failed") throw new Error(this.state.error);
    if (this.state.status === "done") this.act.say(`Taught: ${this.unsure.size} images have guesses`, 6);
  }

  take(state) {
    const before = this.round;
    this.state = state;
    this.unsure = new Map(state.guesses.map(({ number, unsure }) => [number, unsure]));
    $("teach-text").textContent = this.runs ? "Cancel" : "Teach";
    $("teach-again").hidden = this.runs || !state.round;
    $("model").hidden = !state.model;
    $("model").href = api.modelAddress(this.project);
    $("order-row").hidden = !this.unsure.size;
    $("lesson-text").textContent = state.said.join("; ");
    if (this.round !== before) {
      this.thumbs.clear();
      this.places = state.places.map((place, i) => ({ ...place, order: i + 1, labelled: false, done: false }));
      this.last = -1;
    }
    this.act.changed();
  }

  /** Nothing is asked in images that are done, or that another window has just added. */
  heard(images) { for (const place of this.places) place.done = images[place.number]?.done ?? true; }

  /** The suggested places of the image that is open which have no label yet. */
  asked(number, { labels, width }) {
    const here = this.places.filter((place) => place.number === number);
    for (const place of here) place.labelled = labels[place.row * width + place.col] > 0;
    return here.filter(waits);
  }

  /** The next place, after the last one, that has no label yet as far as is known; null if all have one. */
  next() {
    const { places, last } = this;
    const place = [...places.slice(last + 1), ...places.slice(0, last + 1)].find(waits) ?? null;
    this.last = place ? place.order - 1 : -1;
    return place;
  }

  /** How many places of an image are left, and where its first one stands among all. */
  left(number) { return this.places.filter((place) => place.number === number && waits(place)).length; }
  rank(number) {
    const first = this.places.find((place) => place.number === number && waits(place));
    return first ? first.order : Infinity;
  }

  buttons(some, guess) {
    able("where", this.places.some(waits), this.round ? "All suggested places have labels: teach again" : "Teach first");
    able("teach", some || this.runs, "Paint two classes at least first");
    able("accept", Boolean(guess), this.round ? "There is no guess of this image" : "Teach first");
  }

  /** The classes that are guessed for an image's pixels; null if there are none. */
  async guess(number) {
    if (!this.unsure.has(number)) return null;
    return api.guess(this.project, number).catch(() => null);
  }

  /** A sentence about an image, and its small picture. */
  said(number) {
    const left = this.left(number);
    const places = left ? `; ${left} suggested ${left === 1 ? "place" : "places"}` : "";
    return this.unsure.has(number) ? `; ${percent(this.unsure.get(number))} % of its guess may be wrong${places}` : places;
  }

  thumb(number) {
    if (!this.unsure.has(number)) return null;
    if (!this.thumbs.has(number)) {
      const image = Object.assign(new Image(), { alt: "", loading: "lazy", src: api.thumbAddress(this.project, number, this.round) });
      this.thumbs.set(number, image);
    }
    return this.thumbs.get(number);
  }
}
