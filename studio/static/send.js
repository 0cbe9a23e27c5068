"use strict";
// Files from the visitor's hands to the studio: drop zones, file inputs, folders. Names travel as query
// parameters, contents as raw bytes; whatever is shown is set as text.

(() => {
  const PICTURE = /\.(jpe?g|png|bmp|gif|webp|tiff?|ppm|pgm)$/i;
  const KEPT = /\.(jpe?g|png|bmp|gif|webp|tiff?|ppm|pgm|txt|csv)$/i;

  async function post(path, query, body, moved) {
    return new Promise((done, fail) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${path}?${new URLSearchParams(query)}`);
      request.upload.onprogress = (event) => moved?.(event.loaded / Math.max(1, event.total));
      request.onload = () => {
        let answer = {};
        try { answer = JSON.parse(request.responseText); } catch { /* said below */ }
        if (request.status === 200) done(answer);
        else fail(new Error(answer.error || `HTTP ${request.status}`));
      };
      request.onerror = () => fail(new Error("no connection"));
      request.send(body);
    });
  }

  async function walk(entry, prefix, found) {
    if (entry.isFile) {
      const file = await new Promise((done, fail) => entry.file(done, fail));
      found.push([prefix + entry.name, file]);
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const batch = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!batch.length) return;
      for (const child of batch) await walk(child, `${prefix}${entry.name}/`, found);
    }
  }

  async function dropped(transfer) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const found = [];
    for (const entry of entries) await walk(entry, "", found);
    return found.length ? found : [...transfer.files].map((file) => [file.name, file]);
  }

  function say(zone, text, bad) {
    const line = zone.querySelector(".zone-said");
    line.textContent = text;
    line.classList.toggle("bad", Boolean(bad));
  }

  // The page listens, not the element that files were given to: it may have been drawn anew meanwhile.
  function tell(element, name, detail) {
    const page = element.isConnected ? element.closest(".page") : document.querySelector(".page");
    page?.dispatchEvent(new CustomEvent(name, { detail }));
  }

  function counted(zone, n, total) {
    return (zone.dataset.busy || "{n} / {total}").replace("{n}", n).replace("{total}", total);
  }

  // "set": one zip, or files in class folders, become a new data set. "class": pictures go into one class.
  async function send(zone, files) {
    const zip = files.find(([, file]) => /\.zip$/i.test(file.name));
    if (zip && zone.dataset.drop === "set") {
      const shown = (share) => say(zone, counted(zone, `${Math.round(100 * share)} %`, zip[1].name));
      const answer = await post("/api/upload/zip", { name: zip[1].name }, zip[1], shown);
      return { set: answer.set, sent: 1, failed: [] };
    }
    const wanted = files.filter(([path]) => KEPT.test(path) && !/(^|\/)\./.test(path));
    if (!wanted.length) throw new Error(zone.dataset.nothing);
    let set = zone.dataset.set;
    if (zone.dataset.drop === "set") {
      const top = wanted[0][0].includes("/") ? wanted[0][0].split("/")[0] : zone.dataset.fallback;
      set = (await post("/api/upload/begin", { name: top })).set;
    }
    const failed = [];
    let sent = 0;
    const next = async (job) => {
      const [path, file] = job;
      const inner = zone.dataset.drop === "set" ? path.split("/").slice(path.includes("/") ? 1 : 0).join("/")
        : `${zone.dataset.folder}/${path.split("/").pop()}`;
      try { await post("/api/upload/file", { set, path: inner }, file); } catch (error) {
        failed.push(error.message);
      }
      sent += 1;
      say(zone, counted(zone, sent, wanted.length));
    };
    const queue = [...wanted];
    const lane = async () => { while (queue.length) await next(queue.shift()); };
    await Promise.all([lane(), lane(), lane()]);
    return { set, sent: sent - failed.length, failed };
  }

  async function take(zone, files) {
    if (!files.length || zone.dataset.working) return;
    if (zone.dataset.drop === "try") {
      imagoTry(zone, files.filter(([path]) => PICTURE.test(path)));
      return;
    }
    if (zone.dataset.drop === "look") {
      try { tell(zone, "imagokept", (await post("/api/upload/keep", {}, files[0][1])).kept); } catch (error) {
        say(zone, error.message, true);
      }
      return;
    }
    zone.dataset.working = "1";
    say(zone, counted(zone, 0, files.length));
    try {
      const answer = await send(zone, files);
      say(zone, answer.failed.slice(0, 3).join(" · "), answer.failed.length);
      tell(zone, "imagosent", { set: answer.set, sent: answer.sent, failed: answer.failed.length });
    } catch (error) {
      say(zone, error.message, true);
    } finally {
      delete zone.dataset.working;
    }
  }

  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // a picture dropped beside a zone must not replace the page
    document.querySelectorAll("[data-drop].over").forEach((zone) => zone.classList.remove("over"));
    event.target.closest?.("[data-drop]")?.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    event.target.closest?.("[data-drop]")?.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    const zone = event.target.closest?.("[data-drop]");
    if (!zone) return;
    zone.classList.remove("over");
    take(zone, await dropped(event.dataTransfer));
  });
  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input.type !== "file") return;
    const zone = input.closest("[data-drop]");
    const files = [...input.files].map((file) => [file.webkitRelativePath || file.name, file]);
    input.value = "";
    if (zone) take(zone, files);
  });

  window.imagoPost = post;
  window.imagoTell = tell;
})();
