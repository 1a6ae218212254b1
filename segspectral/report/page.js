"use strict";
const PER_PAGE = 60;
const $ = (id) => document.getElementById(id);
const rows = JSON.parse($("data").textContent);
for (const row of rows) {
  row.total = Object.values(row.seconds).reduce((sum, value) => sum + value, 0);
  row.pixels = (row.width || 0) * (row.height || 0);
  row.lower = `${row.name} ${row.image}`.toLowerCase();
}
const state = { text: "", sort: "name", segments: null, page: 0, shown: rows, at: 0 };
const names = new Intl.Collator(undefined, { numeric: true });
const values = {
  name: (row) => row.name,
  segments: (row) => row.segments,
  seconds: (row) => row.total,
  ncut: (row) => row.ncut,
  pixels: (row) => row.pixels,
};

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function select() {
  const falling = state.sort.startsWith("-");
  const value = values[state.sort.replace("-", "")];
  const words = state.text.toLowerCase().split(/\s+/).filter(Boolean);
  state.shown = rows.filter((row) =>
    words.every((word) => row.lower.includes(word)) && (state.segments === null || row.segments === state.segments));
  state.shown.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "string" ? names.compare(x, y) : x - y;
    return (falling ? -order : order) || names.compare(a.name, b.name);
  });
  state.page = 0;
  draw();
}

function draw() {
  const pages = Math.max(1, Math.ceil(state.shown.length / PER_PAGE));
  const first = state.page * PER_PAGE;
  $("cards").replaceChildren(...state.shown.slice(first, first + PER_PAGE).map((row, i) => {
    const button = element("button", null, { type: "button" });
    const picture = element("img", null, { src: row.thumbnail, alt: "", loading: "lazy", decoding: "async" });
    button.append(picture, element("span", row.name, { title: row.name }), element("small", brief(row)));
    button.addEventListener("click", () => open(first + i));
    const item = element("li", null);
    item.append(button);
    return item;
  }));
  $("found").textContent = state.shown.length === rows.length ? "" : `${state.shown.length} of ${rows.length} images`;
  $("where").textContent = `page ${state.page + 1} of ${pages}`;
  $("previous").disabled = state.page === 0;
  $("next").disabled = state.page >= pages - 1;
}

function brief(row) {
  const parts = [];
  if (row.segments !== null) parts.push(`${row.segments} segments`);
  if (row.total) parts.push(`${row.total.toFixed(1)} s`);
  return parts.join(", ");
}

function histogram() {
  const counts = new Map();
  for (const row of rows) if (row.segments !== null) counts.set(row.segments, (counts.get(row.segments) || 0) + 1);
  const most = Math.max(1, ...counts.values());
  $("histogram").replaceChildren(...[...counts.keys()].sort((a, b) => a - b).map((k) => {
    const label = `${k} segments: ${counts.get(k)} images`;
    const button = element("button", null, { type: "button", "aria-pressed": "false", "aria-label": label, title: label });
    const bar = element("i", null);
    bar.style.height = `${(2.6 * counts.get(k)) / most}rem`;
    button.append(bar, element("span", String(k)));
    button.addEventListener("click", () => {
      state.segments = state.segments === k ? null : k;
      for (const other of $("histogram").children) other.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", String(state.segments === k));
      select();
    });
    return button;
  }));
}

function open(index) {
  state.at = index;
  const row = state.shown[index];
  $("detail-name").textContent = row.name;
  $("after").src = row.overlay;
  $("after").alt = `Segments of ${row.name}`;
  comparable(row.photograph !== null);
  if (row.photograph !== null) {
    $("before").src = row.photograph;
    $("before").alt = `Photograph ${row.image}`;
  }
  const facts = [
    ["segments", row.segments], ["superpixels", row.superpixels],
    ["size", row.width ? `${row.width} x ${row.height}` : null],
    ["normalized cut", row.ncut === null ? null : row.ncut.toPrecision(4)],
    ["outcome", row.notes.filter(Boolean).join("; ") || null],
    ["seconds", Object.entries(row.seconds).map(([stage, s]) => `${stage} ${s.toFixed(2)}`).join(", ") || null],
  ];
  $("facts").replaceChildren(...facts.filter(([, value]) => value !== null && value !== undefined)
    .flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
  $("links").replaceChildren(...[["_overlay.png", row.overlay], ...Object.entries(row.files)]
    .flatMap(([end, address]) => [element("a", end.replace(/^[_.]/, ""), { href: address }), " "]));
  $("older").disabled = index === 0;
  $("newer").disabled = index === state.shown.length - 1;
  if (!$("detail").open) $("detail").showModal();
}

function comparable(yes) {
  for (const id of ["before", "line", "slider-label"]) $(id).hidden = !yes;
  if (yes) slide();
}

function slide() {
  const share = $("slider").value;
  $("before").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
  $("line").style.left = `calc(${share}% - 1px)`;
}

function drag(event) {
  const box = $("compare").getBoundingClientRect();
  $("slider").value = (100 * (event.clientX - box.left)) / box.width;
  slide();
}

$("search").addEventListener("input", (event) => { state.text = event.target.value; select(); });
$("sort").addEventListener("change", (event) => { state.sort = event.target.value; select(); });
$("controls").addEventListener("submit", (event) => event.preventDefault());
for (const [id, step] of [["previous", -1], ["next", 1]]) {
  $(id).addEventListener("click", () => { state.page += step; draw(); scrollTo(0, 0); });
}
for (const [id, step] of [["older", -1], ["newer", 1]]) {
  $(id).addEventListener("click", () => open(state.at + step));
}
$("detail").addEventListener("keydown", (event) => {
  if (event.target === $("slider")) return;
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && state.shown[state.at + step]) { event.preventDefault(); open(state.at + step); }
});
$("close").addEventListener("click", () => $("detail").close());
$("before").addEventListener("error", () => comparable(false));
$("slider").addEventListener("input", slide);
$("compare").addEventListener("pointerdown", (event) => { event.preventDefault(); $("compare").setPointerCapture(event.pointerId); drag(event); });
$("compare").addEventListener("pointermove", (event) => { if (event.buttons) drag(event); });
histogram();
select();
