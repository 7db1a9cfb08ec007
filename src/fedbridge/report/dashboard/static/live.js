// Keeps the page as the runs are: asks for the part that changes, and puts in what is new.
"use strict";

const PERIOD = 2000; // milliseconds between two looks
const live = document.getElementById("live");
const lost = document.getElementById("lost");
const filter = document.getElementById("filter");
let tag = "";
let asked = 0;

// Give the old element the attributes and children of the new one; what is alike stays, and with
// it focus, scrolling and what is folded out. Elements with an id are found again by it.
function renew(old, fresh) {
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !(old.tagName === "DETAILS" && name === "open"))
      old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  if (old.type === "checkbox") old.checked = fresh.hasAttribute("checked");
  renewChildren(old, fresh);
}

function renewChildren(old, fresh) {
  const named = new Map([...old.children].filter((e) => e.id).map((e) => [e.id, e]));
  let place = old.firstChild;
  for (const next of [...fresh.childNodes]) {
    let same = next.id ? named.get(next.id) : place;
    if (!same || same.nodeName !== next.nodeName || (!next.id && same.id)) same = null;
    if (!same) {
      old.insertBefore(next, place);
      continue;
    }
    if (same !== place) old.insertBefore(same, place);
    if (same.nodeType === Node.ELEMENT_NODE) renew(same, next);
    else if (same.nodeValue !== next.nodeValue) same.nodeValue = next.nodeValue;
    place = same.nextSibling;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

async function look() {
  const mine = ++asked;
  const address = new URL(location.href);
  address.searchParams.set("part", "1");
  let answer;
  try {
    answer = await fetch(address, { headers: { "If-None-Match": tag }, cache: "no-store" });
  } catch {
    lost.hidden = false;
    return;
  }
  const text = answer.status === 200 ? await answer.text() : "";
  if (mine !== asked) return; // something else has been asked for meanwhile
  lost.hidden = answer.ok || answer.status === 304;
  if (answer.status === 404) lost.textContent = "This run is not there any more.";
  if (answer.status !== 200) return;
  tag = answer.headers.get("ETag");
  const fresh = document.createElement("main");
  fresh.innerHTML = text;
  renewChildren(live, fresh);
}

function goTo(address) {
  history.replaceState(null, "", address);
  tag = "";
  return look();
}

if (filter) {
  const refine = () => {
    const said = new URLSearchParams(new FormData(filter));
    said.delete("chosen");
    for (const name of new URLSearchParams(location.search).getAll("chosen"))
      said.append("chosen", name);
    const now = new URLSearchParams(location.search);
    for (const key of ["sort", "rising"]) if (now.has(key)) said.set(key, now.get(key));
    goTo(`/?${said}`);
  };
  filter.addEventListener("input", refine);
  filter.addEventListener("submit", (event) => {
    event.preventDefault();
    refine();
  });
}

live.addEventListener("change", (event) => {
  if (event.target.name !== "chosen") return;
  const said = new URLSearchParams(location.search);
  const others = said.getAll("chosen").filter((name) => name !== event.target.value);
  said.delete("chosen");
  for (const name of others) said.append("chosen", name);
  if (event.target.checked) said.append("chosen", event.target.value);
  goTo(`${location.pathname}?${said}`);
});

live.addEventListener("click", (event) => {
  const link = event.target.closest("th a, .switch a");
  if (!link || link.pathname !== location.pathname || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  goTo(link.href);
});

setInterval(() => document.hidden || look(), PERIOD);
document.addEventListener("visibilitychange", () => document.hidden || look());
