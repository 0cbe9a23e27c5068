"use strict";
// The token travels in the address's fragment (which no server sees) or by hand, and becomes a cookie.
(() => {
  const said = document.getElementById("said");

  async function knock(token) {
    const body = new URLSearchParams({ token });
    const answer = await fetch("/door", { method: "POST", body });
    if (answer.ok) {
      location.replace("/");
      return;
    }
    said.textContent = (await answer.json().catch(() => ({}))).error || `HTTP ${answer.status}`;
  }

  document.getElementById("form").addEventListener("submit", (event) => {
    event.preventDefault();
    knock(document.getElementById("token").value.trim());
  });
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", "/door");
    knock(given);
  }
})();
