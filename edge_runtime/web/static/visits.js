// The list of visits, one visit in full, and marking what was named wrongly.

import { $, bars, clock, duration, getInfo, json, labelName, className, make, percent, post, t } from "/ui.js";

const PAGE = 24;
let events = [];
let open = null;

/** Set up; call once. */
export function start(report) {
  const guarded = (work) => async () => { try { await work(); } catch (error) { report(error); } };
  $("which").addEventListener("change", guarded(reload));
  $("unknown").addEventListener("change", guarded(reload));
  $("more").addEventListener("click", guarded(() => load(events.at(-1)?.id)));
  $("mark").addEventListener("click", guarded(() => mark(true)));
  $("unmark").addEventListener("click", guarded(() => mark(false)));
}

/** Load the newest page again. */
export const reload = () => load(null);

async function load(before) {
  const query = new URLSearchParams({ limit: PAGE });
  if (before) query.set("before", before);
  if ($("which").value) query.set("label", $("which").value);
  if ($("unknown").checked) query.set("unknown", "1");
  const page = await json(`/api/events?${query}`);
  events = before ? [...events, ...page.events] : page.events;
  $("more").hidden = !page.more;
  show();
}

/** Draw the list (again, where the language has changed). */
export function show() {
  const chosen = $("which").value;
  const options = getInfo().labels.map((label) => make("option", { value: label, textContent: labelName(label) }));
  $("which").replaceChildren(make("option", { value: "", textContent: t("all") }), ...options);
  $("which").value = chosen;
  $("none").hidden = events.length > 0;
  const focused = document.activeElement?.dataset?.visit;
  $("list").replaceChildren(...events.map(tile));
  if (focused) $("list").querySelector(`[data-visit="${focused}"]`)?.focus();
  if (open) fill(open);
}

function tile(event) {
  const name = className(event.label, event.top[0].index);
  const kind = event.wrong ? "wrong" : event.unknown ? "unknown" : "";
  const shown = event.unknown && !event.wrong ? t("{label}?", { label: name }) : name;
  const picture = event.crop
    ? make("img", { src: `/api/events/${event.id}/crop`, alt: "", loading: "lazy" })
    : make("span", { textContent: t("no picture") });
  const button = make("button", { type: "button" },
    make("div", { className: "crop" }, picture),
    make("div", { className: "about" },
      make("b", { className: kind, textContent: shown }),
      event.correction ? make("em", { textContent: `→ ${labelName(event.correction)}` }) : null,
      make("time", { textContent: clock(event.start), dateTime: new Date(1000 * event.start).toISOString() }),
      make("span", { textContent: percent(event.confidence) })));
  button.dataset.visit = event.id;
  button.addEventListener("click", () => { open = event; fill(event); $("visit").showModal(); });
  return make("li", {}, button);
}

function fill(event) {
  const name = className(event.label, event.top[0].index);
  $("visit-title").textContent = event.unknown ? t("unknown, perhaps {label}", { label: name }) : name;
  $("visit-picture").hidden = !event.crop;
  if (event.crop) $("visit-picture").src = `/api/events/${event.id}/crop`;
  $("visit-picture").alt = t("The best moment of this visit");
  bars($("visit-top"), event.top);
  $("visit-facts").textContent = t("{time}, for {seconds}, on {frames} frames",
    { time: clock(event.start), seconds: event.duration_s < 60 ? `${event.duration_s.toFixed(1)} s` : duration(event.duration_s), frames: event.frames });
  $("marking").hidden = !getInfo().marks;
  const others = getInfo().labels.filter((label) => label !== event.label || event.unknown);
  $("truth").replaceChildren(
    make("option", { value: "", textContent: t("something else") }),
    ...others.map((label) => make("option", { value: label, textContent: labelName(label) })));
  $("truth").value = event.correction && others.includes(event.correction) ? event.correction : "";
  $("unmark").hidden = !event.wrong;
}

async function mark(wrong) {
  const label = wrong ? $("truth").value || null : null;
  try {
    await post(`/api/events/${open.id}/mark`, { wrong, label });
  } finally {
    $("visit").close();
  }
  Object.assign(open, { wrong, correction: label });
  open = null;
  show();
}
