// The settings that matter most are controls; all others are a text that the server checks, and a table that lists them.

const NOT_HERE = new Set(["weights", "device", "cache", "model", "name"]);
const AUTOMATIC = "auto"; // regions of the hierarchy, or the default head if a number is given
const $ = (id) => document.getElementById(id);
const control = (name) => document.querySelector(`[data-setting="${name}"]`);

export class SettingsForm {
  /** @param schema JSON schema of the settings @param defaults those of the server @param backbones that it has */
  constructor(schema, defaults, backbones) {
    this.schema = schema;
    const cnn = defaults.features.cnn;
    this.choose("backbone", [...backbones, "none"], cnn ? cnn.backbone : "none");
    this.choose("head", [AUTOMATIC, ...this.kinds(schema.properties.head)], defaults.head?.name ?? AUTOMATIC);
    this.choose("refine", this.kinds(schema.properties.refine), defaults.refine.name);
    control("segments").value = defaults.segments;
    control("superpixels").value = defaults.superpixels.count;
    control("hierarchy").checked = defaults.hierarchy;
    $("all-settings").append(...this.rows(schema, "", defaults));
  }

  /** {settings, more}: data, and a text in YAML whose settings go on top. */
  get values() {
    const [segments, backbone] = [control("segments").value.trim(), control("backbone").value];
    return {
      settings: {
        segments: /^\d+$/.test(segments) ? Number(segments) : segments,
        superpixels: { count: Number(control("superpixels").value) },
        features: { cnn: backbone === "none" ? null : { backbone } },
        head: control("head").value === AUTOMATIC ? null : control("head").value,
        refine: control("refine").value,
        hierarchy: control("hierarchy").checked,
      },
      more: $("more").value,
    };
  }

  choose(name, options, value) {
    control(name).append(...options.map((option) => new Option(option, option, false, option === value)));
  }

  resolve(schema) {
    return schema.$ref ? { ...this.schema.$defs[schema.$ref.split("/").pop()], ...schema, $ref: undefined } : schema;
  }

  variants(schema) {
    const here = this.resolve(schema);
    return [here, ...(here.anyOf || []), ...(here.oneOf || [])].map((one) => this.resolve(one)).filter((one) => one.properties);
  }

  kinds(schema) {
    return this.variants(schema).map((one) => one.properties.name?.const).filter(Boolean);
  }

  /** One row for each setting within a schema: its name, what is the default, and what it does. */
  rows(schema, above, defaults) {
    return this.variants(schema).flatMap((variant, _, { length }) => {
      const kind = variant.properties.name?.const;
      const ours = !kind || kind === defaults?.name ? defaults : null;
      return Object.entries(variant.properties).filter(([key]) => !NOT_HERE.has(key)).flatMap(([key, property]) => {
        const name = `${above}${key}`;
        const inner = this.rows(property, `${name}.`, ours?.[key]);
        const kinds = this.kinds(property);
        const value = kinds.length > 1 ? kinds.join(", ") : inner.length ? "" : JSON.stringify(ours?.[key] ?? property.default ?? null);
        const text = this.resolve(property).description || "";
        const of = kind && length > 1 ? `${kind}: ` : "";
        return [row(name, value, inner.length ? "" : of + text), ...inner];
      });
    });
  }
}

function row(...texts) {
  const made = document.createElement("tr");
  made.append(...texts.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return made;
}
