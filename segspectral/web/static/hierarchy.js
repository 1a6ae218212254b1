// Nested segmentations: superpixels merged one by one, cut here at any number of segments without asking the server.

export class Hierarchy {
  /**
   * @param superpixels Uint16Array, a number from 1 for each pixel, 0 is void
   * @param tree {merges: pairs of superpixels from 0, altitudes: rising levels, most: segments of a cut}
   */
  constructor(superpixels, { merges, altitudes, most }) {
    Object.assign(this, { superpixels, merges, altitudes, most, count: merges.length + 1 });
    this.areas = new Float64Array(this.count + 1);
    for (const superpixel of superpixels) this.areas[superpixel]++;
  }

  /** How many segments are left when all merges up to a level are done. */
  segmentsAt(level) {
    let low = 0;
    let high = this.altitudes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.altitudes[middle] <= level) low = middle + 1;
      else high = middle;
    }
    return this.count - low;
  }

  /** The lowest level at which there are so few segments. */
  levelOf(segments) {
    return segments < this.count ? this.altitudes[this.count - segments - 1] : 0;
  }

  /** {labels, areas}: segments 1, 2, ... in order of falling area, numbered as the server numbers them. */
  cut(segments) {
    const root = Int32Array.from({ length: this.count + 1 }, (_, i) => i);
    const find = (i) => {
      while (root[i] !== i) i = root[i] = root[root[i]];
      return i;
    };
    for (const [i, j] of this.merges.slice(0, this.count - segments)) {
      const [a, b] = [find(i + 1), find(j + 1)];
      root[Math.max(a, b)] = Math.min(a, b);
    }
    const area = new Float64Array(this.count + 1);
    const roots = [];
    for (let s = 1; s <= this.count; s++) {
      const own = find(s);
      if (own === s) roots.push(s);
      area[own] += this.areas[s];
    }
    roots.sort((a, b) => area[b] - area[a]); // stable: among equals the region of the lowest superpixel is first
    const number = new Uint16Array(this.count + 1);
    roots.forEach((own, i) => { number[own] = i + 1; });
    for (let s = 1; s <= this.count; s++) number[s] = number[find(s)];
    return { labels: this.superpixels.map((s) => number[s]), areas: roots.map((own) => area[own]) };
  }
}

/** Whole numbers from 1 to most: each one up to 30, then steps of a tenth. */
export function ladder(most) {
  const steps = [];
  for (let k = 1; k < most; k += Math.max(1, Math.floor(k / 15))) steps.push(k);
  return [...steps, most];
}
