// A form from a JSON schema: what the settings file may say, the page can ask for.

const NOT_HERE = new Set(["weights", "device", "cache", "name"]);
const MAIN = new Map([
  ["segments", "segments"], ["superpixels.count", "superpixels"], ["features.cnn.backbone", "backbone"],
  ["head", "head"], ["refine", "refiner"],
]);

const copy = (value) => JSON.parse(JSON.stringify(value));
const at = (data, path) => path.reduce((value, key) => value?.[key], data);

function put(data, path, value) {
  const [last] = path.slice(-1);
  at(data, path.slice(0, -1))[last] = value;
}

export class SettingsForm {
  constructor(schema, defaults, backbones) {
    this.schema = schema;
    this.values = copy(defaults);
    this.backbones = backbones;
    this.count = 0;
  }

  /** Draws the settings that matter most into one element and all others into another. */
  draw(main, rest) {
    this.redraw = () => {
      const focused = document.activeElement?.dataset?.setting;
      const shown = main.querySelector("legend");
      main.replaceChildren(shown, ...[...MAIN.keys()].flatMap((name) => this.field(name.split("."), true)));
      rest.replaceChildren(...this.object(this.schema, []));
      if (focused) document.querySelector(`[data-setting="${CSS.escape(focused)}"]`)?.focus();
    };
    this.redraw();
  }

  resolve(schema) {
    if (schema?.$ref) {
      const { $ref, ...own } = schema;
      return { ...this.resolve(this.schema.$defs[$ref.split("/").pop()]), ...own };
    }
    return schema;
  }

  /** The schema of a setting, as the present values choose among variants. */
  schemaAt(path) {
    return path.reduce((schema, key, i) => {
      const here = this.resolve(schema);
      const object = here.properties ? here : this.variant(here, at(this.values, path.slice(0, i)));
      return object?.properties?.[key];
    }, this.schema);
  }

  variants(schema) {
    return (schema.oneOf || schema.anyOf || []).map((one) => this.resolve(one)).filter((one) => one.properties);
  }

  variant(schema, value) {
    const all = this.variants(schema);
    return all.length === 1 ? all[0] : all.find((one) => one.properties.name?.const === value?.name);
  }

  object(schema, path) {
    return Object.keys(schema.properties)
      .filter((key) => !NOT_HERE.has(key))
      .flatMap((key) => this.field([...path, key], false));
  }

  /** The elements of one setting; `main`: only its kind, the settings within stand below "All settings". */
  field(path, main) {
    const raw = this.schemaAt(path);
    if (!raw || (path.length > 1 && at(this.values, path.slice(0, -1)) === null)) return [];
    const schema = this.resolve(raw);
    const name = path.join(".");
    if (!main && MAIN.has(name) && !this.variants(schema).length) return [];
    if (schema.properties) return [this.group(path, schema, this.object(schema, path))];
    const all = this.variants(schema);
    if (all.length > 1) {
      const kinds = all.map((one) => one.properties.name.const);
      const value = at(this.values, path);
      if (main) return [this.line(path, schema, this.choice(path, kinds, value.name, (kind) => this.become(path, all, kind)))];
      const inside = this.object(this.variant(schema, value), path);
      return inside.length ? [this.group(path, { ...schema, title: `${path.at(-1)}: ${value.name}` }, inside)] : [];
    }
    if (all.length === 1) {
      const value = at(this.values, path);
      const box = this.checkbox(path, value !== null, (on) => { put(this.values, path, on ? this.defaults(all[0]) : null); this.redraw(); });
      const inside = value === null ? [] : this.object(all[0], path);
      return [this.group(path, schema, [this.line(path, { title: "use", description: "" }, box), ...inside])];
    }
    return [this.line(path, schema, this.input(path, schema))];
  }

  defaults(schema) {
    return Object.fromEntries(Object.entries(schema.properties).map(([key, one]) => {
      const inner = this.resolve(one);
      return [key, copy(inner.default ?? inner.const ?? (inner.properties ? this.defaults(inner) : null))];
    }));
  }

  become(path, all, kind) {
    put(this.values, path, { ...this.defaults(all.find((one) => one.properties.name.const === kind)), name: kind });
    this.redraw();
  }

  input(path, schema) {
    const value = at(this.values, path);
    const set = (next) => put(this.values, path, next);
    if (path.at(-1) === "backbone") return this.choice(path, this.backbones, value, set);
    if (schema.enum) return this.choice(path, schema.enum, value, set);
    if (schema.type === "boolean") return this.checkbox(path, value, set);
    const box = this.mark(document.createElement("input"), path);
    const kinds = schema.anyOf || [schema];
    const number = kinds.find((one) => one.type === "integer" || one.type === "number");
    if (number && kinds.every((one) => one === number || one.type === "null")) {
      box.type = "number";
      box.step = number.type === "integer" ? 1 : "any";
      if (number.minimum !== undefined) box.min = number.minimum;
      if (number.maximum !== undefined) box.max = number.maximum;
      box.required = kinds.length === 1;
      if (!box.required) box.placeholder = "none";
      box.value = value ?? "";
      box.addEventListener("input", () => set(Number.isNaN(box.valueAsNumber) ? null : box.valueAsNumber));
      return box;
    }
    // A number or a word, or a list.
    box.value = typeof value === "string" ? value : JSON.stringify(value);
    box.addEventListener("input", () => {
      try { set(JSON.parse(box.value)); } catch { set(box.value.trim()); }
    });
    return box;
  }

  mark(element, path) {
    element.id = `setting-${this.count++}`;
    element.dataset.setting = path.join(".");
    return element;
  }

  choice(path, options, value, set) {
    const box = this.mark(document.createElement("select"), path);
    for (const option of options) box.append(new Option(option, option, false, option === value));
    box.addEventListener("change", () => set(box.value));
    return box;
  }

  checkbox(path, value, set) {
    const box = this.mark(document.createElement("input"), path);
    box.type = "checkbox";
    box.checked = value;
    box.addEventListener("change", () => set(box.checked));
    return box;
  }

  line(path, schema, box) {
    const line = document.createElement("div");
    const label = document.createElement("label");
    line.className = "field";
    label.htmlFor = box.id;
    label.append(MAIN.get(path.join(".")) || (schema.title && path.length > 1 ? schema.title.toLowerCase() : path.at(-1).replaceAll("_", " ")));
    if (schema.description && !schema.description.includes("\n")) {
      const hint = document.createElement("span");
      hint.className = "hint";
      hint.textContent = schema.description;
      label.append(hint);
    }
    line.append(label, box);
    return line;
  }

  group(path, schema, inside) {
    const set = document.createElement("fieldset");
    const legend = document.createElement("legend");
    legend.textContent = schema.title?.includes(":") ? schema.title : path.at(-1);
    set.append(legend, ...inside);
    return set;
  }
}
