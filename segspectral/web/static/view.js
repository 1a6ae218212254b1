// The picture: layers of canvases over each other. Tints and borders are drawn once per change; opacity and the
// comparison are left to the browser's compositor.

const $ = (id) => document.getElementById(id);
const LAYERS = ["photo", "before", "after", "lines", "marks"];

export class View {
  constructor() {
    this.labels = null;
    this.outlines = new Map();
    for (const id of ["compare", "opacity", "borders", "left"]) $(id).addEventListener("input", () => this.blend());
  }

  /** @param before labels before refinement @param palette segment -> [red, green, blue], as long as none is changed */
  show(photograph, before, palette) {
    this.width = photograph.width;
    this.height = photograph.height;
    for (const id of LAYERS) Object.assign($(id), { width: this.width, height: this.height });
    $("stack").style.width = `min(100%, ${(70 * this.width) / this.height}vh)`;
    $("photo").getContext("2d").drawImage(photograph, 0, 0);
    this.tint("before", before, palette);
  }

  /** @param colours segment -> [red, green, blue] */
  paint(labels, colours) {
    this.labels = labels;
    this.outlines.clear();
    this.tint("after", labels, colours);
    this.drawLines(labels);
    this.blend();
  }

  tint(id, labels, colours) {
    const picture = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(picture.data.buffer);
    const table = new Uint32Array(65536);
    for (const [segment, [red, green, blue]] of colours) table[segment] = (255 << 24) | (blue << 16) | (green << 8) | red;
    for (let i = 0; i < pixels.length; i++) pixels[i] = table[labels[i]];
    $(id).getContext("2d").putImageData(picture, 0, 0);
  }

  drawLines(labels) {
    const { width, height } = this;
    const picture = new ImageData(width, height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        if ((x + 1 < width && labels[i] !== labels[i + 1]) || (y + 1 < height && labels[i] !== labels[i + width])) {
          pixels[i] = 0xffffffff;
        }
      }
    }
    $("lines").getContext("2d").putImageData(picture, 0, 0);
  }

  blend() {
    const share = Number($("compare").value);
    const before = $("left").value === "before";
    for (const id of ["after", "lines", "marks"]) $(id).style.clipPath = `inset(0 0 0 ${share}%)`;
    $("before").style.clipPath = `inset(0 ${100 - share}% 0 0)`;
    for (const id of ["after", "before"]) $(id).style.opacity = $("opacity").value / 100;
    $("before").hidden = !before;
    $("lines").hidden = !$("borders").checked;
    $("line").hidden = share === 0;
    $("line").style.left = `calc(${share}% - 1px)`;
  }

  /** The segment under the pointer; 0 is void, null is outside. */
  segmentAt(event) {
    const box = $("photo").getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * this.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * this.height);
    if (!this.labels || x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    return this.labels[y * this.width + x];
  }

  /** Outlines of the selected segments in yellow, of the hovered one in white with a dark edge. */
  mark(selected, hovered) {
    const context = $("marks").getContext("2d");
    const size = Math.max(2, Math.round((2 * this.width) / Math.max($("photo").clientWidth, 1)));
    context.clearRect(0, 0, this.width, this.height);
    const draw = (segment, colour, extra) => {
      context.fillStyle = colour;
      for (const i of this.outline(segment)) {
        context.fillRect((i % this.width) - extra, Math.floor(i / this.width) - extra, size + 2 * extra, size + 2 * extra);
      }
    };
    for (const segment of selected) { draw(segment, "#000", 1); draw(segment, "#ffd500", 0); }
    if (hovered && !selected.has(hovered)) { draw(hovered, "#000", 1); draw(hovered, "#fff", 0); }
  }

  outline(segment) {
    if (!this.outlines.has(segment)) {
      const { labels, width } = this;
      const found = [];
      for (let i = 0; i < labels.length; i++) {
        if (labels[i] !== segment) continue;
        const x = i % width;
        if (x === 0 || x === width - 1 || labels[i - 1] !== segment || labels[i + 1] !== segment ||
            labels[i - width] !== segment || labels[i + width] !== segment) found.push(i);
      }
      this.outlines.set(segment, found);
    }
    return this.outlines.get(segment);
  }
}
