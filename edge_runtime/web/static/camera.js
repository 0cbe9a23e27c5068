// The camera's picture: each request waits for a newer one, so a slow network sees fewer pictures, not old ones.

import { $, NeedsToken, bars, className, percent, pause, request, t } from "/ui.js";

const SPEAK_MS = 4000;
let shown = "";
let spoken = { text: "", at: 0 };
let last = null;
let resting = false;

/** An old picture is not shown as if it were now. */
export function rest(so) {
  $("view").classList.toggle("stale", so);
  if (resting === so) return;
  resting = so;
  describe();
}

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
  $("caption").hidden = resting;
  $("picture").alt = resting ? t("no pictures") : t("What the camera sees: {label}", { label: text });
  bars($("top"), last.idle || resting ? [] : last.top);
  $("timing").textContent = timing();
  boxes();
  if (resting) return;
  const now = Date.now();
  if (text !== spoken.text && now - spoken.at > SPEAK_MS) {
    spoken = { text, at: now };
    $("spoken").textContent = text;
  }
}

function timing() {
  if (resting) return t("no pictures");
  if (last.idle) return t("The model rests until something moves.");
  return t("{latency} ms to answer, picture {age} ms old",
    { latency: last.latency_ms.toFixed(1), age: last.age_ms.toFixed(0) });
}

function boxes() {
  const svg = $("boxes");
  svg.setAttribute("viewBox", `0 0 ${last.width} ${last.height}`);
  const size = Math.max(last.width, last.height) / 42;
  const subjects = resting ? [] : last.subjects;
  svg.replaceChildren(...subjects.filter((subject) => subject.box).flatMap((subject) => {
    const [x, y, width, height] = subject.box;
    const rect = drawn("rect", { x, y, width, height });
    if (subject.unknown) rect.classList.add("unknown");
    const above = y > 1.5 * size;
    const name = drawn("text", { x: x + size / 3, y: above ? y - size / 2.5 : y + 1.2 * size, "font-size": size, "stroke-width": size / 5 });
    name.textContent = subject.unknown ? "?" : className(subject.label, subject.index);
    return [rect, name];
  }));
}

function drawn(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
