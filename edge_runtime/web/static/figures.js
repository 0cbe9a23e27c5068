// How the program is doing: percentiles, temperature, throttling, memory.

import { $, duration, make, t } from "/ui.js";

const POINTS = 90;
const past = [];
let last = null;

/** Take in a new status. */
export function take(status) {
  last = status;
  if (status.latency) {
    past.push([status.latency.p50_us, status.latency.p99_us]);
    if (past.length > POINTS) past.shift();
  }
  show();
}

/** Show the newest status (again, where the language has changed). */
export function show() {
  if (!last) return;
  $("durations").tBodies[0].replaceChildren(
    line(t("answer"), last.latency), line(t("age of the picture"), last.age));
  trend();
  $("figures").replaceChildren(...rows().flatMap(([name, value, bad]) =>
    [make("dt", { textContent: name }), make("dd", { textContent: value, className: bad ? "bad" : "" })]));
}

const ms = (us) => { const value = us / 1000; return value < 10 ? value.toFixed(1) : value.toFixed(0); };

function line(name, figures) {
  const cells = ["p50_us", "p90_us", "p99_us"].map((key) =>
    make("td", { textContent: figures ? `${ms(figures[key])} ms` : "–" }));
  return make("tr", {}, make("th", { scope: "row", textContent: name }), ...cells);
}

function trend() {
  $("trend").toggleAttribute("hidden", past.length < 5);
  if (past.length < 5) return;
  const most = 1.15 * Math.max(...past.flat(), 1);  // room above: a level line is not a border
  [["trend-50", 0], ["trend-99", 1]].forEach(([id, which]) => {
    const points = past.map((pair, n) =>
      `${(120 * n / (past.length - 1)).toFixed(1)},${(26 - 24 * pair[which] / most).toFixed(1)}`);
    $(id).setAttribute("points", points.join(" "));
  });
}

function rows() {
  const s = last;
  const found = [
    [t("speed"), t("{fps} frames a second", { fps: s.fps })],
    [t("frames"), t("{frames}, {dropped} skipped", { frames: s.frames, dropped: s.dropped })],
  ];
  if (s.temperature_c !== null) found.push([t("temperature"), `${s.temperature_c.toFixed(0)} °C`, s.temperature_c >= 80]);
  if (s.throttled !== null) {
    found.push([t("power and heat"), s.throttled.map((word) => t(word)).join(", ") || t("no throttling"), s.throttled.length]);
  }
  if (s.rss_mb !== null) found.push([t("memory"), `${s.rss_mb.toFixed(0)} MB`]);
  found.push([t("running for"), duration(s.uptime_s)]);
  if (s.camera?.failures) {
    const told = t("failed {failures} times, {time} without pictures",
      { failures: s.camera.failures, time: duration(s.camera.downtime_s) });
    found.push([t("camera"), told, s.camera.down]);
  }
  if (s.records) {
    const crops = (s.records.crop_bytes / 1e6).toFixed(s.records.crop_bytes < 1e7 ? 1 : 0);
    found.push([t("records"), s.records.trouble || t("{kept} kept, {mb} MB of pictures", { kept: s.records.kept, mb: crops }), s.records.trouble]);
  }
  if (s.mqtt) {
    const waiting = t("{n} waiting", { n: s.mqtt.waiting });
    found.push(["MQTT", s.mqtt.connected ? `${t("connected")}, ${waiting}` : `${t("no connection")}, ${waiting}`, !s.mqtt.connected]);
  }
  return found;
}
