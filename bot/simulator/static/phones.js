// The phones: asks once a second what is new, shows it, sends what is typed. Every text goes in by textContent, none as markup.
"use strict";

const POLL_MS = 1000;
const MOST_BUBBLES = 300; // on one phone; older ones leave the page
const phones = new Map(); // number -> {card, screen, bubbles: sid -> element, unread, lastLine, lastDay}
let revision = 0;
let epoch = null;
let polling = false;

const SILENT = say("The simulator does not answer");

const find = (selector, within = document) => within.querySelector(selector);

function make(tag, classes, text) {
  const element = document.createElement(tag);
  if (classes) element.className = classes;
  if (text !== undefined) element.textContent = text;
  return element;
}

async function ask(method, path, told) {
  const request = { method, headers: { "Accept-Language": language } };
  if (told !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(told);
  }
  let response, answer;
  try {
    response = await fetch(path, request);
    answer = await response.json();
  } catch {
    throw new Error(SILENT); // the browser's own words for it are in its language, not in the page's
  }
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

// --- what a phone shows ---

// Where and how far ahead of this computer Chorus lives; sheets.js learns it.
const clock = { zone: undefined, ahead: 0 };
const timeOf = (at) => new Date(at).toLocaleTimeString(locale, { ...hours, timeZone: clock.zone });
const dayOf = (at) => {
  const name = (moment) => new Date(moment).toLocaleDateString(locale, { weekday: "short", day: "numeric", month: "short", timeZone: clock.zone });
  return name(at) === name(Date.now() + clock.ahead * 1000) ? say("Today") : name(at);
};
// What was typed here, and what came from Chorus: marks, and the words for them.
const TYPED = { receiving: ["✓", say("Sent")], received: ["✓✓", say("Chorus has it")], failed: ["!", say("The webhook failed")] };
const WAITS = ["…", say("Waits at Twilio")];
const SENT = {
  accepted: WAITS, queued: WAITS, sending: WAITS, sent: ["✓", say("Sent on to the carrier")],
  delivered: ["✓✓", say("Delivered")], read: ["✓✓", say("Read")],
};
const LOST = { failed: say("Not sent"), undelivered: say("Not delivered") };

function fillMeta(meta, message) {
  const parts = [make("span", "hour-of", timeOf(message.at))];
  const typed = message.direction === "sent";
  if (!typed && LOST[message.status]) {
    const why = [message.why, message.error_code && `(${message.error_code})`].filter(Boolean).join(" ");
    parts.unshift(make("span", "why", LOST[message.status] + (why ? `: ${why}` : "")));
  } else if (message.kind !== "carrier") {
    const [marks, words] = (typed ? TYPED : SENT)[message.status] || ["✓", message.status];
    const ticks = make("span", marks.length > 1 ? "ticks double" : "ticks", marks);
    ticks.classList.toggle("read", message.status === "read" || (typed && marks.length > 1));
    ticks.title = words;
    ticks.setAttribute("role", "img");
    ticks.setAttribute("aria-label", words);
    parts.push(ticks);
  }
  meta.replaceChildren(...parts);
}

function makeBubble(phone, message) {
  if (message.kind === "note") return make("p", "note", message.body);
  const bubble = make("div", message.direction === "sent" ? "bubble mine" : "bubble");
  if (message.kind === "carrier") bubble.append(make("span", "tag", say("Carrier")));
  for (const url of message.media) bubble.append(make("span", "medium", url));
  if (message.body || !message.media.length) bubble.append(make("span", "words", message.body || say("(empty)")));
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
  for (const message of messages) {
    if (message.order) {
      phone.coming.delete(message.sid);
      if (showMessage(phone, message, first)) arrived += 1;
    } else phone.coming.set(message.sid, message.status);
  }
  if (!messages.length) return;
  sayComing(phone);
  if (first || atEnd) screen.scrollTop = screen.scrollHeight;
  else if (arrived) phone.newer.hidden = false;
  if (arrived && !first && !phone.card.contains(document.activeElement)) markUnread(phone, phone.unread + arrived);
}

// Texts that have not arrived yet: the strip above the composer.
function sayComing(phone) {
  const strip = find(".coming", phone.card);
  const sent = [...phone.coming.values()].filter((status) => status === "sent").length;
  const waiting = phone.coming.size - sent;
  const words = [
    waiting && `… ${sayCount("1 text waiting at Twilio", "{n} texts waiting at Twilio", waiting)}`,
    sent && `✓ ${sayCount("1 text sent, not confirmed", "{n} texts sent, not confirmed", sent)}`,
  ].filter(Boolean);
  strip.hidden = !words.length;
  strip.textContent = words.join(" · ");
}

function showCodes(codes, left) {
  for (const [number, code] of Object.entries(codes)) {
    const card = phones.get(number)?.card;
    const shown = card && find(".app-code", card);
    if (!shown) continue;
    const digits = `${code.slice(0, 3)} ${code.slice(3)}`;
    if (shown.textContent !== digits) shown.textContent = digits;
    find(".app-left", card).textContent = say("{seconds} s", { seconds: left });
  }
}

function markUnread(phone, count) {
  phone.unread = count;
  for (const badge of phone.badges) {
    badge.hidden = !count;
    badge.textContent = count > 99 ? "99+" : String(count || "");
    badge.setAttribute("aria-label", sayCount("1 unread", "{n} unread", count));
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
    showCodes(news.codes, news.codes_left);
    setLive("on", say("Live"));
  } catch {
    setLive("off", SILENT);
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
    bubbles: new Map(), coming: new Map(), unread: 0, lastLine: null, lastDay: null, badges: [find(".badge", card)],
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
  find(".put", card)?.addEventListener("click", () => {
    const code = find(".app-code", card).textContent.replace(/\D/g, "");
    text.value = [text.value.trimEnd(), code].filter(Boolean).join(" ");
    text.focus();
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

document.querySelectorAll(".phone").forEach(wire);
document.addEventListener("visibilitychange", poll);
