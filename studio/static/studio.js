"use strict";
// What the frame needs in the browser; nothing here handles what users typed.

function imagoLanguage(lang) {
  document.cookie = `imago_language=${lang}; path=/; max-age=31536000; samesite=strict`;
  location.reload();
}

function imagoArrived() {
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  const step = document.querySelector(".steps [aria-current]");
  const bar = step?.closest(".steps");
  if (bar) bar.scrollLeft = step.offsetLeft - (bar.clientWidth - step.offsetWidth) / 2;
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
