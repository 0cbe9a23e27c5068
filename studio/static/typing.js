"use strict";
// What somebody types is theirs: no redrawing takes it away. Three things see to that.
//  - The studio is told when somebody is in the middle of typing; it redraws when they are done.
//  - A redrawing that was under way already brings new fields: they get what was typed, focus and caret.
//  - A change that went to a field which was gone by then is told again to the new one. Changes are counted;
//    a field says in data-heard up to which of them the studio has heard when it drew it.
// Native elements stand for everything: <details> stay as open as they were, too.

(() => {
  const FIELD = 'input[id^="field-"], select[id^="field-"]';
  const typed = new Map(); // page and field → what it holds, and the number under which it was told; 0: not yet
  const folds = new Map(); // page and heading → open
  let count = 0;
  let open = null; // the input that somebody is in the middle of typing in
  let typing = null; // the page that was told so
  let pressed = false; // a button of the mouse is down: its click shall find its target in place
  let focus = null;

  const pageOf = (element) => element.closest(".page");
  const nameOf = (element) => `${pageOf(element)?.dataset.page} ${element.id}`;
  const foldOf = (fold) => `${pageOf(fold)?.dataset.page} ${fold.querySelector("summary")?.textContent}`;
  const valueOf = (field) => (field.type === "checkbox" ? field.checked : field.value);

  function tellTyping(page, yes) {
    page?.dispatchEvent(new CustomEvent("imagotyping", { detail: yes }));
  }

  function calm() {
    if (!typing || pressed || open) return;
    tellTyping(typing, false);
    typing = null;
  }

  function closed(element) {
    if (element === open) open = null;
    setTimeout(calm); // what the field itself has to say goes first
  }

  // What a field's handler sends.
  window.imagoTold = (field) => {
    count += 1;
    if (field.matches(FIELD)) {
      const kept = { value: valueOf(field), told: count, now: field === open };
      typed.set(nameOf(field), kept);
      setTimeout(() => { kept.now = false; });
    }
    closed(field);
    return [valueOf(field), count];
  };

  // The page has decided on a value.
  window.imagoPut = (id, value) => {
    const field = getElement(id);
    if (!field || field === open) return;
    field.value = value;
    typed.delete(nameOf(field));
  };

  document.addEventListener("input", ({ target }) => {
    if (target.matches(FIELD)) typed.set(nameOf(target), { value: valueOf(target), told: 0 });
    if (!target.matches("input") || ["checkbox", "radio", "file", "range"].includes(target.type)) return;
    open = target;
    if (typing) return;
    typing = pageOf(target);
    tellTyping(typing, true);
  });
  document.addEventListener("pointerdown", () => { pressed = true; }, true);
  for (const name of ["pointerup", "pointercancel"]) {
    document.addEventListener(name, () => setTimeout(() => { pressed = false; calm(); }), true);
  }

  document.addEventListener("focusin", ({ target }) => {
    focus = { element: target, page: pageOf(target)?.dataset.page, name: label(target) };
  });
  document.addEventListener("focusout", ({ target }) => setTimeout(() => {
    if (!target.isConnected || !document.hasFocus()) return; // drawn anew, or another window is in front
    if (focus?.element === target) focus = null;
    closed(target);
  }));
  document.addEventListener("toggle", ({ target }) => {
    if (target.matches?.("details:not(.menu)")) folds.set(foldOf(target), target.open);
  }, true);

  function label(element) {
    return element.tagName + (element.id && !/^c\d+$/.test(element.id) ? `#${element.id}`
      : JSON.stringify({ ...element.dataset }) + element.textContent.slice(0, 60));
  }

  function restore(field) {
    const kept = typed.get(nameOf(field));
    if (!kept || (kept.told && Number(field.dataset.heard || 0) >= kept.told)) return;
    field[field.type === "checkbox" ? "checked" : "value"] = kept.value;
    // Chromium says "change" of a field that is taken away while it has the focus: it is still being typed in.
    if (kept.now && focus?.element.id === field.id) kept.told = 0;
    if (kept.told) field.dispatchEvent(new Event("change", { bubbles: true }));
    else open = field;
  }

  function refocus(element) {
    const old = focus.element;
    element.focus({ preventScroll: true });
    if (element.matches("input[type=text]") && old.value === element.value) {
      element.setSelectionRange(old.selectionStart, old.selectionEnd);
    }
  }

  function renewed(node) {
    const all = (what) => [...(node.matches(what) ? [node] : []), ...node.querySelectorAll(what)];
    all("details:not(.menu)").forEach((fold) => {
      if (folds.has(foldOf(fold))) fold.open = folds.get(foldOf(fold));
    });
    all(FIELD).forEach(restore);
    all(".camera").forEach((panel) => window.imagoCameraAgain?.(panel));
    const lost = focus && !focus.element.isConnected && document.activeElement === document.body;
    if (!lost || pageOf(node)?.dataset.page !== focus.page) return;
    const same = all(focus.element.tagName).find((element) => label(element) === focus.name);
    if (same) refocus(same);
  }

  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) if (node.nodeType === Node.ELEMENT_NODE && node.isConnected) renewed(node);
    }
    if (open && !open.isConnected) closed(open);
  }).observe(document, { childList: true, subtree: true });
})();
