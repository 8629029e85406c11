// One host: its services in time, what it is ordered to monitor and by whom, and what became of its reports.

import { ADD_LINK } from "./add.js";
import { ask } from "./api.js";
import { choice, el, save, setAttribute, setChildren, setText } from "./dom.js";
import { startOf } from "./figures.js";
import { hostLink } from "./hosts.js";
import { Marks } from "./marks.js";
import { rankOf } from "./plugins.js";
import { Section } from "./section.js";
import { isAdmin } from "./session.js";
import { csv, fileName } from "./table.js";
import { whyOf } from "./why.js";
import { STATES, ago, count, duration, instant, interval, stateInWords, zone } from "./words.js";

// Ranges: name in the address, length in seconds, what the button says.
const RANGES = [
  ["10m", 600, "10 min"],
  ["1h", 3600, "1 h"],
  ["6h", 21_600, "6 h"],
  ["24h", 86_400, "24 h"],
  ["7d", 604_800, "7 d"],
  ["30d", 2_592_000, "30 d"],
  ["1y", 31_536_000, "1 y"],
];

/// What is seen at first of a host that reports for less than this, in seconds.
const YOUNG = [30, 60, 120, 300, 600];

/// Nothing shorter is looked at, in seconds.
const SHORTEST = 10;

/// The end of the year 9999, as the collector has it.
const LATEST = 253_402_300_799;

const ORDER_HEADS = ["Service", "Plugin", "Every", "Template", "Because of", "State", "Last report"];

const ACCOUNT_AGAIN_MS = 10_000;

export class HostView {
  constructor(id, parameters, change) {
    Object.assign(this, { id, change, sections: new Map() });
    this.name = el("h1", {});
    this.badge = el("span", { class: "badge" });
    this.why = el("p", { class: "error", hidden: true });
    this.about = el("p", { class: "about" });
    this.boards = el("p", { class: "about boards" });
    this.ranges = el("div", { class: "ranges" });
    this.span = el("p", { class: "span" });
    this.services = el("div", {});
    this.orders = el("tbody", {});
    this.fetched = el("p", { class: "about" });
    this.account = el("div", {});
    this.marks = new Marks(id, () => this.mark());
    const orAdd = isAdmin() ? [", or ", el("a", { href: ADD_LINK }, "add it")] : [];
    this.empty = el("p", { class: "empty", hidden: true }, "The collector's settings name no host with this id. Look for it among ", el("a", { href: "#/" }, "all hosts"), ...orAdd, ".");
    const head = (...names) => el("thead", {}, el("tr", {}, names.map((name) => el("th", { scope: "col" }, name))));
    const table = (label, headings, body) =>
      el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": label }, el("table", { class: "cards" }, headings, body));
    this.below = el(
      "div",
      { class: "below" },
      el("h2", {}, "What happened"),
      this.marks.element,
      el("h2", {}, "Orders"),
      this.fetched,
      table("Orders", head(...ORDER_HEADS), this.orders),
      el("button", { type: "button", class: "quiet", click: () => this.saveOrders() }, "CSV"),
      el("h2", {}, "Reports that came"),
      this.account,
    );
    this.whole = el("div", {}, this.boards, el("div", { class: "bar-of-time" }, this.ranges, this.span), el("h2", { class: "unseen" }, "Services"), this.services, this.below);
    this.element = el(
      "div",
      { class: "host" },
      el("p", {}, el("a", { href: "#/" }, "← All hosts")),
      el("header", { class: "host-head" }, this.name, this.badge, this.why, this.about),
      this.empty,
      this.whole,
    );
    this.follow(parameters);
  }

  destroy() {
    this.marks.destroy();
    for (const section of this.sections.values()) section.destroy();
  }

  get title() {
    const { host } = this;
    return host ? `${host.label}: ${stateInWords(host, this.told.now)} – mote` : "mote";
  }

  follow(parameters) {
    this.parameters = parameters;
    const [from, to] = ["from", "to"].map((name) => Number.parseFloat(parameters.get(name)));
    this.fixed = from >= 0 && to > from && to <= LATEST ? { from, to } : undefined;
    this.range = RANGES.find(([name]) => name === parameters.get("range"));
    if (this.told) this.update(this.told);
  }

  update(told) {
    this.told = told;
    this.host = told.hosts.find((it) => String(it.client_id) === this.id);
    this.empty.hidden = this.host !== undefined;
    this.whole.hidden = this.host === undefined;
    this.badge.hidden = this.host === undefined;
    if (!this.host) {
      setText(this.name, this.id);
      return;
    }
    this.updateHead();
    this.updateSections();
    this.updateTime();
    this.updateOrders();
    if (!(performance.now() - this.accountAsked < ACCOUNT_AGAIN_MS)) this.askAccount();
  }

  updateHead() {
    const { host, told } = this;
    setText(this.name, host.label);
    setText(this.badge, stateInWords(host, told.now));
    setAttribute(this.badge, "class", `badge ${STATES.includes(host.state) ? host.state : ""}`);
    const why = whyOf(host, told);
    this.why.hidden = !why;
    setText(this.why, why ? `${why}.` : "");
    const facts = [`client ${host.client_id}`];
    const system = host.services.find((it) => it.plugin === "LinuxSysInfo")?.data;
    for (const text of [system?.os, system?.kernel]) if (typeof text === "string") facts.push(text);
    if (host.groups?.length) facts.push(`${host.groups.length === 1 ? "group" : "groups"} ${host.groups.join(", ")}`);
    const start = startOf(host);
    if (start !== undefined) facts.push(`up for ${duration(told.now - start)}, since ${instant(start, told.now)}`);
    if (host.run_since !== undefined) {
      facts.push(`this run reports since ${instant(host.run_since, told.now)} (${duration(told.now - host.run_since)})`);
    }
    if (host.last !== undefined) facts.push(`last report ${ago(told.now - host.last)}`);
    setText(this.about, facts.join(" · "));
    const others = told.hosts.filter((it) => it.carried_by === host.client_id);
    const gateway = host.carried_by === undefined ? undefined : told.hosts.find((it) => it.client_id === host.carried_by);
    const key = JSON.stringify([gateway, ...others].map((it) => it && [it.client_id, it.label, it.state]));
    if (key === this.boardsKey) return;
    this.boardsKey = key;
    const links = (hosts) => hosts.flatMap((it, index) => [index ? ", " : "", el("a", { href: hostLink(it.client_id) }, it.label), ` (${it.state})`]);
    this.boards.replaceChildren(...(gateway ? ["A board that reports through ", ...links([gateway]), ". "] : []), ...(others.length ? ["Carries the boards ", ...links(others), "."] : []));
  }

  updateSections() {
    const wanted = new Map(this.host.services.map((it) => [it.name, it]));
    for (const [name, section] of this.sections) {
      const service = wanted.get(name);
      if (service && service.plugin === section.service.plugin) continue;
      section.destroy();
      this.sections.delete(name);
    }
    const zoom = (from, to) => this.lookAt(from, to);
    for (const [name, service] of wanted) {
      if (!this.sections.has(name)) this.sections.set(name, new Section(this.host, service, this.told.now, zoom));
      this.sections.get(name).update(service, this.told.now);
    }
    const inOrder = [...wanted.keys()].map((name) => this.sections.get(name)).sort((one, two) => rank(one) - rank(two));
    setChildren(this.services, inOrder.map((it) => it.element));
    if (inOrder.length === 0) this.services.replaceChildren(el("p", { class: "empty" }, "Nothing is ordered of this host: none of its groups and templates holds a service."));
  }

  /// From and to, and whether that is live.
  time() {
    const { now } = this.told;
    if (this.fixed) return { ...this.fixed, isLive: false };
    const { state, last } = this.host;
    // What came before the silence tells more than the silence.
    if (!this.range && state === "silent" && last < now - 3000) return { from: last - 3000, to: last + 600, isLive: false };
    const length = this.range?.[1] ?? this.lengthOfYoung(now) ?? RANGES[1][1];
    return { from: now - length, to: now, isLive: true, length };
  }

  /// Of a host that has just begun, an hour would show next to nothing.
  lengthOfYoung(now) {
    const firsts = [...this.sections.values()].map((it) => it.series?.first).filter((it) => it !== undefined);
    if (!this.isFirstRun || firsts.length === 0) return undefined;
    return YOUNG.find((it) => now - Math.min(...firsts) < it);
  }

  updateTime() {
    const { from, to, isLive, length } = this.time();
    const { now } = this.told;
    const key = `${length} ${this.fixed?.from} ${this.fixed?.to}`;
    if (key !== this.rangesKey) {
      this.rangesKey = key;
      const had = this.ranges.contains(document.activeElement) ? document.activeElement.textContent : undefined;
      this.ranges.replaceChildren(...this.rangeButtons(length));
      [...this.ranges.querySelectorAll("button")].find((it) => it.textContent === had)?.focus();
    }
    const ends = isLive ? "now" : instant(to, now);
    setText(this.span, `${instant(from, now)} to ${ends}, ${zone}${isLive ? " · live" : ""}`);
    for (const section of this.sections.values()) section.look(from, to, isLive);
    this.marks.look(from, to, isLive);
    this.mark();
  }

  /// Charts that are new have the marks too.
  mark() {
    for (const section of this.sections.values()) section.mark(this.marks.events);
  }

  rangeButtons(length) {
    const chosen = RANGES.find((it) => it[1] === length)?.[0];
    const options = RANGES.map(([name, , text]) => [name, text]);
    const range = (name) => this.change(new URLSearchParams({ range: name }), true);
    const step = (name, label, move) => el("button", { type: "button", "aria-label": label, title: label, click: () => this.move(move) }, name);
    const moves = el(
      "div",
      { class: "choice", role: "group", "aria-label": "Move in time" },
      step("◀", "Earlier", ({ from, to }) => [from - (to - from) / 2, to - (to - from) / 2]),
      step("▶", "Later", ({ from, to }) => [from + (to - from) / 2, to + (to - from) / 2]),
      step("+", "Zoom in", ({ from, to }) => [from + (to - from) / 4, to - (to - from) / 4]),
      step("−", "Zoom out", ({ from, to }) => [from - (to - from) / 2, to + (to - from) / 2]),
    );
    return [choice("Range of time, to now", options, chosen, range), moves];
  }

  move(step) {
    const [from, to] = step(this.time());
    const { now } = this.told;
    // Not into the future.
    const over = Math.max(0, to - now);
    this.lookAt(from - over, to - over);
  }

  lookAt(from, to) {
    if (to - from < SHORTEST) return;
    this.change(new URLSearchParams({ from: from.toFixed(1), to: to.toFixed(1) }), true);
  }

  updateOrders() {
    const { host, told } = this;
    const fetched = host.orders_fetched;
    setText(this.fetched, fetched === undefined ? "They were not fetched since the collector began." : `Fetched last at ${instant(fetched, told.now)}.`);
    const rows = host.services.map((it) => [
      it.name, it.plugin, interval(it.interval_s), it.template, it.group === undefined ? "the host itself" : `group ${it.group}`,
      stateInWords(it, told.now), it.last === undefined ? "–" : instant(it.last, told.now),
    ]);
    const key = JSON.stringify(rows);
    if (key === this.ordersKey) return;
    Object.assign(this, { ordersKey: key, orderRows: rows });
    this.orders.replaceChildren(...rows.map(([name, ...rest]) => el("tr", {}, el("th", { scope: "row" }, name), rest.map((it, index) => el("td", { "data-name": ORDER_HEADS[index + 1] }, it)))));
  }

  saveOrders() {
    save(`${fileName(this.host.label, "orders")}.csv`, "text/csv", csv(ORDER_HEADS, this.orderRows));
  }

  async askAccount() {
    this.accountAsked = performance.now();
    let answer;
    try {
      answer = await ask("api/accounting", { client_id: this.id });
    } catch (error) {
      if (!this.hasAccount) this.account.replaceChildren(el("p", { class: "note" }, error.message));
      return;
    }
    const account = answer.clients?.[0];
    if (!account) return;
    this.isFirstRun = account.runs.length === 1 && account.runs_left_out === 0;
    const key = JSON.stringify(account);
    if (key === this.accountKey) return;
    this.accountKey = key;
    this.hasAccount = true;
    this.account.replaceChildren(...accountContent(account));
  }
}

/// What most people ask first stands first, and what has no charts last.
const rank = (section) => rankOf(section.service.plugin) + (section.charts?.length ? 0 : 1000);

function accountContent(account) {
  const { lost } = account;
  const now = Date.now() / 1000;
  const told = !lost ? "" : lost.until ? ` (the last loss was told ${instant(lost.since, now)}, and there was none in the hour before ${instant(lost.until, now)})` : `: lost since ${instant(lost.since, now)}`;
  const missing = account.gaps === 0 ? "None is missing" : `${count(account.gaps, "report")} never came${told}`;
  const extra = [
    account.duplicates > 0 && `${count(account.duplicates, "report")} came twice and ${account.duplicates === 1 ? "was" : "were"} kept once`,
    account.unnumbered > 0 && `${count(account.unnumbered, "report")} had no number`,
  ].filter(Boolean);
  const sentence = `${count(account.received, "numbered report")} came. ${[missing, ...extra].join("; ")}.`;
  const runs = account.runs.slice(-10).reverse();
  const left = account.runs.length - runs.length + account.runs_left_out;
  const rows = runs.map((it) => el("tr", {}, el("th", { scope: "row" }, it.boot), [it.received, it.gaps, it.duplicates].map((value) => el("td", {}, String(value)))));
  const heads = ["Run", "Came", "Never came", "Came twice"].map((name) => el("th", { scope: "col" }, name));
  return [
    el("p", { class: account.gaps > 0 && lost && !lost.until ? "error" : "" }, sentence),
    account.twins && el("p", { class: "error" }, `Two agents report with this id: ${account.twins.map((it) => `${it.address} (run ${it.boot})`).join(" and ")}. Give one of them an id of its own.`),
    el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": "Runs" }, el("table", {}, el("thead", {}, el("tr", {}, heads)), el("tbody", {}, rows))),
    left > 0 && el("p", { class: "note" }, `${count(left, "earlier run")} ${left === 1 ? "is" : "are"} in the sums.`),
  ].filter(Boolean);
}
