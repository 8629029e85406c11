// All hosts: problems first, boards below their gateway.

import { ADD_LINK } from "./add.js";
import { choice, el, save, setAttribute, setChildren, setText, show } from "./dom.js";
import { figuresOf, startOf } from "./figures.js";
import { isAdmin } from "./session.js";
import { csv } from "./table.js";
import { whyOf } from "./why.js";
import { STATES, STATE_NAMES, count, duration, fullInstant, instant, stateInWords } from "./words.js";

// Columns: key, heading, and whether large values come first.
const COLUMNS = [
  ["state", "State"],
  ["label", "Host"],
  ["cpu", "CPU", true],
  ["memory", "Memory", true],
  ["disk", "Fullest disk", true],
  ["temperature", "Temperature", true],
  ["start", "Up for"],
];

const NO_HOSTS = "Add the first one by a command that you paste on it, or a table such as [hosts.web] to the collector's settings. It appears as soon as it reports.";

export class HostsView {
  constructor(parameters, change) {
    this.change = change;
    this.rows = new Map();
    this.search = el("input", { type: "search", placeholder: "Search hosts, groups", "aria-label": "Search hosts and groups", input: () => this.set({ q: this.search.value || undefined }) });
    this.filters = el("div", { class: "filters" });
    const options = COLUMNS.map(([key, name]) => el("option", { value: key }, key === "state" ? "Problems first" : name));
    this.select = el("select", { change: () => this.set({ sort: this.select.value, up: undefined }) }, options);
    this.heads = COLUMNS.map(([key, name]) => {
      const button = el("button", { type: "button", click: () => this.sortBy(key) }, name);
      return el("th", { role: "columnheader", scope: "col", class: key }, button);
    });
    this.body = el("tbody", { role: "rowgroup" });
    this.note = el("p", { class: "empty", hidden: true }, "No host fits the search and the filter.");
    const way = isAdmin() ? [el("p", {}, NO_HOSTS), el("p", {}, el("a", { class: "add", href: ADD_LINK }, "Add a host"))] : [];
    this.none = el("div", { class: "empty", hidden: true }, el("h2", {}, "There are no hosts yet"), way);
    this.table = el(
      "table",
      { class: "hosts", role: "table", "aria-label": "Hosts" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, this.heads)),
      this.body,
    );
    this.tools = el(
      "div",
      { class: "tools" },
      this.search,
      this.filters,
      el("label", { class: "sort" }, "Sort ", this.select),
      el("button", { type: "button", class: "quiet", click: () => this.save() }, "CSV"),
      isAdmin() && el("a", { class: "add", href: ADD_LINK }, "Add a host"),
    );
    this.element = el("div", {}, el("h1", { class: "unseen" }, "Hosts"), this.tools, this.table, this.note, this.none);
    this.follow(parameters);
  }

  destroy() {}

  get title() {
    const bad = this.told?.hosts.filter((it) => it.state !== "reporting").length ?? 0;
    return bad > 0 ? `${count(bad, "problem")} – mote` : "mote";
  }

  /// What the address says.
  follow(parameters) {
    this.parameters = parameters;
    const sort = parameters.get("sort") ?? "state";
    this.sort = COLUMNS.some(([key]) => key === sort) ? sort : "state";
    this.isTurned = parameters.get("up") === "1";
    this.state = parameters.get("state") ?? "";
    const query = parameters.get("q") ?? "";
    if (this.search.value !== query) this.search.value = query;
    this.query = query.toLocaleLowerCase();
    this.select.value = this.sort;
    for (const [index, [key]] of COLUMNS.entries()) {
      const isDown = (COLUMNS[index][2] ?? false) !== this.isTurned;
      setAttribute(this.heads[index], "aria-sort", key === this.sort ? (isDown ? "descending" : "ascending") : undefined);
    }
    if (this.told) this.update(this.told);
  }

  set(values) {
    const next = new URLSearchParams(this.parameters);
    for (const [key, value] of Object.entries(values)) {
      if (value === undefined) next.delete(key);
      else next.set(key, value);
    }
    this.change(next);
  }

  sortBy(key) {
    const isAgain = key === this.sort;
    this.set({ sort: key === "state" ? undefined : key, up: isAgain && !this.isTurned ? "1" : undefined });
  }

  update(told) {
    this.told = told;
    this.updateFilters();
    const shown = this.shown();
    for (const id of this.rows.keys()) {
      if (!told.hosts.some((it) => it.client_id === id)) this.rows.delete(id);
    }
    const names = new Map(told.hosts.map((it) => [it.client_id, it.label]));
    for (const entry of shown) {
      const id = entry.host.client_id;
      if (!this.rows.has(id)) this.rows.set(id, new Row());
      this.rows.get(id).update(entry, told.now, names);
    }
    setChildren(this.body, shown.map((it) => this.rows.get(it.host.client_id).element));
    show(this.table, shown.length > 0);
    const isEmpty = told.hosts.length === 0;
    show(this.tools, !isEmpty);
    show(this.note, !isEmpty && shown.length === 0);
    show(this.none, isEmpty);
  }

  updateFilters() {
    const counts = new Map(STATES.map((state) => [state, 0]));
    for (const { state } of this.told.hosts) counts.set(state, (counts.get(state) ?? 0) + 1);
    const options = [["", `all ${this.told.hosts.length}`]];
    for (const [state, number] of counts) {
      if (number > 0 || state === this.state) options.push([state, `${STATE_NAMES[state] ?? state} ${number}`]);
    }
    const key = JSON.stringify([options, this.state]);
    if (key === this.filtersKey) return;
    this.filtersKey = key;
    const hadFocus = this.filters.contains(document.activeElement);
    this.filters.replaceChildren(choice("State", options, this.state, (state) => this.set({ state: state || undefined })));
    if (hadFocus) this.filters.querySelector('[aria-pressed="true"]')?.focus();
  }

  /// Those that fit, in order, each with its figures and the depth below its gateway.
  shown() {
    const { now, hosts } = this.told;
    const fits = (host) => {
      if (this.state && host.state !== this.state) return false;
      const texts = [host.label, host.client_id, ...(host.groups ?? []), host.carried_by ?? ""];
      return !this.query || texts.some((text) => String(text).toLocaleLowerCase().includes(this.query));
    };
    const entries = hosts.filter(fits).map((host) => ({ host, figures: figuresOf(host), why: whyOf(host, this.told), depth: 0, below: [] }));
    const byId = new Map(entries.map((it) => [it.host.client_id, it]));
    const roots = entries.filter((entry) => {
      const gateway = byId.get(entry.host.carried_by);
      // A board of a board would never come up: only one step is taken.
      if (!gateway || gateway === entry || gateway.host.carried_by !== undefined) return true;
      entry.depth = 1;
      gateway.below.push(entry);
      return false;
    });
    const order = this.order(now);
    for (const entry of roots) entry.below.sort(order);
    // A gateway stands where the worst of its boards would.
    const first = (entry) => [entry, ...entry.below].sort(order)[0];
    return roots
      .map((entry) => ({ entry, first: first(entry) }))
      .sort((one, two) => order(one.first, two.first))
      .flatMap(({ entry }) => [entry, ...entry.below]);
  }

  order(now) {
    const byName = (one, two) => one.host.label.localeCompare(two.host.label, undefined, { numeric: true });
    const turn = this.isTurned ? -1 : 1;
    const value = {
      state: ({ host, why }) => STATES.indexOf(host.state) - (host.state === "reporting" && why ? 0.5 : 0),
      start: ({ host }) => upFor(host, startOf(host) ?? host.run_since, now),
    };
    const of = value[this.sort] ?? (({ figures }) => (figures[this.sort] ? -figures[this.sort].value : undefined));
    if (this.sort === "label") return (one, two) => turn * byName(one, two);
    return (one, two) => {
      const [left, right] = [of(one), of(two)];
      // What has no figure stands last, whichever way.
      if (left === undefined || right === undefined) return (left === undefined) - (right === undefined) || byName(one, two);
      return turn * (left - right) || byName(one, two);
    };
  }

  save() {
    const head = ["host", "client_id", "groups", "via", "state", "last report", "CPU %", "memory %", "fullest disk %", "disk", "temperature °C", "started", "agent runs since"];
    const iso = (time) => (time === undefined ? "" : new Date(time * 1000).toISOString());
    const rows = this.shown().map(({ host, figures }) => [
      host.label, String(host.client_id), (host.groups ?? []).join(" "), String(host.carried_by ?? ""),
      stateInWords(host, this.told.now), iso(host.last), figures.cpu?.value, figures.memory?.value, figures.disk?.value,
      figures.disk?.item, figures.temperature?.value, iso(startOf(host)), iso(host.run_since),
    ]);
    save("hosts.csv", "text/csv", csv(head, rows));
  }
}

/// A row, which is kept as long as its host is there.
class Row {
  constructor() {
    const cell = (name, ...children) => el("td", { role: "cell", class: name }, ...children);
    this.badge = el("span", { class: "badge" });
    this.link = el("a", {});
    this.groups = el("span", { class: "groups" });
    this.why = el("span", { class: "why" });
    this.figures = Object.fromEntries(["cpu", "memory", "disk", "temperature"].map((key) => [key, new Figure(key)]));
    this.since = cell("start");
    this.element = el(
      "tr",
      { role: "row" },
      cell("state", this.badge),
      el("th", { role: "rowheader", scope: "row", class: "label" }, this.link, this.groups, this.why),
      Object.values(this.figures).map((it) => it.element),
      this.since,
    );
  }

  update({ host, figures, why, depth }, now, names) {
    setText(this.badge, stateInWords(host, now));
    setAttribute(this.badge, "class", `badge ${STATES.includes(host.state) ? host.state : ""}`);
    setAttribute(this.badge, "title", host.last === undefined ? undefined : `last report ${fullInstant(host.last)}`);
    setAttribute(this.element, "class", [depth ? "below" : "", host.state === "reporting" ? "" : "stale"].join(" ").trim() || undefined);
    setText(this.link, host.label);
    setAttribute(this.link, "href", hostLink(host.client_id));
    const via = host.carried_by === undefined ? [] : [`via ${names.get(host.carried_by) ?? host.carried_by}`];
    setText(this.groups, [...via, ...(host.groups ?? [])].join(" · "));
    setText(this.why, why);
    setAttribute(this.why, "title", why || undefined);
    for (const [key, figure] of Object.entries(this.figures)) figure.update(figures[key]);
    const [start, run] = [startOf(host), host.run_since];
    const isAgent = start === undefined && run !== undefined;
    setText(this.since, isAgent ? `agent ${duration(upFor(host, run, now))}` : start === undefined ? "–" : duration(upFor(host, start, now)));
    const began = [start !== undefined && `started ${instant(start, now)}`, run !== undefined && `this run of the agent began ${instant(run, now)}`];
    setAttribute(this.since, "title", began.filter(Boolean).join("; ") || undefined);
  }
}

/// How long what began at `start` has lasted, as far as that is known: until the last report, once the host is silent.
function upFor(host, start, now) {
  if (start === undefined) return undefined;
  return (host.state === "silent" ? (host.last ?? now) : now) - start;
}

const FIGURES = {
  cpu: ["CPU", "%", 90],
  memory: ["Memory", "%", 90],
  disk: ["Disk", "%", 90],
  temperature: ["Temperature", "°C", 85],
};

/// A value with a bar.
class Figure {
  constructor(key) {
    [this.name, this.unit, this.high] = FIGURES[key];
    this.value = el("span", { class: "value" });
    this.item = el("span", { class: "item" });
    this.bar = el("span", { class: "bar", "aria-hidden": "true" }, el("span", {}));
    this.element = el("td", { role: "cell", class: `figure ${key}`, "data-name": this.name }, this.value, this.item, this.bar);
  }

  update(figure) {
    const isKnown = figure?.value !== undefined;
    const value = figure?.value ?? 0;
    setText(this.value, isKnown ? `${value.toFixed(value < 9.95 ? 1 : 0)} ${this.unit}` : "–");
    const item = figure?.hung === undefined ? (figure?.item ?? "") : `${figure.hung} hangs`;
    setText(this.item, item);
    setAttribute(this.item, "title", item || undefined);
    show(this.bar, isKnown);
    setAttribute(this.element, "class", this.element.className.replace(/ (high|unknown)/g, "") + (isKnown ? (value >= this.high ? " high" : "") : " unknown"));
    const width = `${Math.min(Math.max(value, 0), 100).toFixed(0)}%`;
    if (this.bar.firstChild.style.inlineSize !== width) this.bar.firstChild.style.inlineSize = width;
  }
}

/// The address of a host's view.
export const hostLink = (id) => `#/host/${encodeURIComponent(String(id))}`;
