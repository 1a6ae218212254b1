// The list of segments: the second way to everything that the picture can do, for keyboards and screen readers.

import { able } from "./buttons.js";

const $ = (id) => document.getElementById(id);

export class Regions {
  /** @param act {hover(segment), select(), edit(change)} */
  constructor(act) {
    this.act = act;
    this.regions = [];
    this.selected = new Set();
    $("merge").addEventListener("click", () => this.merge());
    $("split").addEventListener("click", () => this.split([...this.selected][0]));
    for (const action of ["undo", "redo"]) $(action).addEventListener("click", () => act.edit({ action }));
  }

  show(state) {
    this.regions = state.regions;
    this.selected = new Set([...this.selected].filter((segment) => this.region(segment)));
    const focused = document.activeElement?.closest?.("#regions li")?.dataset.segment;
    const kind = document.activeElement?.type;
    $("regions").replaceChildren(...state.regions.map((region) => this.item(region)));
    able("undo", state.can_undo, "There is nothing to undo");
    able("redo", state.can_redo, "There is nothing to redo");
    this.sync();
    if (focused) $("regions").querySelector(`li[data-segment="${focused}"] input[type="${kind}"]`)?.focus();
  }

  region(segment) {
    return this.regions.find((region) => region.segment === segment);
  }

  item(region) {
    const { segment } = region;
    const item = document.createElement("li");
    item.dataset.segment = segment;
    const box = this.input("checkbox", `Select ${region.name}`);
    box.addEventListener("change", () => { this.toggle(segment, box.checked); });
    const colour = this.input("color", `Colour of ${region.name}`, region.colour);
    colour.addEventListener("change", () => this.act.edit({ action: "recolour", segment, colour: colour.value }));
    const name = this.input("text", `Name of segment ${segment}`, region.name);
    name.maxLength = 80;
    name.addEventListener("change", () => this.act.edit({ action: "rename", segment, name: name.value }));
    const area = document.createElement("small");
    area.textContent = `${(100 * region.share).toFixed(1)} %`;
    area.title = `${region.area} pixels`;
    item.append(box, colour, name, area);
    for (const event of ["pointerenter", "focusin"]) item.addEventListener(event, () => this.act.hover(segment));
    item.addEventListener("pointerleave", () => this.act.hover(null));
    return item;
  }

  input(type, label, value) {
    const made = document.createElement("input");
    made.type = type;
    if (value !== undefined) made.value = value;
    made.setAttribute("aria-label", label);
    return made;
  }

  toggle(segment, on = !this.selected.has(segment), alone = false) {
    if (alone) this.selected.clear();
    if (on) this.selected.add(segment);
    else this.selected.delete(segment);
    this.sync();
    this.act.select();
  }

  hover(segment) {
    for (const item of $("regions").children) item.classList.toggle("hover", Number(item.dataset.segment) === segment);
  }

  sync() {
    for (const item of $("regions").children) {
      const on = this.selected.has(Number(item.dataset.segment));
      item.classList.toggle("selected", on);
      item.querySelector("input[type=checkbox]").checked = on;
    }
    able("merge", this.selected.size > 1, "Select two or more segments: tap them, or Shift and click");
    able("split", this.selected.size === 1, "Select one segment");
  }

  merge() {
    this.act.edit({ action: "merge", segments: [...this.selected] });
  }

  split(segment) {
    this.act.edit({ action: "split", segment, parts: Number($("parts").value) || 2 });
  }
}
