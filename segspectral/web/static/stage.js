// The picture with what is painted. Only the pixels of the screen are drawn, each looked up in the image, so that a
// repaint takes as long for 12 megapixels as for one, at any zoom.

const $ = (id) => document.getElementById(id);
const MOST = 1.2e6; // pixels of the canvas: beyond, screens of high density get a coarser overlay
const GUESS = 256; // more than any class
const CLOSEST = 40; // screen pixels for a pixel of the image

const rgb = (colour) => { const n = parseInt(colour.slice(1), 16); return [n >> 16, (n >> 8) & 255, n & 255]; };
const packed = ([r, g, b], alpha) => ((Math.round(alpha) << 24) | (b << 16) | (g << 8) | r) >>> 0;

export class Stage {
  /** @param tool what is drawn over the regions: {node, line, circle} */
  constructor(tool) {
    Object.assign(this, { tool, image: null, scale: 1, left: 0, top: 0, frame: 0, opacity: 0.5, borders: true, guesses: true, asked: [] });
    this.palette = new Map();
    new ResizeObserver(() => this.resize()).observe($("stage"));
  }

  /** @param image {bitmap, width, height, superpixels, wand, labels, guess: classes or null} or null */
  show(image) {
    this.image = image;
    if (image) this.fit();
  }

  setRegions(top) { this.regions = top; this.draw(); }
  setColours(classes) { this.palette = new Map(classes.map(({ number, colour }) => [number, rgb(colour)])); this.draw(); }

  resize() {
    const box = $("stage").getBoundingClientRect();
    const fitted = this.image && Math.abs(this.scale - this.whole()) < 1e-6;
    this.box = box;
    this.ratio = Math.min(devicePixelRatio || 1, Math.sqrt(MOST / Math.max(1, box.width * box.height)));
    for (const id of ["photo", "over"]) {
      $(id).width = Math.max(1, Math.round(box.width * this.ratio));
      $(id).height = Math.max(1, Math.round(box.height * this.ratio));
    }
    this.buffer = $("over").getContext("2d").createImageData($("over").width, $("over").height);
    if (fitted) this.fit();
    this.draw();
  }

  whole() {
    return Math.min($("stage").clientWidth / this.image.width, $("stage").clientHeight / this.image.height);
  }

  fit() {
    if (!this.image) return;
    this.scale = this.whole();
    this.left = ($("stage").clientWidth - this.scale * this.image.width) / 2;
    this.top = ($("stage").clientHeight - this.scale * this.image.height) / 2;
    this.draw();
  }

  /** Zoom by a factor, so that a point of the screen keeps what it shows. */
  zoom(factor, x = this.box.left + this.box.width / 2, y = this.box.top + this.box.height / 2) {
    if (!this.image) return;
    const scale = Math.min(CLOSEST, Math.max(this.whole() / 2, this.scale * factor));
    const [px, py] = [x - this.box.left, y - this.box.top];
    this.left = px - ((px - this.left) * scale) / this.scale;
    this.top = py - ((py - this.top) * scale) / this.scale;
    this.scale = scale;
    this.draw();
  }

  pan(dx, dy) {
    this.left += dx;
    this.top += dy;
    this.draw();
  }

  /** Move as little as is needed for a point of the image to be well inside what is seen. */
  reveal([x, y]) {
    const { width, height } = $("stage").getBoundingClientRect();
    const [px, py] = [x * this.scale + this.left, y * this.scale + this.top];
    const within = (p, size) => Math.min(Math.max(p, 0.05 * size), 0.95 * size);
    this.pan(within(px, width) - px, within(py, height) - py);
  }

  /** [x, y] in the image of a point on the screen. */
  at(x, y) {
    const box = $("stage").getBoundingClientRect();
    return [(x - box.left - this.left) / this.scale, (y - box.top - this.top) / this.scale];
  }

  inside([x, y]) {
    return this.image !== null && x >= 0 && y >= 0 && x < this.image.width && y < this.image.height;
  }

  superpixelAt([x, y]) {
    return this.inside([x, y]) ? this.image.superpixels[Math.floor(y) * this.image.width + Math.floor(x)] : 0;
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => { this.frame = 0; this.render(); });
  }

  render() {
    const begin = performance.now();
    const over = $("over").getContext("2d");
    const size = this.scale * this.ratio;
    this.photo(size);
    if (!this.image || !this.buffer || !this.regions) {
      over.clearRect(0, 0, $("over").width, $("over").height);
      return;
    }
    this.tint();
    over.putImageData(this.buffer, 0, 0);
    this.marks(over, size);
    document.body.dataset.took = (performance.now() - begin).toFixed(1); // for tools that measure
  }

  /** The photograph, which is drawn anew only if the view has changed. */
  photo(size) {
    const canvas = $("photo");
    const view = [size, this.left, this.top, canvas.width, canvas.height].join();
    if (this.image === this.shown && view === this.view) return;
    Object.assign(this, { shown: this.image, view });
    const photo = canvas.getContext("2d");
    photo.setTransform(1, 0, 0, 1, 0, 0);
    photo.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.image) return;
    photo.imageSmoothingEnabled = size < 4;
    photo.setTransform(size, 0, 0, size, this.left * this.ratio, this.top * this.ratio);
    photo.drawImage(this.image.bitmap, 0, 0);
  }

  tint() {
    const { image, regions, buffer } = this;
    const { wand, superpixels, labels, width, height } = image;
    const out = new Uint32Array(buffer.data.buffer);
    out.fill(0);
    // What is guessed has its class plus GUESS, and is striped: `faint` is the colour between the stripes.
    const [plain, bright, faint] = [0, 1, 2].map(() => new Uint32Array(2 * GUESS));
    const guess = this.guesses ? image.guess : null;
    const kindOf = (i) => labels[i] || (guess?.[i] ? guess[i] + GUESS : 0);
    bright[0] = packed([255, 255, 255], 90);
    for (const [number, colour] of this.palette) {
      plain[number] = packed(colour, 255 * this.opacity);
      bright[number] = bright[number + GUESS] = packed(colour, 255 * Math.min(1, this.opacity + 0.3));
      plain[number + GUESS] = packed(colour, 255 * this.opacity);
      faint[number + GUESS] = packed(colour, 85 * this.opacity);
    }
    const edge = packed([255, 255, 255], 110);
    const between = packed([20, 20, 20], 230);
    const light = packed([255, 213, 0], 255);
    const wanted = packed([0, 229, 255], 255);
    const { node } = this.tool;
    const [first, last] = node ? [wand.first[node], wand.last[node]] : [0, -1];
    const [columns, rows] = [buffer.width, buffer.height];
    const xs = Int32Array.from({ length: columns }, (_, x) => Math.floor(((x + 0.5) / this.ratio - this.left) / this.scale));
    const from = xs.findIndex((x) => x >= 0);
    let to = columns;
    while (to > 0 && xs[to - 1] >= width) to--;
    if (from < 0 || from >= to) return;
    const asked = new Set(this.marked.map(({ row, col }) => regions[superpixels[row * width + col]]));
    // Of each superpixel: its region, four times, plus two if a label is asked for, plus whether it is under the wand.
    const keyOf = regions.map((region, s) => (
      4 * region + 2 * asked.has(region) + (wand.place[s] >= first && wand.place[s] <= last)));
    // Of the pixel above: the same, and its class.
    const [keys, classes] = [new Uint32Array(columns), new Uint16Array(columns)];
    let begun = false;
    for (let y = 0; y < rows; y++) {
      const iy = Math.floor(((y + 0.5) / this.ratio - this.top) / this.scale);
      if (iy < 0) continue;
      if (iy >= height) break;
      const row = iy * width;
      const start = y * columns;
      let key = keyOf[superpixels[row + xs[from]]];
      let kind = kindOf(row + xs[from]);
      let inner = (key & 1 ? bright : plain)[kind];
      for (let x = from; x < to; x++) {
        const i = row + xs[x];
        const [leftKey, leftKind] = [key, kind];
        key = keyOf[superpixels[i]];
        kind = kindOf(i);
        const above = begun ? keys[x] : key;
        const aboveKind = begun ? classes[x] : kind;
        if (key === leftKey && kind === leftKind && key === above && kind === aboveKind && begun) {
          out[start + x] = kind > GUESS && (x + y) & 4 ? faint[kind] : inner; // most pixels: nothing ends here
          continue;
        }
        let colour = inner = (key & 1 ? bright : plain)[kind];
        if (above !== key || leftKey !== key) {
          if ((above & 1) !== (key & 1) || (leftKey & 1) !== (key & 1)) colour = light;
          else if ((above & 2) !== (key & 2) || (leftKey & 2) !== (key & 2)) colour = wanted;
          else if (this.borders) colour = edge;
        }
        if (colour !== light && colour !== wanted && (aboveKind !== kind || leftKind !== kind)) colour = between;
        out[start + x] = colour;
        keys[x] = key;
        classes[x] = kind;
      }
      begun = true;
    }
  }

  /** The places to label next. */
  get marked() { return this.guesses ? this.asked : []; }

  /** The lasso, the brush's size, where the keyboard is, and the numbers of places to label. */
  marks(over, size) {
    const { line, circle, cross } = this.tool;
    const place = ([x, y]) => [x * size + this.left * this.ratio, y * size + this.top * this.ratio];
    const stroke = (path) => {
      for (const [colour, width] of [["#000", 3], ["#ffd500", 1.5]]) {
        over.strokeStyle = colour;
        over.lineWidth = width * this.ratio;
        over.stroke(path);
      }
    };
    if (line?.length > 1) {
      const path = new Path2D();
      line.forEach((point, i) => (i ? path.lineTo(...place(point)) : path.moveTo(...place(point))));
      path.closePath();
      stroke(path);
    }
    if (circle) {
      const path = new Path2D();
      path.arc(...place(circle.at), circle.radius * size, 0, 2 * Math.PI);
      stroke(path);
    }
    over.font = `bold ${11 * this.ratio}px sans-serif`;
    Object.assign(over, { textAlign: "center", textBaseline: "middle", lineWidth: 1.5 * this.ratio, strokeStyle: "#00e5ff" });
    for (const { row, col, order } of this.marked) {
      const [x, y] = place([col + 0.5, row + 0.5]);
      const disc = new Path2D();
      disc.arc(x, y, 9 * this.ratio, 0, 2 * Math.PI);
      over.fillStyle = "#000c";
      over.fill(disc);
      over.stroke(disc);
      over.fillStyle = "#fff";
      over.fillText(order, x, y);
    }
    if (cross) {
      const [x, y] = place(cross);
      stroke(new Path2D(`M${x - 9},${y}H${x + 9}M${x},${y - 9}V${y + 9}`));
    }
  }
}
