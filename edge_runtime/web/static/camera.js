// The camera's picture: each request waits for a newer one, so a slow network sees fewer pictures, not old ones.

import { $, NeedsToken, bars, className, percent, pause, request, t } from "/ui.js";

const SPEAK_MS = 4000;
let shown = "";
let spoken = { text: "", at: 0 };
let last = null;

/** Show pictures for ever; while the page is hidden none are asked for. */
export async function watch(lost) {
  let number = 0;
  for (;;) {
    if (document.hidden) await new Promise((done) => { document.addEventListener("visibilitychange", done, { once: true }); });
    try {
      const answer = await request(`/api/frame?after=${number}`);
      if (answer.status === 200) {
        number = Number(answer.headers.get("X-Imago-Number"));
        last = JSON.parse(answer.headers.get("X-Imago-Answer"));
        await draw(await answer.blob());
        describe();
      }
    } catch (error) {
      if (error instanceof NeedsToken) throw error;
      number = 0;  // perhaps another run by now
      lost();
      await pause(1500);
    }
  }
}

async function draw(blob) {
  const url = URL.createObjectURL(blob);
  const picture = $("picture");
  picture.src = url;
  await picture.decode().catch(() => {});
  if (shown) URL.revokeObjectURL(shown);
  shown = url;
  picture.hidden = false;
  $("waiting").hidden = true;
}

/** Say what is on the picture (again, where the language has changed). */
export function describe() {
  if (!last) return;
  const best = last.top[0];
  const [subject] = [...last.subjects].sort((a, b) => b.confidence - a.confidence);
  let text = className(best.label, best.index);
  let sure = percent(best.confidence);
  if (subject) {
    text = subject.unknown ? t("unknown") : className(subject.label, subject.index);
    sure = percent(subject.confidence);
  } else if (last.idle) {
    [text, sure] = [t("nothing moves"), ""];
  }
  $("label").textContent = text;
  $("sure").textContent = sure;
  $("caption").hidden = false;
  $("picture").alt = t("What the camera sees: {label}", { label: text });
  bars($("top"), last.idle ? [] : last.top);
  $("timing").textContent = last.idle
    ? t("The model rests until something moves.")
    : t("answered in {latency} ms, {age} ms after the picture was taken",
      { latency: last.latency_ms.toFixed(1), age: last.age_ms.toFixed(0) });
  boxes();
  const now = Date.now();
  if (text !== spoken.text && now - spoken.at > SPEAK_MS) {
    spoken = { text, at: now };
    $("spoken").textContent = text;
  }
}

function boxes() {
  const svg = $("boxes");
  svg.setAttribute("viewBox", `0 0 ${last.width} ${last.height}`);
  svg.replaceChildren(...last.subjects.filter((s) => s.box).map((subject) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    ["x", "y", "width", "height"].forEach((name, n) => rect.setAttribute(name, subject.box[n]));
    if (subject.unknown) rect.classList.add("unknown");
    return rect;
  }));
}
