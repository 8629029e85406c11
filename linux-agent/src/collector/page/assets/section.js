// A service of a host: its charts, what else it reported, and its figures as tables.

import { Failure, ask } from "./api.js";
import { Chart } from "./chart.js";
import { el, setAttribute, setText } from "./dom.js";
import { errorOf, isGood, isObject } from "./figures.js";
import { chartsOf, factsOf, unitOf } from "./plugins.js";
import { Series, forecast, linesOf } from "./series.js";
import { fileName, figuresTable } from "./table.js";
import { written } from "./units.js";
import { STATES, instant, interval, stateInWords } from "./words.js";

/// While the view is live, everything is asked for again after so long; in between, samples are added as they come.
const ASK_AGAIN_S = 30;

/// After a failure, and for a column that is new.
const ASK_SOON_S = 5;

export class Section {
  constructor(host, service, now, zoom) {
    this.host = host;
    this.zoom = zoom;
    this.isVisible = false;
    this.head = el("h3", {}, service.name);
    this.badge = el("span", { class: "badge" });
    this.about = el("p", { class: "about" });
    this.error = el("p", { class: "error", hidden: true });
    this.grid = el("div", { class: "charts" });
    this.facts = el("dl", { class: "facts" });
    this.element = el("section", { class: "service" }, el("header", {}, this.head, this.badge, this.about), this.error, this.grid, this.facts);
    this.seen = new IntersectionObserver(
      (entries) => {
        this.isVisible = entries.at(-1).isIntersecting;
        if (this.isVisible) this.refresh();
      },
      { rootMargin: "300px" },
    );
    this.seen.observe(this.element);
    this.update(service, now);
  }

  destroy() {
    this.seen.disconnect();
    this.asking?.abort();
    for (const { chart } of this.charts ?? []) chart.destroy();
  }

  /// What happened, to be shown in the charts.
  mark(events) {
    for (const { chart } of this.charts ?? []) chart.mark(events);
  }

  /// What /api/hosts says now.
  update(service, now) {
    Object.assign(this, { service, now });
    setText(this.badge, stateInWords(service, now));
    setAttribute(this.badge, "class", `badge ${STATES.includes(service.state) ? service.state : ""}`);
    setText(this.about, `${service.plugin}, every ${interval(service.interval_s)}`);
    const failed = isObject(service.data) && !isGood(service.data);
    this.error.hidden = !failed;
    setText(this.error, failed ? `The last sample failed: ${errorOf(service.data)}` : "");
    this.layOut();
    this.updateFacts();
  }

  /// Charts as the last data asks for them, so that nothing jumps when the figures come.
  layOut() {
    const good = isGood(this.service.data) ? this.service.data : undefined;
    const specs = chartsOf(this.service.plugin, good);
    const key = JSON.stringify(specs.map((it) => it.title));
    // A sample that failed takes no chart away.
    if (key === this.layout || (this.layout !== undefined && !good)) return;
    this.layout = key;
    for (const { chart } of this.charts ?? []) chart.destroy();
    this.charts = specs.map((spec) => this.makeChart(spec));
    this.grid.replaceChildren(...this.charts.map((it) => it.element));
    this.draw();
  }

  makeChart(spec) {
    const chart = new Chart(spec, "host", this.zoom);
    const made = { spec, chart, lines: [] };
    const name = fileName(this.host.label, this.service.name, spec.title);
    made.table = figuresTable(spec.title, () => ({ unit: spec.unit, series: this.series, lines: made.lines, name }));
    made.forecast = el("p", { class: "note forecast", hidden: !spec.fills });
    made.element = el("div", { class: "pane" }, chart.element, made.forecast, made.table.element);
    return made;
  }

  updateFacts() {
    const facts = factsOf(this.service.plugin, this.service.data, (this.charts ?? []).map((it) => it.spec));
    const shown = facts.map(([field, value]) => [field, written(value, unitOf(this.service.plugin, field))]);
    const key = JSON.stringify(shown);
    if (key === this.factsKey) return;
    this.factsKey = key;
    this.facts.replaceChildren(...shown.map(([field, value]) => el("div", {}, el("dt", {}, field), el("dd", {}, value))));
  }

  /// The time that is looked at. `isLive`: it ends now, and slides.
  look(from, to, isLive) {
    const isOther = !isLive || !this.isLive || to - from !== this.to - this.from;
    Object.assign(this, { from, to, isLive });
    if (isOther) this.asked = undefined;
    this.refresh();
  }

  refresh() {
    if (!this.isVisible || this.from === undefined) return;
    // Of what never came there is no history.
    if ((this.charts?.length ?? 0) === 0 || this.service.state === "never") return this.draw();
    const age = (performance.now() - (this.asked ?? -Infinity)) / 1000;
    const pause = this.askSoon ? ASK_SOON_S : this.isLive ? Math.max(ASK_AGAIN_S, this.series?.step ?? 0) : Infinity;
    if (age >= pause) this.ask();
    const { time, last, data } = this.service;
    if (this.isLive && this.series && !this.isAsking) {
      const sampled = time ?? last;
      if (sampled !== undefined && sampled <= this.to + 60 && !this.series.append(sampled, data)) this.askSoon = true;
    }
    this.draw();
  }

  async ask() {
    this.asking?.abort();
    const asking = new AbortController();
    Object.assign(this, { asking, isAsking: true, asked: performance.now(), askSoon: false });
    const width = Math.max(100, Math.min(800, this.grid.firstElementChild?.clientWidth ?? 400));
    const query = { client_id: this.host.client_id, service: this.service.name, from: this.from, to: this.to, width };
    try {
      this.series = await this.askAll(query, asking.signal);
      this.failure = undefined;
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      this.failure = error.message;
      this.askSoon = true;
    }
    this.isAsking = false;
    this.draw();
  }

  /// All columns; where they are too many for one answer, field by field.
  async askAll(query, signal) {
    const answer = await ask("api/series", query, signal);
    if (answer.columns_left_out > 0) {
      const fields = [...new Set(this.charts.flatMap((it) => [...it.spec.labels.keys()]))];
      const answers = await Promise.all(fields.map((field) => ask("api/series", { ...query, from: answer.from, to: answer.to, field }, signal)));
      answer.columns = answers.flatMap((it) => it.columns);
      answer.columns_left_out = answers.reduce((sum, it) => sum + it.columns_left_out, 0);
    }
    return new Series(answer, this.service.interval_s);
  }

  draw() {
    if (this.from === undefined || !this.charts) return;
    const note = this.note();
    for (const it of this.charts) {
      it.lines = this.series ? linesOf(this.series, it.spec) : [];
      if (this.series) it.chart.show(this.series, it.lines, this.from, this.to, note);
      else it.chart.say(note);
      it.table.update();
      if (it.spec.fills) setText(it.forecast, forecast(it.lines, this.series?.times));
    }
    this.element.classList.toggle("old", this.failure !== undefined);
  }

  note() {
    if (this.failure) return this.failure;
    if (this.service.state !== "never" && !this.series) return "Asking…";
    if (this.service.state === "never") return "It is ordered, and no report of it has come yet.";
    const { last } = this.service;
    const when = last === undefined || (this.from < last && last < this.to) ? "" : ` The last came ${instant(last, this.now)}.`;
    return `There are no reports of this time.${when}`;
  }
}
