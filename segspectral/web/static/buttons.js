// Buttons that say what they need while they are disabled.

/** @param why said by the tooltip while the button cannot be pressed */
export function able(id, can, why) {
  const button = document.getElementById(id);
  button.dataset.title ??= button.title;
  button.disabled = !can;
  button.title = can ? button.dataset.title : why;
}
