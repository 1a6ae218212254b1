// What the server is asked. Every fault is an Error whose message is the server's sentence.

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer; is it still running?");
  }
  if (answer.ok) return answer;
  let sentence = `The server answered ${answer.status}.`;
  try {
    sentence = (await answer.json()).detail;
  } catch { /* no JSON: the number must do */ }
  throw Object.assign(new Error(sentence), { status: answer.status });
}

const json = async (path, options) => (await ask(path, options)).json();

export const about = () => json("api/about");

export function addJob({ file, sample, again, settings, more }) {
  const body = new FormData();
  if (again) body.set("again", again);
  else if (sample) body.set("sample", sample);
  else body.set("file", file, file.name || "pasted.png");
  body.set("settings", JSON.stringify(settings));
  body.set("more", more);
  return json("api/jobs", { method: "POST", body });
}

export const cancel = (id) => json(`api/jobs/${id}/cancel`, { method: "POST" });
export const forget = (id) => ask(`api/jobs/${id}`, { method: "DELETE" }).catch(() => null);

export const edit = (id, change) => json(`api/jobs/${id}/edits`, {
  method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(change),
});

async function numbers(path) {
  const answer = await ask(path);
  const view = new DataView(await answer.arrayBuffer());
  const values = new Uint16Array(view.byteLength / 2);
  for (let i = 0; i < values.length; i++) values[i] = view.getUint16(2 * i, true);
  return values;
}

export const labels = (id, before = false) => numbers(`api/jobs/${id}/labels${before ? "?before=true" : ""}`);
export const superpixels = (id) => numbers(`api/jobs/${id}/superpixels`);
export const hierarchy = (id) => json(`api/jobs/${id}/hierarchy`);

export async function photograph(id) {
  return createImageBitmap(await (await ask(`api/jobs/${id}/image`)).blob());
}

export async function exported(id, format) {
  const answer = await ask(`api/jobs/${id}/export/${format}`);
  const name = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") || "");
  return { name: name ? decodeURIComponent(name[1]) : format, blob: await answer.blob() };
}

export const overlay = async (id) => (await ask(`api/jobs/${id}/overlay.png`)).blob();

export const address = (id, what) => `api/jobs/${id}/${what}`;

/** Calls back with every state until the job has ended; returns how to stop listening. */
export function follow(id, onState, onLost) {
  const events = new EventSource(`api/jobs/${id}/events`);
  events.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    if (["done", "failed", "cancelled"].includes(state.status)) events.close();
    onState(state);
  });
  events.addEventListener("error", () => { events.close(); onLost(); });
  return () => events.close();
}

// Projects of images that are labelled with classes.

const sent = (method, data) => ({ method, headers: { "content-type": "application/json" }, body: JSON.stringify(data) });

export const newProject = () => json("api/projects", { method: "POST" });
export const project = (id) => json(`api/projects/${id}`);
export const setClasses = (id, classes, revision) => (
  json(`api/projects/${id}/classes?${new URLSearchParams({ revision })}`, sent("PUT", classes)));
export const openImage = (id, number) => json(`api/projects/${id}/images/${number}/job`, { method: "POST" });

export function addImage(id, { file, sample }) {
  const body = new FormData();
  if (sample) body.set("sample", sample);
  else body.set("file", file, file.name || "pasted.png");
  return json(`api/projects/${id}/images`, { method: "POST", body });
}

export const savedLabels = async (id, number) => (
  new Uint8Array(await (await ask(`api/projects/${id}/images/${number}/labels`)).arrayBuffer()));

const packed = (labels) => (
  new Response(new Blob([labels]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
const binary = async (method, labels) => (
  { method, headers: { "content-type": "application/octet-stream" }, body: await packed(labels) });

export async function saveLabels(id, number, { labels, height, width }, revision, done) {
  const query = new URLSearchParams({ height, width, revision, done });
  return json(`api/projects/${id}/images/${number}/labels?${query}`, await binary("PUT", labels));
}

/** The classes of all pixels, by the random walker from those that have one. */
export const filled = async (job, labels) => (
  new Uint8Array(await (await ask(`api/jobs/${job}/fill`, await binary("POST", labels))).arrayBuffer()));

// Teaching: guesses for all images of a project from what is painted in some.

export const teach = (id) => json(`api/projects/${id}/lesson`, { method: "POST" });
export const lesson = (id) => json(`api/projects/${id}/lesson`);
export const cancelLesson = (id) => json(`api/projects/${id}/lesson`, { method: "DELETE" });
export const prepareLesson = (id) => json(`api/projects/${id}/lesson/preparation`, { method: "POST" });
export const modelAddress = (id) => `api/projects/${id}/lesson/model`;
export const thumbAddress = (id, number, round) => `api/projects/${id}/images/${number}/guess.png?round=${round}`;
export const guess = async (id, number) => (
  new Uint8Array(await (await ask(`api/projects/${id}/images/${number}/guess`)).arrayBuffer()));

export async function exportedAll(id, format) {
  const answer = await ask(`api/projects/${id}/export/${format}`);
  const [count, note] = ["x-images", "x-note"].map((name) => answer.headers.get(name));
  return { count: Number(count), note, name: `labels_${format}.zip`, blob: await answer.blob() };
}

/** Let the browser save a file. */
export function saveFile({ name, blob }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
