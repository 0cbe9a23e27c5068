// A visitor's own picture, answered by the camera's model.

import { $, bars, json, t } from "/ui.js";

const LARGEST = 16 * 2 ** 20;
let shown = "";

/** Set up; call once. */
export function start() {
  const drop = document.querySelector(".drop");
  $("file").addEventListener("change", () => { if ($("file").files[0]) ask($("file").files[0]); });
  drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files[0]) ask(event.dataTransfer.files[0]);
  });
}

async function ask(file) {
  bars($("own-top"), []);
  if (shown) URL.revokeObjectURL(shown);
  shown = URL.createObjectURL(file);
  $("own").src = shown;
  $("own").alt = t("Your picture");
  $("own").hidden = false;
  if (file.size > LARGEST) {
    $("own-note").textContent = t("This file is too large: at most 16 MB.");
    return;
  }
  $("own-note").textContent = t("Asking the model …");
  try {
    const type = file.type.startsWith("image/") ? file.type : "application/octet-stream";
    const answer = await json("/api/predict", { method: "POST", headers: { "Content-Type": type }, body: file });
    bars($("own-top"), answer.top);
    $("own-note").textContent = t("answered in {ms} ms", { ms: answer.took_ms.toFixed(0) });
  } catch (error) {
    $("own").hidden = true;
    $("own-note").textContent = t("No answer: {reason}", { reason: error.message });
  }
}
