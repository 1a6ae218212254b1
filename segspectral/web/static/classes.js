// The classes: names, colours, and the keys 1 to 9. Class 0 takes a class away.

const $ = (id) => document.getElementById(id);

export class Classes {
  /** @param act {save(classes), chosen()}, where save shows them at once @param colours of classes 1, 2, ... */
  constructor(act, colours) {
    Object.assign(this, { act, colours, all: [], revision: 0, current: 1, chosen: 1 });
  }

  /** @param revision of these classes, whatever the project learns of other windows later */
  show(all, revision) {
    this.revision = revision;
    if (JSON.stringify(all) === JSON.stringify(this.all)) return; // a name that is being typed stays
    this.all = all;
    const there = this.chosen === 0 || all.some(({ number }) => number === this.chosen);
    this.current = there ? this.chosen : all[0].number; // until the chosen one is there again
    const add = this.button("+ Class", "Add a class");
    add.id = "add-class";
    add.disabled = all.length >= 255;
    add.addEventListener("click", () => this.add());
    const more = document.createElement("li");
    more.className = "more";
    more.append(add);
    $("classes").replaceChildren(...all.map((one, i) => this.item(one, i)), this.eraser(), more);
    this.mark();
  }

  item(one, index) {
    const item = document.createElement("li");
    item.dataset.class = one.number;
    const key = this.button(index < 9 ? String(index + 1) : "•", `Paint ${one.name}${index < 9 ? ` (${index + 1})` : ""}`);
    key.className = "key";
    key.style.background = one.colour;
    key.addEventListener("click", () => this.choose(one.number));
    const colour = this.input("color", `Colour of ${one.name}`, one.colour);
    colour.addEventListener("change", () => this.change(one, { colour: colour.value }));
    const name = this.input("text", `Name of class ${index + 1}`, one.name);
    name.maxLength = 80;
    name.addEventListener("focus", () => this.choose(one.number));
    name.addEventListener("change", () => {
      if (name.value.trim()) this.change(one, { name: name.value.trim() });
      else name.value = one.name;
    });
    name.addEventListener("keydown", (event) => { if (event.key === "Enter") { name.blur(); $("stage").focus(); } });
    const gone = this.button("×", this.all.length > 1 ? `Remove ${one.name}` : "At least one class is needed: add another one first");
    gone.disabled = this.all.length < 2;
    gone.addEventListener("click", () => this.act.save(this.all.filter((other) => other !== one)));
    item.append(key, colour, name, gone);
    return item;
  }

  eraser() {
    const item = document.createElement("li");
    item.dataset.class = 0;
    item.className = "erase";
    const key = this.button("0", "Erase classes (0 or E)");
    key.className = "key";
    key.addEventListener("click", () => this.choose(0));
    item.append(key, "Erase");
    return item;
  }

  button(text, label) {
    const made = document.createElement("button");
    Object.assign(made, { type: "button", textContent: text, title: label });
    made.setAttribute("aria-label", label);
    return made;
  }

  input(type, label, value) {
    const made = Object.assign(document.createElement("input"), { type, value });
    made.setAttribute("aria-label", label);
    return made;
  }

  choose(number) {
    this.current = this.chosen = number;
    this.mark();
    this.act.chosen();
  }

  /** By a key, from 1; 0 erases. */
  chooseAt(place) {
    if (place === 0) this.choose(0);
    else if (this.all[place - 1]) this.choose(this.all[place - 1].number);
  }

  mark() {
    for (const item of $("classes").children) {
      const on = Number(item.dataset.class) === this.current;
      item.classList.toggle("on", on);
      if (on) item.scrollIntoView({ block: "nearest", inline: "nearest" }); // on phones they are in one row
    }
  }

  change(one, what) {
    this.act.save(this.all.map((other) => (other === one ? { ...one, ...what } : other)));
  }

  add() {
    const taken = new Set(this.all.map(({ number }) => number));
    const names = new Set(this.all.map(({ name }) => name));
    let number = 1;
    while (taken.has(number)) number++;
    let label = number;
    while (names.has(`class ${label}`)) label++;
    this.act.save([...this.all, { number, name: `class ${label}`, colour: this.colours[number - 1] }]);
    this.choose(number);
    const name = $("classes").querySelector(`[data-class="${number}"] input[type=text]`);
    name.focus();
    name.select();
  }
}
