// The magic wand: the tree of superpixels as ranges of pixels, so that any region is one slice of an array.

const STEP = 1.3; // a turn of the wheel changes the area at least so much

export class Wand {
  /**
   * @param superpixels Uint16Array, a number from 1 for each pixel, 0 is void
   * @param merges pairs of superpixels from 0, in the order in which their regions are merged
   *
   * Nodes 1..count are the superpixels, count + 1, count + 2, ... the merged regions; 0 is void.
   * `parent` of a node, 0 for the root; `place` of a superpixel in the order of leaves; `first` and `last` place of a node.
   */
  constructor(superpixels, { merges }) {
    const count = merges.length + 1;
    const nodes = count + merges.length;
    Object.assign(this, { superpixels, count, nodes, parent: new Uint32Array(nodes + 1) });
    const children = this.joined(merges);
    this.first = new Uint32Array(nodes + 1);
    this.last = new Uint32Array(nodes + 1);
    this.place = new Int32Array(count + 1).fill(-1);
    const stack = [nodes];
    for (let place = 0; stack.length;) {
      const node = stack.pop();
      if (node <= count) this.place[node] = this.first[node] = this.last[node] = place++;
      else stack.push(children[2 * (node - count) + 1], children[2 * (node - count)]);
    }
    for (let node = count + 1; node <= nodes; node++) {
      const [a, b] = [children[2 * (node - count)], children[2 * (node - count) + 1]];
      this.first[node] = Math.min(this.first[a], this.first[b]);
      this.last[node] = Math.max(this.last[a], this.last[b]);
    }
    this.sorted();
  }

  joined(merges) {
    const root = Uint32Array.from({ length: this.count + 1 }, (_, i) => i);
    const node = root.slice();
    const find = (i) => {
      while (root[i] !== i) i = root[i] = root[root[i]];
      return i;
    };
    const children = new Uint32Array(2 * merges.length + 2);
    merges.forEach(([i, j], merge) => {
      const [a, b] = [find(i + 1), find(j + 1)];
      const made = this.count + merge + 1;
      children[2 * merge + 2] = node[a];
      children[2 * merge + 3] = node[b];
      this.parent[node[a]] = this.parent[node[b]] = made;
      root[b] = a;
      node[a] = made;
    });
    return children;
  }

  /** `order`: the pixels, superpixel by superpixel in the order of leaves; those of a place begin at `begin`. */
  sorted() {
    const { superpixels, place, count } = this;
    this.begin = new Uint32Array(count + 1);
    for (const s of superpixels) if (s) this.begin[place[s] + 1]++;
    for (let i = 0; i < count; i++) this.begin[i + 1] += this.begin[i];
    const next = this.begin.slice();
    this.order = new Uint32Array(this.begin[count]);
    for (let i = 0; i < superpixels.length; i++) if (superpixels[i]) this.order[next[place[superpixels[i]]]++] = i;
  }

  /** The pixels of a node, without a copy. */
  pixels(node) {
    return this.order.subarray(this.begin[this.first[node]], this.begin[this.last[node] + 1]);
  }

  area(node) {
    return this.begin[this.last[node] + 1] - this.begin[this.first[node]];
  }

  /** For each superpixel the node that is its region when there are so many regions. */
  regions(segments) {
    const limit = this.nodes + 1 - Math.min(Math.max(segments, 1), this.count);
    const top = new Uint32Array(this.nodes + 1);
    for (let node = this.nodes; node > 0; node--) {
      const above = this.parent[node];
      top[node] = above && above <= limit ? top[above] : node;
    }
    return top.slice(0, this.count + 1);
  }

  larger(node) {
    const wanted = STEP * this.area(node);
    let here = node;
    while (this.parent[here] && this.area(here) < wanted) here = this.parent[here];
    return here;
  }

  /** The region within `node` that still has the superpixel. */
  smaller(node, superpixel) {
    const wanted = this.area(node) / STEP;
    let here = superpixel;
    while (this.parent[here] && this.parent[here] !== node && this.area(this.parent[here]) <= wanted) here = this.parent[here];
    return here;
  }

  /**
   * The class that each superpixel takes when every region takes the class that it first meets.
   * @param labels the class of each pixel, 0 for none; where classes meet, regions take that of the larger side
   */
  filled(labels) {
    const own = new Uint8Array(this.nodes + 1);
    const votes = new Uint32Array(256);
    for (let s = 1; s <= this.count; s++) {
      votes.fill(0);
      for (const i of this.pixels(s)) votes[labels[i]]++;
      for (let c = 1; c < 256; c++) if (votes[c] > (own[s] ? votes[own[s]] : 0)) own[s] = c;
    }
    const size = new Float64Array(this.nodes + 1);
    for (let node = 1; node <= this.nodes; node++) {
      const above = this.parent[node];
      if (own[node] && this.area(node) > size[above]) {
        own[above] = own[node];
        size[above] = this.area(node);
      }
    }
    for (let node = this.nodes; node > 0; node--) own[node] = own[node] || own[this.parent[node]];
    return own.slice(0, this.count + 1);
  }
}
