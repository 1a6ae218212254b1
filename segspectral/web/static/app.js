import * as api from "./api.js";
import { able } from "./buttons.js";
import { SettingsForm } from "./form.js";
import { Granularity } from "./granularity.js";
import { Regions } from "./regions.js";
import { showSpectrum } from "./spectrum.js";
import { View } from "./view.js";

const $ = (id) => document.getElementById(id);
const OVERLAY = "overlay";
const view = new View();
const regions = new Regions({ hover, select: mark, edit: change });
const page = { about: null, form: null, granularity: null, source: null, state: null, running: null, hovered: null };
let changes = Promise.resolve(); // one after the other

const rgb = (colour) => [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
const colours = (regions) => new Map(regions.map(({ segment, colour }) => [segment, rgb(colour)]));

function say(text) { $("status").textContent = text; }
function fail(error) { $("error").textContent = error ? error.message : ""; }

async function start() {
  document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  try {
    page.about = await api.about();
  } catch (error) { fail(error); return; }
  $("version").textContent = page.about.version;
  for (const name of page.about.samples) $("sample").append(new Option(name, name));
  for (const [name, text] of Object.entries(page.about.formats)) $("format").append(new Option(`${name}: ${text}`, name));
  $("format").append(new Option("overlay: colours and borders over the photograph", OVERLAY));
  runnable();
  page.form = new SettingsForm(page.about.settings, page.about.defaults, page.about.backbones);
  page.granularity = new Granularity({ preview, edit: change }, page.about.colours);
  document.body.dataset.ready = "yes";
}

function choose(source) {
  page.source = source;
  $("chosen").textContent = source ? `Chosen: ${source.sample || source.file.name || "pasted image"}` : "";
  runnable();
  chosen(source);
  fail(null);
}

function runnable() {
  able("run", Boolean(page.source) && page.running === null, page.running === null ? "Choose an image first" : "An image is being segmented");
  able("cancel", Boolean(page.running), "Nothing is being segmented");
}

/** Show what is chosen, before it is segmented. */
function chosen(source) {
  const image = $("chosen-image");
  if (image.src.startsWith("blob:")) URL.revokeObjectURL(image.src);
  image.hidden = !source;
  $("no-image").hidden = Boolean(source);
  $("no-preview").hidden = true;
  if (!source) { image.removeAttribute("src"); return; }
  image.src = source.sample ? `api/samples/${encodeURIComponent(source.sample)}` : URL.createObjectURL(source.file);
  $("empty").hidden = false;
  $("view").hidden = $("side").hidden = true;
}

function chooseFile(file) {
  if (!file) return;
  const most = page.about.megabytes;
  $("sample").value = "";
  choose({ file });
  if (file.size > most * 1e6) {
    choose(null);
    fail(new Error(`The file has ${(file.size / 1e6).toFixed(0)} MB; this server takes up to ${most}.`));
  }
}

async function run() {
  fail(null);
  page.running = ""; // is being sent
  runnable();
  const { source } = page;
  const again = page.state && source.job === page.state.id ? source.job : null;
  try {
    const { values } = page.form;
    // The server may have forgotten the earlier job: then the image is sent once more.
    const state = again
      ? await api.addJob({ again, ...values }).catch(() => api.addJob({ ...source, ...values }))
      : await api.addJob({ ...source, ...values });
    page.running = state.id;
    runnable();
    progress(state);
    page.stop = api.follow(state.id, (next) => progress(next), () => lost(state.id));
  } catch (error) {
    ended();
    fail(error);
  }
}

function lost(id) {
  if (page.running !== id) return;
  ended();
  fail(new Error("The connection to the server was lost."));
}

function ended() {
  page.running = null;
  runnable();
}

function progress(state) {
  if (page.running !== state.id) return;
  const done = Object.keys(state.stages);
  $("stages").replaceChildren(...state.plan.map((stage) => {
    const item = document.createElement("li");
    const now = state.status === "running" && stage === state.plan[done.length];
    item.className = done.includes(stage) ? "done" : now ? "now" : "";
    const seconds = document.createElement("span");
    seconds.textContent = done.includes(stage) ? `${state.stages[stage].toFixed(2)} s` : now ? "…" : "";
    item.append(stage, seconds);
    return item;
  }));
  if (state.status === "queued") say(state.position ? `Waiting, ${state.position} before this one` : "Waiting");
  if (state.status === "running") say(`Working: ${state.plan[done.length] || "done"}`);
  if (state.status === "cancelled") { ended(); say("Cancelled"); }
  if (state.status === "failed") { ended(); say(""); fail(new Error(state.error)); }
  if (state.status === "done") { ended(); show(state).catch(fail); }
}

async function show(state) {
  const [photograph, before] = await Promise.all([api.photograph(state.id), api.labels(state.id, true)]);
  await page.granularity.load(state);
  if (page.state && page.state.id !== state.id) api.forget(page.state.id);
  page.source = { ...page.source, job: state.id };
  regions.selected.clear();
  $("view").hidden = $("side").hidden = false;
  $("empty").hidden = true;
  view.show(photograph, before, new Map(page.about.colours.map((colour, i) => [i + 1, rgb(colour)])));
  showSpectrum(state);
  await refresh(state);
  const seconds = Object.values(state.stages).reduce((sum, value) => sum + value, 0);
  say([`${state.regions.length} segments of ${state.superpixels} superpixels in ${seconds.toFixed(1)} s`, ...state.notes].join("; "));
  const { top } = $("view").getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) $("view").scrollIntoView(); // on a phone, the form is below
}

async function refresh(state) {
  const labels = await api.labels(state.id);
  page.state = state;
  if (!page.granularity.pending) { // else what is shown is newer
    view.paint(labels, colours(state.regions));
    regions.show(state);
    page.granularity.show(state);
    mark();
  }
  $("command").value = state.command;
  $("command-note").textContent = state.command_is_exact ? "" : "The command makes the segments before merging and splitting.";
  document.body.dataset.revision = state.revision;
}

/** A cut that the server does not know yet. */
function preview(labels, shown) {
  regions.selected.clear();
  view.paint(labels, colours(shown));
  regions.show({ regions: shown, can_undo: true, can_redo: false });
  mark();
}

function change(what) {
  if (what.action !== "cut") page.granularity.settle(); // what is seen is what is changed
  const { id } = page.state;
  changes = changes.then(() => apply(id, what));
  return changes;
}

async function apply(id, what) {
  if (id !== page.state.id) return; // of an earlier result
  fail(null);
  try {
    const state = await api.edit(id, what);
    await refresh(state);
    say({ cut: `Cut into ${state.regions.length}`, merge: "Merged", split: "Split", rename: "Renamed",
      recolour: "Recoloured", undo: "Undone", redo: "Done again" }[what.action]);
  } catch (error) {
    fail(error);
    await refresh(page.state).catch(fail);
  }
}

function hover(segment) {
  if (page.hovered === segment) return;
  page.hovered = segment;
  const region = regions.region(segment);
  $("hover").textContent = region
    ? `${region.segment}: ${region.name}, ${region.area} pixels, ${(100 * region.share).toFixed(1)} %` : segment === 0 ? "void" : "\u00a0";
  regions.hover(segment);
  mark();
}

function mark() { if (view.labels) view.mark(regions.selected, page.hovered); }

async function download() {
  fail(null);
  try {
    await page.granularity.settle();
    const { id, image } = page.state;
    const format = $("format").value;
    const { name, blob } = format === OVERLAY
      ? { name: `${image.replace(/\.[^.]*$/, "")}_overlay.png`, blob: await api.overlay(id) } : await api.exported(id, format);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    say(`Downloaded ${name}`);
  } catch (error) { fail(error); }
}

async function copyCommand() {
  await page.granularity.settle();
  $("command").select();
  try {
    await navigator.clipboard.writeText($("command").value);
    say("Copied the command");
  } catch {
    say("Press Ctrl-C to copy the command");
  }
}

$("form").addEventListener("submit", (event) => { event.preventDefault(); run(); });
$("file").addEventListener("change", (event) => chooseFile(event.target.files[0]));
$("sample").addEventListener("change", (event) => choose(event.target.value ? { sample: event.target.value } : null));
$("cancel").addEventListener("click", () => api.cancel(page.running).then(progress).catch(fail));
$("theme").addEventListener("click", () => {
  const root = document.documentElement.dataset;
  root.theme = root.theme === "dark" ? "light" : "dark";
});
$("download").addEventListener("click", download);
$("copy").addEventListener("click", copyCommand);
$("chosen-image").addEventListener("error", () => {
  if (!$("chosen-image").hidden) [$("chosen-image").hidden, $("no-preview").hidden] = [true, false];
});
$("error").addEventListener("click", () => fail(null));
$("large-close").addEventListener("click", () => $("large").close());
for (const [type, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
  addEventListener(type, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", over);
    if (type === "drop") chooseFile(event.dataTransfer.files[0]);
  });
}
addEventListener("paste", (event) => chooseFile([...event.clipboardData.files][0]));
$("stack").addEventListener("pointermove", (event) => hover(view.segmentAt(event)));
$("stack").addEventListener("pointerleave", () => hover(null));
$("stack").addEventListener("click", (event) => {
  const segment = view.segmentAt(event);
  // A finger has no Shift: taps add up, and a second tap takes away.
  if (segment) regions.toggle(segment, undefined, !(event.pointerType === "touch" || event.shiftKey || event.ctrlKey || event.metaKey));
});
$("stack").addEventListener("dblclick", (event) => {
  const segment = view.segmentAt(event);
  if (segment) regions.split(segment);
});
addEventListener("keydown", (event) => {
  if (!(event.ctrlKey || event.metaKey) || event.target.matches("textarea, input[type=text], input:not([type])")) return;
  const action = { z: event.shiftKey ? "redo" : "undo", y: "redo" }[event.key.toLowerCase()];
  if (action && !$(action).disabled) { event.preventDefault(); change({ action }); }
});
start();
