// The curve of eigenvalues with the chosen gap, and the strip of eigenvectors.

import { address } from "./api.js";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export function showSpectrum(state) {
  const pictures = Array.from({ length: state.eigenvectors }, (_, i) => picture(state, `eigenvectors/${i + 2}.png`, `Eigenvector ${i + 2}`));
  if (state.hierarchy) pictures.push(picture(state, "contours.png", "Contours"));
  $("spectrum").replaceChildren($("curve"), ...pictures);
  $("curve").replaceChildren(...(state.eigenvalues.length > 1 ? [curve(state)] : []));
}

function curve({ eigenvalues, segments }) {
  const most = Math.max(...eigenvalues) || 1;
  const x = (k) => 38 + ((k - 1) / (eigenvalues.length - 1)) * 194;
  const y = (value) => 92 - (value / most) * 82;
  const drawn = svg("svg", { viewBox: "0 0 240 112", role: "img",
    "aria-label": `Eigenvalues 1 to ${eigenvalues.length}, rising to ${most.toPrecision(3)}; ${segments} segments` });
  drawn.append(svg("path", { d: `M38,10V92H234` }),
    svg("path", { d: eigenvalues.map((value, i) => `${i ? "L" : "M"}${x(i + 1)},${y(value)}`).join("") }),
    svg("text", { x: 34, y: 14, "text-anchor": "end" }, most.toPrecision(2)));
  if (segments < eigenvalues.length) {
    drawn.append(svg("path", { class: "gap", d: `M${x(segments)},${y(eigenvalues[segments - 1])}L${x(segments + 1)},${y(eigenvalues[segments])}` }));
  }
  eigenvalues.forEach((value, i) => {
    drawn.append(svg("circle", { cx: x(i + 1), cy: y(value), r: 2.5, class: i + 1 === segments ? "at" : "" }));
    if (i % Math.ceil(eigenvalues.length / 14) === 0) drawn.append(svg("text", { x: x(i + 1), y: 106, "text-anchor": "middle" }, i + 1));
  });
  return drawn;
}

function picture(state, what, title) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const button = document.createElement("button");
  const image = document.createElement("img");
  button.type = "button";
  image.src = address(state.id, what);
  image.alt = caption.textContent = title;
  button.append(image);
  figure.append(button, caption);
  button.addEventListener("click", () => {
    $("large-picture").src = image.src;
    $("large-picture").alt = image.alt;
    $("large").showModal();
  });
  return figure;
}
