// The phones: asks once a second what is new, shows it, sends what is typed. Every text goes in by textContent, none as markup.
"use strict";

const POLL_MS = 1000;
const MOST_BUBBLES = 300; // on one phone; older ones leave the page
const phones = new Map(); // number -> {card, screen, bubbles: sid -> element, unread, lastLine, lastDay}
let revision = 0;
let epoch = null;
let polling = false;

const find = (selector, within = document) => within.querySelector(selector);

function make(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function ask(method, path, told) {
  const request = { method, headers: {} };
  if (told !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(told);
  }
  const response = await fetch(path, request);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

// --- what a phone shows ---

const timeOf = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const dayOf = (at) => {
  const day = new Date(at);
  const today = day.toDateString() === new Date().toDateString();
  return today ? "Today" : day.toLocaleDateString([], { weekday: "short", day: "numeric", month: "short" });
};
const TICKS = { receiving: ["✓", "Sent"], received: ["✓✓", "Answered"], failed: ["!", "The webhook failed"] };

function fillMeta(meta, message) {
  const parts = [make("span", "", timeOf(message.at))];
  if (message.direction === "sent") {
    const [marks, words] = TICKS[message.status] || ["✓", message.status];
    const ticks = make("span", marks === "✓✓" ? "ticks read" : "ticks", marks);
    ticks.title = words;
    ticks.setAttribute("role", "img");
    ticks.setAttribute("aria-label", words);
    parts.push(ticks);
  } else if (message.status === "failed" || message.status === "undelivered") {
    parts.unshift(make("span", "why", `Not delivered · ${message.error_code ?? ""}`));
  }
  meta.replaceChildren(...parts);
}

function makeBubble(phone, message) {
  if (message.kind === "note") return make("p", "note", message.body);
  const bubble = make("div", message.direction === "sent" ? "bubble mine" : "bubble");
  if (message.kind === "carrier") bubble.append(make("span", "tag", "Carrier"));
  for (const url of message.media) bubble.append(make("span", "medium", url));
  if (message.body || !message.media.length) bubble.append(make("span", "words", message.body || "(empty)"));
  bubble.append(make("div", "meta"));
  if (!message.buttons.length) return bubble;
  const group = make("div", "taps");
  for (const button of message.buttons) {
    const tap = make("button", "tap", button.title);
    tap.type = "button";
    tap.addEventListener("click", () =>
      send(phone, { to: message.line, body: button.title, button: { text: button.title, payload: button.payload }, in_reply_to: message.sid }));
    group.append(tap);
  }
  const both = document.createDocumentFragment();
  both.append(bubble, group);
  return both;
}

function lineTitle(phone, line) {
  for (const option of phone.lines.options) if (option.value === line) return option.dataset.label || line;
  return line;
}

function showMessage(phone, message, first) {
  const known = phone.bubbles.get(message.sid);
  if (known) {
    if (find(".meta", known)) fillMeta(find(".meta", known), message);
    known.classList.toggle("lost", ["failed", "undelivered"].includes(message.status));
    return false;
  }
  find(".hint", phone.screen)?.remove();
  const day = dayOf(message.at);
  if (day !== phone.lastDay || message.line !== phone.lastLine) {
    const words = day === phone.lastDay ? lineTitle(phone, message.line) : `${day} · ${lineTitle(phone, message.line)}`;
    phone.screen.append(make("p", "divider", words));
    phone.lastDay = day;
    phone.lastLine = message.line;
  }
  const made = makeBubble(phone, message);
  const bubble = made.firstElementChild && made.nodeType === Node.DOCUMENT_FRAGMENT_NODE ? made.firstElementChild : made;
  if (find(".meta", bubble)) fillMeta(find(".meta", bubble), message);
  bubble.classList.toggle("lost", message.kind !== "note" && ["failed", "undelivered"].includes(message.status));
  if (!first) bubble.classList.add("fresh");
  phone.bubbles.set(message.sid, bubble);
  while (phone.bubbles.size > MOST_BUBBLES) dropOldest(phone);
  phone.screen.append(made);
  return message.direction === "received";
}

function dropOldest(phone) {
  const [sid, bubble] = phone.bubbles.entries().next().value;
  phone.bubbles.delete(sid);
  while (phone.screen.firstElementChild !== bubble) phone.screen.firstElementChild.remove();
  bubble.remove();
}

function showNews(phone, messages, first) {
  const screen = phone.screen;
  const atEnd = screen.scrollHeight - screen.scrollTop - screen.clientHeight < 60;
  let arrived = 0;
  for (const message of messages) if (showMessage(phone, message, first)) arrived += 1;
  if (!messages.length) return;
  if (first || atEnd) screen.scrollTop = screen.scrollHeight;
  else if (arrived) phone.newer.hidden = false;
  if (arrived && !first && !phone.card.contains(document.activeElement)) markUnread(phone, phone.unread + arrived);
}

function markUnread(phone, count) {
  phone.unread = count;
  for (const badge of phone.badges) {
    badge.hidden = !count;
    badge.textContent = count > 99 ? "99+" : String(count || "");
    badge.setAttribute("aria-label", `${count} unread`);
  }
}

// --- asking what is new ---

async function poll() {
  if (polling || document.hidden) return;
  polling = true;
  try {
    const first = epoch === null;
    const news = await ask("GET", `/_sim/phones?since=${revision}`);
    if (!first && news.epoch !== epoch) return location.reload();
    if (news.shown.join() !== [...phones.keys()].join()) return location.reload();
    epoch = news.epoch;
    revision = news.revision;
    for (const { number, messages } of news.phones) showNews(phones.get(number), messages, first);
    setLive("on", "Live");
  } catch {
    setLive("off", "The simulator does not answer");
  } finally {
    polling = false;
  }
}

function setLive(state, words) {
  const live = find("#live");
  if (live.classList.contains(state)) return;
  live.className = `live ${state}`;
  find("#live-words").textContent = words;
}

// --- typing ---

async function send(phone, told) {
  phone.card.classList.add("waiting");
  phone.screen.scrollTop = phone.screen.scrollHeight;
  const sent = ask("POST", "/_sim/text", { from: phone.number, ...told });
  setTimeout(poll, 60); // her own bubble at once, not with the answer
  try {
    await sent;
  } catch (error) {
    phone.screen.append(make("p", "note", error.message));
  } finally {
    phone.card.classList.remove("waiting");
    await poll();
    phone.screen.scrollTop = phone.screen.scrollHeight;
  }
}

function wire(card) {
  const phone = {
    card, number: card.dataset.number, screen: find(".screen", card), lines: find(".line", card), newer: find(".newer", card),
    bubbles: new Map(), unread: 0, lastLine: null, lastDay: null, badges: [find(".badge", card)],
  };
  for (const chip of document.querySelectorAll(".chip")) if (chip.dataset.number === phone.number) phone.badges.push(find(".badge", chip));
  phones.set(phone.number, phone);
  const text = find("textarea", card);
  const form = find(".composer", card);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = text.value;
    if (!body.trim()) return;
    text.value = "";
    text.focus();
    send(phone, { to: phone.lines.value, body });
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  card.addEventListener("focusin", () => markUnread(phone, 0));
  card.addEventListener("click", () => markUnread(phone, 0));
  phone.screen.addEventListener("scroll", () => {
    if (phone.screen.scrollHeight - phone.screen.scrollTop - phone.screen.clientHeight < 60) phone.newer.hidden = true;
  });
  phone.newer.addEventListener("click", () => { phone.screen.scrollTop = phone.screen.scrollHeight; });
  phone.lines.addEventListener("change", () => {
    const channel = phone.lines.selectedOptions[0].dataset.channel;
    card.classList.remove("sms", "whatsapp");
    card.classList.add(channel);
    ask("POST", "/_sim/phones", { number: phone.number, name: card.dataset.name, role: card.dataset.role, channel, line: phone.lines.value });
  });
}

// --- the two sheets ---

function showProblem(within, words) {
  const problem = find(".problem", within);
  problem.textContent = words;
  problem.hidden = !words;
}

async function trying(within, act) {
  showProblem(within, "");
  try {
    await act();
  } catch (error) {
    showProblem(within, error.message);
  }
}

const FAULT_WORDS = {
  throttle_429: "refuses: too many requests", reject_500: "refuses with an error", accept_500: "accepts, answers with an error",
  accept_reset: "accepts, cuts the connection", accept_hang: "accepts, then hangs", late: "reports late", out_of_order: "reports out of order",
  duplicate: "reports twice", drop: "reports nothing", before_answer: "reports before it answers",
};

function describeOften(trigger) {
  if (trigger.count !== undefined) return trigger.count ? `, ${trigger.count} more` : null;
  return trigger.share < 1 ? `, ${Math.round(trigger.share * 100)} % of the time` : ", every time";
}

function showFaults(faults) {
  const words = [];
  if (faults.latency_ms) words.push(`takes ${faults.latency_ms} ms to answer`);
  const switches = { ...faults, ...faults.receipts };
  for (const [name, text] of Object.entries(FAULT_WORDS)) {
    const often = switches[name] && describeOften(switches[name]);
    if (often) words.push(text + often);
  }
  for (const [to, trigger] of Object.entries({ ...faults.receipts.final, ...faults.refuse })) {
    const often = describeOften(trigger);
    if (often) words.push(`error ${trigger.code} for ${to === "*" ? "everybody" : to}${often}`);
  }
  find("#fault-list").replaceChildren(...(words.length ? words : ["Nothing: everything works."]).map((text) => make("li", words.length ? "on" : "", text)));
  find("#fault-count").hidden = !words.length;
  find("#fault-count").textContent = String(words.length);
  if (document.activeElement !== find("#latency")) find("#latency").value = faults.latency_ms;
}

function switchFault(name, often) {
  const trigger = often === "always" ? {} : often === "share" ? { share: 0.1 } : { count: Number(often) };
  if (name === "accept_hang") trigger.hang_s = 20;
  if (name === "receipts.late") trigger.ms = 5000;
  if (name.startsWith("final.")) return { receipts: { final: { "*": { code: Number(name.slice(6)), ...trigger } } } };
  if (name.startsWith("receipts.")) return { receipts: { [name.slice(9)]: trigger } };
  return { [name]: trigger };
}

function wireSheets() {
  const add = find("#add");
  const faults = find("#faults");
  for (const close of document.querySelectorAll("[data-close]")) close.addEventListener("click", () => close.closest("dialog").close());
  find("#open-add").addEventListener("click", () => add.showModal());
  find("#add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    trying(add, async () => {
      const told = Object.fromEntries(new FormData(event.target));
      await ask("POST", "/_sim/phones", told);
      location.reload();
    });
  });
  const refresh = async () => showFaults(await ask("GET", "/_sim/faults"));
  find("#open-faults").addEventListener("click", () => { faults.showModal(); trying(faults, refresh); });
  find("#latency-form").addEventListener("submit", (event) => {
    event.preventDefault();
    trying(faults, async () => showFaults(await ask("POST", "/_sim/faults", { latency_ms: Number(find("#latency").value) })));
  });
  find("#fault-form").addEventListener("submit", (event) => {
    event.preventDefault();
    trying(faults, async () => showFaults(await ask("POST", "/_sim/faults", switchFault(find("#fault").value, find("#often").value))));
  });
  find("#clear-faults").addEventListener("click", () => trying(faults, async () => showFaults(await ask("DELETE", "/_sim/faults"))));
  setInterval(() => { if (!document.hidden) refresh().catch(() => setLive("off", "The simulator does not answer")); }, 5 * POLL_MS);
  refresh().catch(() => setLive("off", "The simulator does not answer"));
}

document.querySelectorAll(".phone").forEach(wire);
wireSheets();
poll();
setInterval(poll, POLL_MS);
document.addEventListener("visibilitychange", poll);
