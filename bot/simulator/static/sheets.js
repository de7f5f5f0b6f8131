// The sheets over the phones: faults, time, saving, a new phone. Begins after phones.js, whose find, make, ask, setLive and SILENT it uses.
"use strict";

const CLOCK_MS = 15000;
const FAULTS_MS = 5000;
const PATIENCE_MS = 1500; // for the clock, before messages are shown without it
const dialogs = { add: find("#add"), faults: find("#faults"), clock: find("#clock"), save: find("#save") };

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

// --- faults ---

function showSwitches({ on }) {
  for (const row of document.querySelectorAll(".switch")) {
    const words = on[row.dataset.name] || "";
    const state = find(".switch-state", row);
    if (state.textContent !== words) state.textContent = words;
    find(".toggle", row).setAttribute("aria-checked", String(Boolean(words)));
  }
  const count = Object.keys(on).length;
  find("#fault-count").hidden = !count;
  find("#fault-count").textContent = String(count);
}

async function throwSwitch(row) {
  const toggle = find(".toggle", row);
  const told = { name: row.dataset.name, on: toggle.getAttribute("aria-checked") !== "true", often: find("#often").value, to: find("#whose").value };
  const amount = find("input", row);
  if (amount && amount.value) told.seconds = Number(amount.value);
  showSwitches(await ask("POST", "/_sim/switches", told));
}

function wireFaults() {
  const refresh = async () => showSwitches(await ask("GET", "/_sim/switches"));
  find("#open-faults").addEventListener("click", () => { dialogs.faults.showModal(); trying(dialogs.faults, refresh); });
  for (const row of document.querySelectorAll(".switch"))
    find(".toggle", row).addEventListener("click", () => trying(dialogs.faults, () => throwSwitch(row)));
  find("#clear-faults").addEventListener("click", () => trying(dialogs.faults, async () => showSwitches(await ask("DELETE", "/_sim/switches"))));
  const look = () => { if (!document.hidden) refresh().catch(() => setLive("off", SILENT)); };
  setInterval(look, FAULTS_MS);
  look();
}

// --- time ---

const sayMoment = (at, zone) => new Date(at).toLocaleString(locale, {
  weekday: "short", day: "numeric", month: "short", ...hours, timeZone: zone,
});

function saySpan(seconds) {
  const parts = [["day", 86400], ["hour", 3600], ["minute", 60]].map(([unit, size]) => {
    const number = Math.floor(seconds / size);
    seconds -= number * size;
    return number && number.toLocaleString(locale, { style: "unit", unit, unitDisplay: "long" });
  }).filter(Boolean);
  return parts.slice(0, 2).join(" ") || say("less than a minute");
}

function showClock(told) {
  clock.zone = told.zone;
  clock.ahead = (new Date(told.now) - Date.now()) / 1000;
  const now = sayMoment(told.now, told.zone);
  const said = { now, zone: told.zone, span: saySpan(told.ahead) };
  const isAhead = told.ahead >= 60;
  find("#hour").hidden = false;
  find("#hour").textContent = isAhead ? say("{now}, {span} ahead", said) : now;
  find("#hour").title = say("Chorus’ time in {zone}", said);
  find("#clock-now").textContent = isAhead ? say("It is {now} in {zone}, {span} ahead.", said) : say("It is {now} in {zone}.", said);
  find("#clock-next").textContent = told.next
    ? say("Next: {what}, {moment}, in {span}.", {
      what: told.next.what, moment: sayMoment(told.next.at, told.zone), span: saySpan((new Date(told.next.at) - new Date(told.now)) / 1000),
    })
    : say("Nothing is due.");
  find('[data-jump="next"]').disabled = !told.next;
}

async function askClock() {
  const told = await ask("GET", "/_sim/clock").catch((error) => ({ why: error.message }));
  if (!told.why) return showClock(told);
  find("#hour").hidden = true;
  find("#clock-now").textContent = told.why;
  find("#clock-next").textContent = "";
}

function wireClock() {
  find("#open-clock").addEventListener("click", () => { dialogs.clock.showModal(); askClock(); });
  for (const button of document.querySelectorAll("[data-jump]"))
    button.addEventListener("click", () => trying(dialogs.clock, async () => {
      showClock(await ask("POST", "/_sim/clock", { jump: button.dataset.jump }));
      poll();
    }));
  setInterval(() => { if (!document.hidden) askClock(); }, CLOCK_MS);
  return askClock();
}

// --- saving, and a new phone ---

function wireOthers() {
  for (const close of document.querySelectorAll("[data-close]")) close.addEventListener("click", () => close.closest("dialog").close());
  find("#open-save").addEventListener("click", () => dialogs.save.showModal());
  find("form", dialogs.save).addEventListener("submit", () => dialogs.save.close());
  find("#open-add").addEventListener("click", () => dialogs.add.showModal());
  find("#add-form").addEventListener("submit", (event) => {
    event.preventDefault();
    trying(dialogs.add, async () => {
      await ask("POST", "/_sim/phones", Object.fromEntries(new FormData(event.target)));
      location.reload();
    });
  });
}

wireFaults();
wireOthers();
Promise.race([wireClock(), new Promise((done) => { setTimeout(done, PATIENCE_MS); })]).then(() => {
  poll();
  setInterval(poll, POLL_MS);
});
