// What is wrong, since when, who heard of it; silences; and what is over.

import { ask, send } from "./api.js";
import { el, save, setChildren, setText } from "./dom.js";
import { hostLink } from "./hosts.js";
import { isAdmin } from "./session.js";
import { csv } from "./table.js";
import { count, duration, fullInstant, instant, zone } from "./words.js";

const ASK_AGAIN_MS = 2000;

/// Lengths of a silence: seconds, and what the choice says.
const LENGTHS = [[3600, "1 hour"], [7200, "2 hours"], [28_800, "8 hours"], [86_400, "1 day"], [604_800, "1 week"]];

const HEADS = ["Host", "Alarm", "State", "Since", "For", "Value", "What", "Told"];

export class AlarmsView {
  constructor() {
    this.title = "Alarms – mote";
    this.failure = el("p", { class: "error", role: "alert", hidden: true });
    this.places = Object.fromEntries(["active", "silences", "pending", "history"].map((name) => [name, el("div", {})]));
    this.told = {};
    /// Of alarms that are over: those that were read on for, and where still earlier ones begin.
    this.earlier = [];
    this.hasReadOn = false;
    this.form = this.makeForm();
    const part = (heading, ...content) => [el("h2", {}, heading), ...content];
    this.notify = el("p", { class: "note" });
    this.element = el(
      "div",
      { class: "alarms" },
      el("h1", {}, "Alarms"),
      this.failure,
      this.places.active,
      this.notify,
      el("button", { type: "button", class: "quiet", click: () => this.save() }, "CSV"),
      ...part("Silences", this.places.silences, this.form),
      ...part("Bad, but not for long enough", this.places.pending),
      ...part("Over", this.places.history),
    );
  }

  follow() {}

  destroy() {
    this.asking?.abort();
  }

  update({ now, hosts, alarmed }) {
    this.now = now;
    this.updateHosts(hosts);
    const isOther = alarmed !== this.alarmed;
    this.alarmed = alarmed;
    if (isOther || !(performance.now() - this.asked < ASK_AGAIN_MS)) this.ask();
  }

  async ask() {
    this.asked = performance.now();
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      this.show(await ask("api/alarms", {}, this.asking.signal));
      this.say();
    } catch (error) {
      if (error.name !== "AbortError") this.say(error.message);
    }
  }

  say(sentence = "") {
    this.failure.hidden = sentence === "";
    setText(this.failure, sentence);
  }

  show(answer) {
    this.form.hidden = !isAdmin();
    const nobody = "Nobody is told of them: the collector's settings have no table such as [notify.ops].";
    setText(this.notify, answer.notify.length === 0 ? nobody : `Told to: ${answer.notify.join(", ")}. Times are in ${zone}.`);
    this.fill("active", answer.active, (list) => [list.length === 0 ? el("p", { class: "empty" }, "Nothing is wrong.") : this.table("Active alarms", list, answer.now)]);
    this.fill("silences", answer.silences, (list) => [list.length === 0 ? el("p", { class: "note" }, "There is none.") : this.silences(list)]);
    this.fill("pending", answer.pending, (list) => [list.length === 0 ? el("p", { class: "note" }, "There is none.") : this.table("Pending alarms", list, answer.now)]);
    const isNew = new Set(answer.history.map((it) => it.id));
    const over = [...answer.history, ...this.earlier.filter((it) => !isNew.has(it.id))];
    if (this.hasReadOn) this.earlier = over;
    else this.next = answer.next;
    this.fill("history", { over, next: this.next }, ({ over, next }) => [
      over.length === 0 ? el("p", { class: "note" }, "There is none.") : this.table("Alarms that are over", over, answer.now),
      next !== undefined && el("button", { type: "button", class: "quiet", click: () => this.readOn() }, "Show earlier ones"),
    ]);
    this.all = [...answer.active, ...over];
    for (const time of this.element.querySelectorAll("[data-since]")) setText(time, duration(answer.now - Number(time.dataset.since)));
  }

  readOn() {
    return this.change(async () => {
      const { history, next } = await ask("api/alarms", { before: this.next });
      Object.assign(this, { earlier: [...this.earlier, ...history], next, hasReadOn: true });
    });
  }

  /// Those that are active and those that are over, as they are shown.
  save() {
    const time = (seconds) => (seconds === undefined ? "" : new Date(seconds * 1000).toISOString());
    const rows = (this.all ?? []).map((it) => [it.host, it.name, it.item, it.state, it.severity, time(it.since), time(it.ended), it.value, it.limit, it.text]);
    save("alarms.csv", "text/csv", csv(["host", "alarm", "item", "state", "severity", "since", "ended", "value", "limit", "text"], rows));
  }

  /// Only what changed, so that a selection and the focus stay.
  fill(name, list, content) {
    const key = JSON.stringify([list, isAdmin()]);
    if (this.told[name] === key) return;
    this.told[name] = key;
    setChildren(this.places[name], content(list).filter(Boolean));
  }

  table(label, alarms, now) {
    const heads = HEADS.map((name) => el("th", { scope: "col" }, name));
    const rows = alarms.map((it) => {
      const host = it.client_id === undefined ? it.host : el("a", { href: hostLink(it.client_id) }, it.host);
      const cells = [
        [el("span", { class: `badge ${badge(it)}` }, it.state === "firing" ? it.severity : it.state), it.silence && el("p", { class: "note" }, `silenced until ${instant(it.silence.until, now)}: ${it.silence.reason}`)],
        [el("time", { title: fullInstant(it.since) }, instant(it.since, now))],
        [it.ended === undefined ? el("span", { "data-since": it.since }) : duration(it.ended - it.since)],
        [value(it)],
        [it.text, this.silenceButton(it)],
        [...told(it, now)],
      ];
      return el("tr", {}, el("th", { scope: "row" }, host), [[it.item ? `${it.name} ${it.item}` : it.name], ...cells].map((content, index) => el("td", { "data-name": HEADS[index + 1] }, content)));
    });
    return scrolling(label, el("table", { class: "cards" }, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows)));
  }

  silenceButton(it) {
    if (!isAdmin() || it.client_id === undefined || it.ended !== undefined || it.silence) return undefined;
    const begin = () => {
      this.host.value = String(it.client_id);
      this.alarm.value = it.name;
      this.form.scrollIntoView({ block: "nearest" });
      this.reason.focus();
    };
    return el("p", {}, el("button", { type: "button", click: begin }, "Silence…"));
  }

  silences(list) {
    const items = list.map((it) => {
      const end = isAdmin() && el("button", { type: "button", click: () => this.end(it.id) }, "End");
      return el("li", {}, `${it.alarm ?? "All alarms"} of ${it.host}, until ${fullInstant(it.until)}: ${it.reason} (${it.by}) `, end);
    });
    return el("ul", { class: "silences" }, items);
  }

  makeForm() {
    const field = (id, label, control) => el("label", { for: id }, label, " ", control);
    this.host = el("select", { id: "silence-host", required: true });
    this.alarm = el("input", { id: "silence-alarm", placeholder: "all", maxlength: "255" });
    this.length = el("select", { id: "silence-for" }, LENGTHS.map(([seconds, text]) => el("option", { value: String(seconds) }, text)));
    this.reason = el("input", { id: "silence-why", required: true, maxlength: "200" });
    return el(
      "form",
      { class: "tools", "aria-label": "Silence a host", submit: (event) => this.silence(event) },
      field("silence-host", "Host", this.host),
      field("silence-alarm", "Alarm", this.alarm),
      field("silence-for", "For", this.length),
      field("silence-why", "Why", this.reason),
      el("button", { type: "submit" }, "Silence"),
    );
  }

  updateHosts(hosts) {
    const key = JSON.stringify(hosts.map((it) => [it.client_id, it.label]));
    if (key === this.hostsKey) return;
    this.hostsKey = key;
    const before = this.host.value;
    this.host.replaceChildren(...hosts.map((it) => el("option", { value: String(it.client_id) }, it.label)));
    if (hosts.some((it) => String(it.client_id) === before)) this.host.value = before;
  }

  async silence(event) {
    event.preventDefault();
    const wish = { client_id: this.host.value, for_s: Number(this.length.value), reason: this.reason.value };
    if (this.alarm.value !== "") wish.alarm = this.alarm.value;
    await this.change(() => send("api/silences", wish));
    if (this.failure.hidden) this.reason.value = "";
  }

  end(id) {
    return this.change(() => send(`api/silences/${id}`, undefined, "DELETE"));
  }

  async change(work) {
    try {
      await work();
      await this.ask();
    } catch (error) {
      this.say(error.message);
    }
  }
}

const scrolling = (label, content) => el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": label }, content);

const badge = (it) => ({ critical: "silent", warning: "late" })[it.state === "cleared" ? "" : it.severity] ?? "";

function value(it) {
  if (it.value === undefined) return "–";
  const write = (number) => number.toLocaleString("en-GB", { maximumFractionDigits: 2 });
  return it.limit === undefined ? write(it.value) : `${write(it.value)} against ${write(it.limit)}`;
}

/// Who was told, and whether it arrived: the last message to each.
function told(it, now) {
  const last = new Map();
  for (const sent of it.sent) if (!last.has(sent.to)) last.set(sent.to, sent);
  if (last.size === 0) return [it.cause ? `not by itself: ${it.cause}` : "nobody"];
  return [...last.values()].map((sent) => {
    const state = sent.state === "arrived" ? `arrived ${instant(sent.arrived, now)}` : `${sent.state} after ${count(sent.tries, "try", "tries")}${sent.error ? `: ${sent.error}` : ""}`;
    return el("p", { class: sent.state === "arrived" ? "" : "error" }, `${sent.to}: ${sent.kind}, ${state}`);
  });
}
