// What all parts of the page need: texts in two languages, elements, requests.

const $ = (id) => document.getElementById(id);
let texts = {};
let info = { labels: [], display: {} };
export let language = "en";
export { $ };

/** The English sentence in the page's language, with {fields} filled in. */
export function t(sentence, values = {}) {
  const text = (language === "zh" && texts[sentence]) || sentence;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}

/** The name of a class in the page's language; `index` is its place in the model. */
export function className(label, index) {
  const names = info.display[language];
  return (names && info.labels[index] === label && names[index]) || label;
}

/** The name of a class of which only the label is known. */
export const labelName = (label) => className(label, info.labels.indexOf(label));

export const setInfo = (given) => { info = given; };
export const getInfo = () => info;

/** Speak `wanted` from now on. */
export async function speak(wanted) {
  if (wanted === "zh" && !Object.keys(texts).length) texts = await (await fetch("/texts/zh.json")).json();
  language = wanted;
  document.documentElement.lang = wanted === "zh" ? "zh-Hans" : "en";
  for (const element of document.querySelectorAll("[data-t]")) {
    element.dataset.t ||= element.textContent;
    element.textContent = t(element.dataset.t);
  }
  for (const element of document.querySelectorAll("[data-label]")) {
    element.dataset.label ||= element.getAttribute("aria-label");
    element.setAttribute("aria-label", t(element.dataset.label));
  }
  $("language").textContent = wanted === "zh" ? "English" : "中文";
  $("language").lang = wanted === "zh" ? "en" : "zh";
}

/** A new element: make("li", {className: "a"}, child, "text"). */
export function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children.filter((child) => child !== null));
  return element;
}

export class NeedsToken extends Error {}
export class Failed extends Error {}

/** fetch, with an error for everything but a good answer. */
export async function request(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  if (answer.status === 401) throw new NeedsToken(path);
  if (!answer.ok) {
    const data = await answer.json().catch(() => ({}));
    throw new Failed(data.error || `${answer.status}`);
  }
  return answer;
}

export const json = async (path, options) => (await request(path, options)).json();

export const post = (path, data) =>
  json(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(data) });

export const pause = (ms) => new Promise((done) => { setTimeout(done, ms); });

export const percent = (part) => `${(100 * part).toFixed(part >= 0.9995 || part === 0 ? 0 : 1)} %`;

/** Fill a list of bars with classes and their confidences. */
export function bars(list, scores) {
  while (list.children.length > scores.length) list.lastChild.remove();
  while (list.children.length < scores.length) list.append(make("li", {}, make("b"), make("span"), make("i")));
  scores.forEach((score, n) => {
    const [name, number, bar] = list.children[n].children;
    name.textContent = className(score.label, score.index);
    number.textContent = percent(score.confidence);
    bar.style.setProperty("--part", `${100 * score.confidence}%`);
  });
}

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** Unix time for people: the time of today, with the date where it is another day. */
export function clock(seconds) {
  const moment = new Date(1000 * seconds);
  const today = new Date().toDateString() === moment.toDateString();
  const date = today ? {} : { day: "numeric", month: "short" };
  return moment.toLocaleString(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", ...date });
}

/** 75 → 1:15, 3725 → 1:02:05, 90000 → 25 h */
export function duration(seconds) {
  const whole = Math.round(seconds);
  if (whole >= 86400) return t("{n} days", { n: (whole / 86400).toFixed(1) });
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] ? parts : parts.slice(1);
  return shown.map((part, n) => (n ? `${part}`.padStart(2, "0") : part)).join(":");
}
