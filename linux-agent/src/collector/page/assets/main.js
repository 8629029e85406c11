// Which view the address asks for, what keeps it fresh, and what stands above all views.

import { AddView } from "./add.js";
import { AlarmsView } from "./alarms.js";
import { ask } from "./api.js";
import { el, setText } from "./dom.js";
import { HostView } from "./host.js";
import { HostsView } from "./hosts.js";
import { Live } from "./live.js";
import { LoginView, enter, told as session, whoAmI } from "./session.js";
import { alarmInWords, isOfItsOwn } from "./why.js";
import { clock, count, duration, stateInWords, zone } from "./words.js";

/// After a stream that did not begin, the next one is tried after this time.
const LIVE_AGAIN_MS = 60_000;
const POLL_MS = 2000;
const SLOWEST_POLL_MS = 15_000;

const main = document.getElementById("main");
const summary = document.getElementById("summary");
const away = document.getElementById("away");
const said = document.getElementById("said");
const alarmsLink = document.getElementById("alarms");
const clockLine = document.getElementById("clock");

let view;
/// What the collector told last, and when by this machine's clock.
let told;
let toldAt;
let failure;
let timer;
let failures = 0;
let states;
/// The stream of what changes, and when it may be tried (again).
let live;
let liveFrom = 0;
/// The active alarms as they were told last, and which ones that were.
let active = [];
let alarmed;
/// Whether the collector has said who this is.
let isKnown = false;

/// The name of the view, its argument, and the parameters.
function route() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?");
  const [name = "", argument = ""] = path.split("/").slice(1);
  let id = argument;
  try {
    id = decodeURIComponent(argument);
  } catch {
    // Not an address of ours; no host has this id.
  }
  return { name, id, key: `${name}/${argument}`, parameters: new URLSearchParams(query) };
}

/// Shows what the address asks for, or the form to log in.
function show() {
  const { name, id, key, parameters } = route();
  if (name === "enter") {
    // By the link of the start. Its code does not stay in the address.
    history.replaceState(null, "", "#/");
    enter(id).then(askAgain);
    return;
  }
  if (!isKnown) return;
  if (session.me === undefined) {
    showLogin();
    return;
  }
  if (view && view.key === key) {
    view.follow(parameters);
  } else {
    view?.destroy();
    const change = (next, isStep = false) => {
      const query = next.toString();
      const address = `#/${key === "/" ? "" : key}${query ? `?${query}` : ""}`;
      if (isStep) location.hash = address;
      else {
        history.replaceState(null, "", address);
        show();
      }
    };
    const isNew = view !== undefined;
    const views = { host: () => new HostView(id, parameters, change), add: () => new AddView(), alarms: () => new AlarmsView() };
    view = (Object.hasOwn(views, name) ? views[name] : () => new HostsView(parameters, change))();
    view.key = key;
    main.replaceChildren(told ? view.element : el("p", { class: "empty" }, "Asking the collector…"));
    if (isNew) {
      scrollTo(0, 0);
      main.focus({ preventScroll: true });
    }
  }
  update();
}

function showLogin() {
  if (!(view instanceof LoginView)) {
    view?.destroy();
    view = new LoginView(askAgain);
    main.replaceChildren(view.element);
    view.focus();
  }
  view.update();
  setText(summary, "");
  alarmsLink.hidden = true;
  document.title = view.title;
}

/// Forgets who this is and what was seen, and asks.
function askAgain() {
  isKnown = false;
  told = undefined;
  active = [];
  states = undefined;
  poll();
}

function update() {
  updateAway();
  if (!told || !view || view instanceof LoginView) return;
  if (view.element.parentNode !== main) main.replaceChildren(view.element);
  view.update(told);
  document.title = view.title;
  updateSummary();
}

/// Says how many hosts report and how many alarms there are. It is green only if nothing at all is wrong.
function summarize() {
  const bad = told.hosts.filter((it) => it.state !== "reporting");
  const list = bad.slice(0, 3).map((it) => `${it.label} ${stateInWords(it, told.now)}`);
  const more = bad.length > 3 ? ` and ${bad.length - 3} more` : "";
  const all = count(told.hosts.length, "host");
  const { alarms } = told;
  const isAlarmed = alarms > 0;
  const well = told.hosts.length === 0 ? "No hosts yet" : isAlarmed ? `${all} reporting` : `${all}, all reporting`;
  const [first, ...others] = told.active.filter(isOfItsOwn);
  const which = first ? `: ${first.host} ${alarmInWords(first, told.now)}${others.length > 0 ? ` and ${others.length} more` : ""}` : "";
  const hosts = bad.length === 0 ? well : `${bad.length} of ${all} with a problem: ${list.join(", ")}${more}`;
  setText(summary, isAlarmed ? `${hosts}, ${count(alarms, "alarm")}${which}` : hosts);
  summary.classList.toggle("bad", bad.length > 0 || isAlarmed);
  summary.classList.toggle("good", bad.length === 0 && alarms === 0 && told.hosts.length > 0);
}

function updateSummary() {
  const { alarms } = told;
  summarize();
  alarmsLink.hidden = false;
  setText(alarmsLink, alarms > 0 ? count(alarms, "alarm") : "Alarms");
  alarmsLink.classList.toggle("bad", alarms > 0);
  // Read out only what changed, never a running time.
  const now = new Map(told.hosts.map((it) => [it.client_id, it]));
  const changed = states ? told.hosts.filter((it) => states.has(it.client_id) && states.get(it.client_id) !== it.state) : [];
  states = new Map([...now].map(([id, it]) => [id, it.state]));
  if (changed.length > 0) setText(said, changed.slice(0, 5).map((it) => `${it.label} is ${it.state}`).join(", "));
}

function updateAway() {
  const isAway = failure !== undefined;
  away.hidden = !isAway;
  document.body.classList.toggle("is-away", isAway && told !== undefined);
  if (!isAway) return;
  const age = told ? ` What you see is ${duration(Math.max(1, (performance.now() - toldAt) / 1000))} old, of ${clock(told.now)}.` : "";
  setText(away, `${failure}${age} It is asked again every few seconds.`);
  if (!told && !(view instanceof LoginView)) main.replaceChildren(el("p", { class: "empty" }, "Nothing to show yet."));
}

function updateClock() {
  setText(clockLine, `${clock(Date.now() / 1000)} ${zone}`);
  if (failure !== undefined) updateAway();
}

function listen() {
  let isBegun = false;
  alarmed = undefined;
  const ended = () => {
    live = undefined;
    if (!isBegun) liveFrom = performance.now() + LIVE_AGAIN_MS;
    poll();
  };
  const hear = (hosts) => {
    isBegun = true;
    told = { ...hosts, active };
    toldAt = performance.now();
    failure = undefined;
    failures = 0;
    update();
    if (hosts.alarmed !== alarmed) askActive(hosts.alarmed);
  };
  live = new Live(told, hear, ended);
}

/// Asks which alarms are active, since it is others now.
async function askActive(number) {
  alarmed = number;
  try {
    ({ active } = await ask("api/alarms", { limit: 1 }));
  } catch {
    // The next event tries again.
    alarmed = undefined;
  }
  if (!told) return;
  told.active = active;
  update();
}

function stopListening() {
  live?.close();
  live = undefined;
}

/// Asks who this is and for all hosts, then listens. Where that does not work, it asks again and again.
async function poll() {
  clearTimeout(timer);
  stopListening();
  const asked = performance.now();
  try {
    if (!isKnown) {
      await whoAmI();
      isKnown = true;
    }
    if (session.me !== undefined && !document.hidden && performance.now() >= liveFrom) {
      listen();
      if (view === undefined || view instanceof LoginView) show();
      return;
    }
    if (session.me !== undefined) {
      const [hosts, alarms] = await Promise.all([ask("api/hosts"), ask("api/alarms", { limit: 1 })]);
      active = alarms.active;
      told = { ...hosts, alarms: active.length, active };
    }
    toldAt = performance.now();
    failure = undefined;
    failures = 0;
  } catch (error) {
    failures += 1;
    liveFrom = 0;
    // Logged out elsewhere, or no user any more.
    if (error.status === 401 || error.status === 403) {
      isKnown = false;
      told = undefined;
    } else failure = error.message;
  }
  if (view === undefined || view instanceof LoginView || session.me === undefined) show();
  update();
  // The poll takes a tenth of the time at most, of this machine and of the collector. Nobody looks at a hidden tab.
  const pause = Math.max(POLL_MS * 2 ** failures, 10 * (performance.now() - asked));
  const isOut = isKnown && session.me === undefined;
  if (!document.hidden && !isOut) timer = setTimeout(poll, Math.min(pause, SLOWEST_POLL_MS));
}

addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    stopListening();
  } else poll();
});
setInterval(updateClock, 1000);
updateClock();
if (route().name === "enter") show();
else poll();
