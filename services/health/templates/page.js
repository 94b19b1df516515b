(() => {
  "use strict";
  // The server is heard at least every 15 s. A connection that broke gets less patience.
  const SILENCE = 35000, BROKEN = 10000, AGAIN = 5000;
  const at = (id) => document.getElementById(id);
  let revision = document.documentElement.dataset.revision;
  let heard = Date.now(), trustedUntil = heard + SILENCE, lost = false, source;

  function place(id, html) {
    const old = at(id);
    if (!old) { setTimeout(() => location.reload(), 30000); return; }
    const open = [...old.querySelectorAll("details[open]")].map((each) => each.id);
    const focused = old.contains(document.activeElement) && document.activeElement.closest("details");
    const made = document.createElement("template");
    made.innerHTML = html;
    old.replaceWith(made.content);
    for (const each of open) if (at(each)) at(each).open = true;
    if (focused && at(focused.id)) at(focused.id).querySelector("summary").focus();
  }

  function hear(message) {
    const { title, icon, fragments } = JSON.parse(message.data);
    document.title = title;
    at("icon").href = icon;
    for (const id in fragments) place(id, fragments[id]);
    revision = message.lastEventId;
    heard = Date.now();
    trustedUntil = heard + SILENCE;
    lost = false;
    document.documentElement.classList.remove("lost");
    tell();
  }

  // What was green may have failed since: nobody knows.
  function lose() {
    lost = true;
    revision = "";
    document.documentElement.classList.add("lost");
    document.title = "Unknown · Mainstay status";
    for (const mark of document.querySelectorAll(".overall, main .state .badge, .node")) {
      mark.setAttribute("class", mark.getAttribute("class").split(" ")[0] + " unknown");
      for (const use of mark.querySelectorAll("use")) use.setAttribute("href", "#unknown");
    }
    for (const word of document.querySelectorAll("main .state .badge b")) word.textContent = "Unknown";
    for (const line of document.querySelectorAll("line.failing")) line.classList.remove("failing");
    document.querySelector(".headline").textContent = "State unknown";
    at("lost").textContent = "Live updates have stopped. What is known is of "
      + at("as-of").querySelector("time").textContent + "; how things are now is unknown.";
  }

  function tell() {
    const seconds = Math.round((Date.now() - heard) / 1000);
    at("age").textContent = seconds < 3 ? " · live" : ` · ${seconds} s ago`;
    at("lost").hidden = !lost;
  }

  function connect() {
    if (source) source.close();
    source = new EventSource("events?since=" + encodeURIComponent(revision));
    source.addEventListener("page", hear);
    source.onerror = () => {
      trustedUntil = Math.min(trustedUntil, Date.now() + BROKEN);
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, AGAIN * (1 + Math.random()));
    };
  }

  setInterval(() => {
    if (Date.now() > trustedUntil) {
      if (!lost) lose();
      trustedUntil = Date.now() + SILENCE;
      connect();
    }
    tell();
  }, 1000);
  connect();
})();
