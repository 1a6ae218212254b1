// The page to label with. One object, `desk`, holds what is on it; the modules do the rest.

import * as api from "./api.js";
import { able } from "./buttons.js";
import { Classes } from "./classes.js";
import { ladder } from "./hierarchy.js";
import { Lesson } from "./lesson.js";
import { Painting } from "./paint.js";
import { AGAIN, Queue } from "./queue.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

const $ = (id) => document.getElementById(id);
const FIRST = 40; // regions, until the slider of details has been moved

const stage = new Stage({ node: 0, line: null, circle: null, cross: null });
const lesson = new Lesson({ say, fail, changed: guessed });
const queue = new Queue({ say, fail, opened }, lesson);
const desk = {
  stage, painting: null, wand: null, top: null, details: FIRST, classes: null, edits: 0, refusals: 0, about: null,
};
const tools = new Tools({
  stage, wand: () => desk.wand, painting: () => desk.painting, regions: () => desk.top, value: () => desk.classes.current,
});

let quiet = 0;
/** @param seconds after which it goes, 0 for as long as the work takes */
function say(text, seconds = 0) {
  clearTimeout(quiet);
  $("busy").textContent = text;
  $("busy").hidden = !text;
  if (seconds) quiet = setTimeout(() => say(""), 1000 * seconds);
}
function fail(error) { $("error").textContent = error ? error.message : ""; $("error").hidden = !error; }
const guarded = (work) => async (...given) => {
  try { fail(null); await work(...given); } catch (error) { fail(error); say(""); }
};

async function start() {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  desk.about = await api.about();
  for (const [name, text] of Object.entries(desk.about.formats)) $("format").append(Object.assign(new Option(name), { title: text }));
  $("format").value = "coco";
  $("samples").hidden = desk.about.samples.length === 0;
  desk.classes = new Classes({ save: guarded(saveClasses), chosen: () => stage.draw() }, desk.about.colours);
  const id = desk.about.project || location.hash.slice(1);
  const found = id ? await api.project(id).catch(() => null) : null;
  if (found?.images.length) await begin(found);
  else if (id) history.replaceState(null, "", "label.html"); // forgotten
  buttons();
  document.body.dataset.ready = "yes";
}

/** Show a project, at its first image that is not done. */
async function begin(project) {
  $("empty").hidden = true;
  classesOf(project);
  await lesson.open(project.id);
  queue.show(project);
  const first = project.images.find((image) => !image.done) ?? project.images[0];
  if (queue.number === null) await queue.open(first.number);
}

/** Show the classes that the server has, unless some are on their way to it, or it has newer ones. */
function classesOf(project) {
  if (!desk.edits && project.classes_revision >= desk.classes.revision) showClasses(project.classes, project.classes_revision);
}

function showClasses(classes, revision) {
  desk.classes.show(classes, revision);
  stage.setColours(classes);
}

/**
 * Show classes at once, so that nobody waits before painting, and save them between what was painted before and after.
 * While the server does not answer, this is tried again, and what was done since waits. After a refusal, later changes
 * are dropped, because they include the refused one.
 */
async function saveClasses(classes) {
  const { refusals } = desk;
  const known = new Set(queue.project.classes.map(({ number }) => number));
  const added = classes.map(({ number }) => number).filter((number) => !known.has(number));
  queue.flush().catch(fail);
  desk.edits += 1;
  showClasses(classes, desk.classes.revision);
  try {
    await queue.inTurn(async () => {
      const drop = () => { for (const number of added) desk.painting?.takeAway(number); };
      if (desk.refusals > refusals) { drop(); return; }
      try {
        queue.show(await persistently(() => api.setClasses(queue.project.id, classes, desk.classes.revision)));
        desk.classes.revision = queue.project.classes_revision;
      } catch (refused) {
        desk.refusals += 1;
        drop();
        queue.show(await api.project(queue.project.id)); // with the classes of another window
        throw refused;
      }
    });
  } finally {
    desk.edits -= 1;
    const typing = () => document.activeElement.matches("#classes input");
    const typed = typing();
    classesOf(queue.project);
    if (typed && !typing()) $("classes").focus(); // what is still typed is no shortcut
  }
}

/** Repeat what fails until it is done, or the server refuses it. */
async function persistently(work) {
  for (let failed = false; ; failed = true) {
    try {
      const done = await work();
      if (failed) fail(null);
      return done;
    } catch (error) {
      if (error.status < 500) throw error;
      fail(new Error(`${error.message} The classes are not saved yet; this is tried again.`));
      await new Promise((resolve) => { setTimeout(resolve, AGAIN); });
    }
  }
}

/** Upload images, or take the samples, one after the other; the first one opens meanwhile. */
async function add(sources) {
  if (!sources.length) return;
  if (!queue.project) {
    const made = await api.newProject();
    queue.show(made);
    history.replaceState(null, "", `#${made.id}`);
  }
  const most = desk.about.megabytes;
  const refused = [];
  for (const [i, source] of sources.entries()) {
    if (source.file && source.file.size > most * 1e6) { refused.push(`${source.file.name} has more than ${most} MB`); continue; }
    say(`Adding image ${i + 1} of ${sources.length}`);
    try {
      const project = await api.addImage(queue.project.id, source);
      queue.show(project);
      if (queue.number === null) begin(project).catch(fail);
    } catch (error) {
      refused.push(`${source.file?.name ?? source.sample}: ${error.message}`);
    }
  }
  if (queue.loaded) say("");
  if (refused.length) throw new Error(`Not added: ${refused.join("; ")}`);
}

function opened(image) {
  desk.wand = image?.wand ?? null;
  desk.painting = image ? new Painting(image.labels, painted) : null;
  document.body.dataset.open = image ? queue.entry.name : "";
  Object.assign(stage.tool, { node: 0, line: null, circle: null, cross: null });
  if (image) {
    classesOf(queue.project); // another window may have painted a class of its own
    desk.steps = ladder(image.tree.most);
    $("details").max = desk.steps.length - 1;
    $("details").value = desk.steps.findLastIndex((k) => k <= desk.details);
    stage.show(image);
    regions();
    $("saved").textContent = queue.entry.labelled ? "Saved" : "";
    guessOf(image).catch(fail);
  } else stage.show(null);
  ask();
  buttons();
}

function painted() {
  queue.changed();
  ask();
  buttons();
  lesson.prepare(queue.project.id);
}

/** Mark the suggested places of the image that is open which have no label. */
function ask() {
  stage.asked = queue.image ? lesson.asked(queue.number, queue.image) : [];
  stage.draw();
}

/** Show the next suggested place, in whatever image it is. */
async function where() {
  for (let place = lesson.next(); place; place = lesson.next()) {
    if (queue.number !== place.number || !queue.loaded) await queue.open(place.number);
    if (queue.number !== place.number) return; // somebody opened another image meanwhile
    if (place.labelled) continue;
    const { order, guess, confidence, speaks_for: others } = place;
    const at = [place.col + 0.5, place.row + 0.5];
    stage.reveal(at);
    stage.tool.cross = at;
    tools.point(at);
    $("stage").focus({ preventScroll: true });
    const name = queue.project.classes.find(({ number }) => number === guess)?.name;
    const taken = name ? `taken for ${name} (${Math.round(100 * confidence)} %), ` : "";
    say(`Place ${order} of ${lesson.places.length}: ${taken}stands for ${others} ${others === 1 ? "region" : "regions"}`, 8);
    return;
  }
  say("All suggested places have labels: teach again", 6);
}

/** Other guesses, or other progress: show them in the list and on the stage. */
function guessed() {
  if (!queue.project) return;
  queue.show(queue.project);
  ask();
  if (queue.image) guessOf(queue.image).catch(fail);
  buttons();
}

/** Fetch the guess of the image that is open, once a round; an image that is done has nothing to be guessed. */
async function guessOf(image) {
  const key = `${lesson.round} ${queue.entry.done}`;
  if (image.guessed === key) return;
  image.guessed = key;
  const guess = queue.entry.done ? null : await lesson.guess(queue.number);
  if (queue.image !== image || image.guessed !== key) return;
  image.guess = guess?.length === image.labels.length ? guess : null;
  stage.draw();
  buttons();
}

/** Teach from all that is painted; what is on the stage is saved first. */
async function teach() {
  await queue.flush();
  const project = await api.project(queue.project.id); // another window may have added images or classes
  queue.show(project);
  classesOf(project);
  await lesson.press(project.id);
}

/** Paint what is guessed, where nothing is painted. */
function accept() {
  const { guess } = queue.image;
  desk.painting.fill((i) => guess[i]);
}

/** The regions that the slider says. */
function regions() {
  if (!desk.wand) return;
  const segments = desk.steps[$("details").value];
  desk.top = desk.wand.regions(segments);
  $("details-text").textContent = segments;
  $("details").setAttribute("aria-valuetext", `${segments} regions`);
  tools.node = 0;
  stage.setRegions(desk.top);
}

function buttons() {
  const { painting } = desk;
  const some = Boolean(painting) && !painting.empty;
  able("undo", Boolean(painting?.canUndo), "There is nothing to undo");
  able("redo", Boolean(painting?.canRedo), "There is nothing to redo");
  able("fill", some, "Paint or scribble at least one class first");
  able("clear", some, "Nothing is painted");
  lesson.buttons(some || Boolean(queue.project?.images.some((image) => image.labelled)), queue.image?.guess);
  for (const id of ["smaller", "fit", "larger"]) able(id, Boolean(painting), "Open an image first");
}

async function fill() {
  const { image } = queue;
  const { painting } = desk;
  const byTree = () => {
    const of = desk.wand.filled(image.labels);
    painting.fill((i) => of[image.superpixels[i]]);
  };
  if ($("fill-by").value === "hierarchy") { byTree(); return; }
  say("Filling");
  try {
    const classes = await api.filled(image.job, image.labels);
    if (desk.painting === painting) painting.fill((i) => classes[i]);
    say("");
  } catch (error) {
    if (desk.painting !== painting) return;
    byTree();
    say(`Filled by the hierarchy instead: ${error.message}`, 6);
  }
}

function clear() {
  desk.painting.begin();
  desk.painting.set(desk.wand.order, 0);
  desk.painting.end();
}

async function exportAll() {
  await queue.flush();
  say("Exporting");
  const made = await api.exportedAll(queue.project.id, $("format").value);
  api.saveFile(made);
  const left = queue.project.images.length - made.count;
  const rest = [left ? `${left} without labels are left out` : "", made.note].filter(Boolean);
  say([`Exported ${made.count} ${made.count === 1 ? "image" : "images"}`, ...rest].join("; "), 6);
}

const size = (factor) => {
  $("size").value = Math.round(Number($("size").value) * factor);
  tools.point(stage.tool.circle?.at ?? null);
};

const click = (id, work) => $(id).addEventListener("click", guarded(async () => work()));
click("previous", () => queue.walk(-1));
click("next", () => queue.walk(1));
click("done", async () => {
  await queue.done();
  guessed(); // the image that stays open may be done now, or not any more
});
click("undo", () => desk.painting.undo());
click("redo", () => desk.painting.redo());
click("fill", fill);
click("clear", clear);
click("export", exportAll);
click("teach", teach);
click("accept", accept);
click("where", where);
click("fit", () => stage.fit());
click("larger", () => stage.zoom(1.5));
click("smaller", () => stage.zoom(1 / 1.5));
click("error", () => null);
click("samples", () => add(desk.about.samples.map((sample) => ({ sample }))));
click("list", () => {
  const open = $("images").classList.toggle("open");
  $("list").setAttribute("aria-expanded", open);
});
$("queue").addEventListener("click", () => $("images").classList.remove("open"));
for (const id of ["files", "first-files"]) {
  $(id).addEventListener("change", guarded(async (event) => {
    const files = [...event.target.files].map((file) => ({ file }));
    event.target.value = "";
    await add(files);
  }));
}
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", guarded(async (event) => {
  event.preventDefault();
  await add([...event.dataTransfer.files].map((file) => ({ file })));
}));
$("guesses").addEventListener("change", () => { stage.guesses = $("guesses").checked; stage.draw(); });
$("order").addEventListener("change", () => queue.show(queue.project));
$("details").addEventListener("input", () => { desk.details = desk.steps?.[$("details").value] ?? FIRST; regions(); });
$("opacity").addEventListener("input", () => { stage.opacity = $("opacity").value / 100; stage.draw(); });

const KEYS = {
  r: () => tools.choose("region"), b: () => tools.choose("brush"), l: () => tools.choose("lasso"), s: () => tools.choose("pencil"),
  h: () => tools.choose("move"), e: () => desk.classes.choose(0), f: () => $("fill").click(),
  t: () => $("teach").click(), g: () => $("accept").click(), w: () => $("where").click(), n: () => $("next").click(), p: () => $("previous").click(), Enter: () => $("done").click(), Home: () => stage.fit(),
  "+": () => stage.zoom(1.25), "-": () => stage.zoom(0.8), "[": () => size(0.8), "]": () => size(1.25),
  ",": () => tools.resize(false), ".": () => tools.resize(true),
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

addEventListener("keydown", (event) => {
  const typing = event.target.matches("input[type=text], select, input[type=range], input[type=color], #classes");
  if (event.ctrlKey || event.metaKey) {
    const id = typing && event.target.type === "text" ? null : { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
    if (id) { event.preventDefault(); $(id).click(); }
    return;
  }
  if (typing || event.altKey) return;
  const onStage = document.activeElement === $("stage");
  const pressing = event.target.matches("button, a") && [" ", "Enter"].includes(event.key);
  if (pressing || !desk.classes) return;
  if (ARROWS[event.key] && onStage) {
    event.preventDefault();
    tools.step(...ARROWS[event.key].map((d) => d * (event.shiftKey ? 4 : 24)));
  } else if (event.key === " " && onStage) {
    event.preventDefault();
    if (stage.tool.cross) tools.press();
    else tools.held = " ";
  } else if (/^[0-9]$/.test(event.key)) desk.classes.chooseAt(Number(event.key));
  else if (KEYS[event.key]) { event.preventDefault(); guarded(async () => KEYS[event.key]())(); }
});
addEventListener("keyup", (event) => { if (event.key === " ") tools.held = null; });
guarded(start)();
