"use strict";
// What the frame needs in the browser; nothing here handles what users typed.

function imagoLanguage(lang) {
  document.cookie = `imago_language=${lang}; path=/; max-age=31536000; samesite=strict`;
  location.reload();
}

let imagoHere = null;

// Another page is shown: close menus, show its step, and read on from its beginning.
function imagoArrived(path) {
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  const step = document.querySelector(".steps [aria-current]");
  const bar = step?.closest(".steps");
  if (bar) {
    const [inner, outer] = [step.getBoundingClientRect(), bar.getBoundingClientRect()];
    bar.scrollLeft += inner.left - outer.left - (outer.width - inner.width) / 2;
  }
  if (imagoHere !== null && imagoHere !== path) document.getElementById("content")?.focus({ preventScroll: true });
  imagoHere = path;
}

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
