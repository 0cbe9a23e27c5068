// The live page: starts its parts, keeps the status fresh, asks for the token where one is needed.

import { $, NeedsToken, getInfo, json, language, pause, post, setInfo, speak, t } from "/ui.js";
import * as ask from "/ask.js";
import * as camera from "/camera.js";
import * as figures from "/figures.js";
import * as visits from "/visits.js";

const STATUS_MS = 2000;
let status = null;
let reached = true;

function remember(key, value) {
  try { localStorage.setItem(key, value); } catch { /* private windows have none */ }
}

function remembered(key) {
  try { return localStorage.getItem(key); } catch { return null; }
}

function header() {
  const info = getInfo();
  $("what").textContent = [info.model, info.source].filter(Boolean).join(" · ");
  document.title = `imago · ${info.model ?? ""}`;
  const healthy = reached && (status?.healthy ?? true) && !status?.camera?.down;
  $("health").textContent = !reached ? t("not reachable") : healthy ? t("live") : t("no pictures");
  $("health").classList.toggle("bad", !healthy);
  camera.rest(!healthy);
  let notice = "";
  if (!reached) notice = t("The camera program cannot be reached; trying again …");
  else if (!healthy) notice = t("No picture for {n} seconds. Is the camera connected?", { n: Math.round(status.last_frame_s) });
  else if (status?.records?.trouble) notice = t("Visits cannot be kept now: {reason}", { reason: status.records.trouble });
  $("notice").hidden = !notice;
  if ($("notice").textContent !== notice) $("notice").textContent = notice;
  $("count").textContent = status ? t("{n} since the start", { n: status.events.count }) : "";
}

function report(error) {
  if (error instanceof NeedsToken) { location.reload(); return; }
  reached = !(error instanceof TypeError);  // what fetch throws where nobody answers
  if (reached) { $("notice").textContent = error.message; $("notice").hidden = false; } else header();
}

async function watchStatus() {
  let newest;
  for (;;) {
    try {
      status = await json("/api/status");
      reached = true;
      figures.take(status);
      header();
      const kept = status.records ? status.records.kept : status.events.last;  // records: once it is on the disk
      if (kept !== newest) {
        newest = kept;
        await visits.reload();
      }
    } catch (error) {
      report(error);
    }
    await pause(document.hidden ? 5 * STATUS_MS : STATUS_MS);
  }
}

async function useLanguage(wanted) {
  await speak(wanted);
  remember("imago-language", wanted);
  header();
  camera.describe();
  figures.show();
  visits.show();
}

function nextTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  remember("imago-theme", root.dataset.theme);
}

/** The token after # in the address: used once, then taken out of the address and the history. */
async function tokenFromAddress() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!token) return;
  history.replaceState(null, "", location.pathname);
  await post("/api/login", { token }).catch(() => {});
}

function askForToken() {
  $("login").hidden = false;
  $("token").focus();
  $("login").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/api/login", { token: $("token").value.trim() });
      location.reload();
    } catch (error) {
      $("wrong-token").textContent = error instanceof NeedsToken ? t("That is not the token.") : t("Too many tries; wait a minute.");
    }
  });
}

async function begin() {
  const theme = remembered("imago-theme");
  if (theme) document.documentElement.dataset.theme = theme;
  $("theme").addEventListener("click", nextTheme);
  $("language").addEventListener("click", () => useLanguage(language === "zh" ? "en" : "zh"));
  await speak(remembered("imago-language") || (navigator.language.startsWith("zh") ? "zh" : "en"));
  await tokenFromAddress();
  for (;;) {
    try {
      setInfo(await json("/api/info"));
      break;
    } catch (error) {
      if (error instanceof NeedsToken) { askForToken(); return; }
      reached = false;
      header();
      await pause(STATUS_MS);
    }
  }
  $("content").hidden = false;
  visits.start(report);
  ask.start();
  watchStatus();
  camera.watch(() => { reached = false; header(); }).catch(report);
}

begin();
