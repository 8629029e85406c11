// A chart: lines over time by uPlot, a legend with values, and a sentence for who cannot see it.

import { el, setAttribute, setText } from "./dom.js";
import { drawMarks } from "./marks.js";
import { because, clock, duration, fullInstant, instant, isSameDay, tick } from "./words.js";

const HEIGHT = 170;

/// So many lines are drawn at first; the rest on demand.
const SHOWN = 8;

/// With more lines than these, what lies between least and most of each bin would hide the others.
const MAX_BANDS = 3;

// Paper is light.
const themes = matchMedia("screen and (prefers-color-scheme: dark)");

export class Chart {
  /// `zoom(from, to)` is called when a person drags over the chart; charts with the same `group` share the cursor.
  constructor({ title, unit, top, quiet }, group, zoom) {
    Object.assign(this, { title, unit, top, quiet, group, zoom });
    this.lines = [];
    this.events = [];
    this.hidden = new Set();
    this.showsAll = false;
    this.at = el("span", { class: "at" });
    this.plot = el("div", { class: "plot", role: "img" });
    this.legend = el("ul", { class: "legend" });
    this.element = el("figure", { class: "chart" }, el("figcaption", {}, el("h4", {}, title), this.at), this.plot, this.legend);
    this.resized = new ResizeObserver(() => this.fit());
    this.resized.observe(this.plot);
    this.themed = () => this.render();
    themes.addEventListener("change", this.themed);
  }

  destroy() {
    this.resized.disconnect();
    themes.removeEventListener("change", this.themed);
    this.uplot?.destroy();
  }

  /// Shows these lines of `series` from `from` to `to`. `note` stands in place of a chart without lines.
  show(series, lines, from, to, note) {
    Object.assign(this, { series, from, to, note });
    const names = lines.map((it) => it.key).join();
    const isSame = this.uplot && names === this.names && this.hasBands === this.wantsBands(lines);
    Object.assign(this, { lines, names });
    const isQuiet = this.quiet && lines.length > 0 && lines.every((it) => !it.most && !it.least);
    const text = isQuiet ? this.quiet : lines.some((it) => it.mean !== undefined) ? undefined : note;
    this.describe(text);
    if (text !== undefined) return this.say(text);
    if (isSame) {
      this.uplot.setData(this.data(), false);
      this.uplot.batch(() => this.scale());
      this.updateLegend();
    } else {
      this.render();
    }
  }

  /// Shows what happened.
  mark(events) {
    if (events === this.events) return;
    this.events = events;
    this.uplot?.redraw(false);
  }

  /// Slides the time without new figures.
  slide(from, to) {
    Object.assign(this, { from, to });
    if (this.uplot) this.scale();
  }

  say(text) {
    this.uplot?.destroy();
    this.uplot = undefined;
    this.plot.replaceChildren(el("p", { class: "note" }, text));
    this.legend.replaceChildren();
    setText(this.at, "");
  }

  wantsBands(lines) {
    return Math.min(lines.length, SHOWN) <= MAX_BANDS && lines.some((it) => it.max.some((most, row) => most > it.min[row]));
  }

  drawn() {
    return this.showsAll ? this.lines : this.lines.slice(0, SHOWN);
  }

  data() {
    const lines = this.drawn();
    const bands = this.hasBands ? lines.flatMap((it) => [it.max, it.min]) : [];
    return [this.series.times, ...lines.map((it) => it.avg), ...bands];
  }

  render() {
    if (!this.series || this.lines.length === 0) return;
    this.uplot?.destroy();
    this.hasBands = this.wantsBands(this.lines);
    this.plot.replaceChildren();
    this.uplot = new uPlot(this.options(), this.data(), this.plot);
    this.scale();
    this.drawLegend();
  }

  fit() {
    const width = this.plot.clientWidth;
    if (this.uplot && width > 0 && width !== this.uplot.width) this.uplot.setSize({ width, height: HEIGHT });
  }

  scale() {
    this.uplot.setScale("x", { min: this.from, max: this.to });
  }

  options() {
    const style = getComputedStyle(this.element);
    const colour = (name) => style.getPropertyValue(name).trim();
    const lines = this.drawn();
    const font = `11px ${style.fontFamily}`;
    const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { show: false }, font };
    const strokes = lines.map((_, index) => colour(`--line-${(index % 8) + 1}`));
    const series = lines.map((it, index) => ({
      label: it.label,
      stroke: strokes[index],
      width: 1.6,
      // The second round of colours, so that colour alone never tells two lines apart.
      dash: index >= 8 ? [6, 3] : undefined,
      show: !this.hidden.has(it.key),
      points: { size: 4, fill: strokes[index], filter: lonely },
    }));
    const edges = this.hasBands ? lines.flatMap((it) => [0, 1].map(() => edge(!this.hidden.has(it.key)))) : [];
    const bands = this.hasBands
      ? lines.map((_, index) => ({
          series: [lines.length + 1 + 2 * index, lines.length + 2 + 2 * index],
          fill: `${strokes[index]}2e`,
        }))
      : [];
    return {
      width: Math.max(this.plot.clientWidth, 120),
      height: HEIGHT,
      padding: [8, 28, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: this.group, setSeries: false },
        drag: { x: true, y: false, setScale: false },
        y: false,
        points: { size: 6 },
      },
      scales: { x: { time: true }, y: { range: (_, least, most) => this.range(least, most) } },
      axes: [
        { ...axis, size: 34, space: 64, values: (_, ticks, __, ___, step) => labels(ticks, step) },
        {
          ...axis,
          size: 72,
          space: 26,
          values: (_, ticks) => ticks.map((it) => (this.unit.tick ?? this.unit.write)(it)),
          ...(this.unit.steps && { incrs: this.unit.steps }),
        },
      ],
      series: [{}, ...series, ...edges],
      bands,
      hooks: {
        drawClear: [(plot) => this.drawGaps(plot, colour("--gap"), colour("--gap-edge"))],
        draw: [(plot) => drawMarks(plot, this.events, colour)],
        setCursor: [(plot) => this.point(plot)],
        setSelect: [(plot) => this.select(plot)],
      },
    };
  }

  /// From zero, unless the unit has no meaningful one.
  range(least, most) {
    if (this.top !== undefined) return [0, this.top];
    if (least === null || least === undefined) return [0, 1];
    if (this.unit.free) {
      const room = Math.max((most - least) * 0.15, Math.abs(most) * 0.01, 0.01);
      return [least - room, most + room];
    }
    const top = Math.max(most, 0) * 1.1;
    const low = Math.min(least, 0) * 1.1;
    if (top === low) return [0, 1];
    return [low, this.unit.top && top > this.unit.top ? Math.max(most, this.unit.top) : top];
  }

  drawGaps(plot, fill, line) {
    const { ctx, bbox } = plot;
    ctx.save();
    for (const gap of this.series.gaps) {
      const from = Math.max(plot.valToPos(gap.from, "x", true), bbox.left);
      const to = Math.min(plot.valToPos(gap.to, "x", true), bbox.left + bbox.width);
      if (to <= from) continue;
      ctx.fillStyle = fill;
      ctx.fillRect(from, bbox.top, Math.max(to - from, 1), bbox.height);
      // Before the first report nothing was missed.
      if (gap.cause === "not_yet") continue;
      ctx.fillStyle = line;
      ctx.fillRect(from, bbox.top + bbox.height - 2 * devicePixelRatio, Math.max(to - from, 1), 2 * devicePixelRatio);
    }
    ctx.restore();
  }

  /// The values at the cursor.
  point(plot) {
    const { idx, left } = plot.cursor;
    const isOver = left >= 0 && idx !== null && idx !== undefined;
    if (!isOver) {
      setText(this.at, "");
      return this.updateLegend();
    }
    const time = plot.posToVal(left, "x");
    const gap = this.series.gaps.find((it) => it.from < time && time < it.to);
    setText(this.at, gap ? `no reports ${span(gap, this.to)}${because(gap)}` : instantAt(this.series.times[idx], this.to));
    this.updateLegend(gap ? -1 : idx);
  }

  select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const from = plot.posToVal(left, "x");
    const to = plot.posToVal(left + width, "x");
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoom(from, to);
  }

  drawLegend() {
    const entries = this.drawn().map((line, index) => {
      const swatch = el("span", { class: `swatch line-${(index % 8) + 1}${index >= 8 ? " dashed" : ""}`, "aria-hidden": "true" });
      const button = el("button", {
        type: "button",
        "aria-pressed": String(!this.hidden.has(line.key)),
        title: `Show or hide ${line.label}`,
        click: () => this.toggle(line, index, button),
      });
      const value = el("span", { class: "value" });
      button.append(swatch, el("span", { class: "label" }, line.label), value);
      return { item: el("li", {}, button), value };
    });
    this.values = entries.map((it) => it.value);
    this.legend.replaceChildren(...entries.map((it) => it.item));
    const more = this.lines.length - SHOWN;
    if (more > 0) {
      const change = () => {
        this.showsAll = !this.showsAll;
        this.render();
      };
      const text = this.showsAll ? "show fewer" : `${more} more`;
      this.legend.append(el("li", {}, el("button", { type: "button", class: "more", click: change }, text)));
    }
    this.updateLegend();
  }

  toggle(line, index, button) {
    const show = this.hidden.delete(line.key);
    if (!show) this.hidden.add(line.key);
    setAttribute(button, "aria-pressed", String(show));
    this.uplot.setSeries(index + 1, { show });
    if (!this.hasBands) return;
    const count = this.drawn().length;
    for (const edge of [1, 2]) this.uplot.setSeries(count + 2 * index + edge, { show });
  }

  /// The values of this row; without one, the latest. -1 is none.
  updateLegend(row) {
    for (const [index, line] of this.drawn().entries()) {
      const value = row === undefined ? line.latest : line.avg[row];
      if (this.values?.[index]) setText(this.values[index], typeof value === "number" ? this.unit.write(value) : "–");
    }
  }

  describe(note) {
    const write = (value) => this.unit.write(value);
    const told = this.lines.slice(0, 4).filter((it) => it.mean !== undefined);
    const lines = told.map((it) => `${it.label} ${write(it.mean)} on average, ${write(it.least)} to ${write(it.most)}`);
    const gaps = this.series?.gaps.length ? ` Without reports: ${this.series.gaps.slice(0, 3).map((it) => `${span(it, this.to)}${because(it)}`).join("; ")}.` : "";
    const text = note ?? `${lines.join("; ")}.${gaps}`;
    setAttribute(this.plot, "aria-label", `${this.title}. ${text}`);
  }
}

const edge = (show) => ({ show, stroke: "transparent", width: 0, points: { show: false } });

/// Points without neighbours, which a line alone would not show.
function lonely(plot, index) {
  const values = plot.data[index];
  const has = (row) => typeof values[row] === "number";
  const [first, last] = plot.series[0].idxs;
  const rows = [];
  for (let row = first; row <= last; row += 1) {
    if (has(row) && !has(row - 1) && !has(row + 1)) rows.push(row);
  }
  return rows;
}

function labels(ticks, step) {
  return ticks.map((it, index) => tick(it, step, index === 0 || !isSameDay(it, ticks[index - 1])));
}

const instantAt = (time, now) => (isSameDay(time, now) ? clock(time) : fullInstant(time));

/// A stretch of time in words.
export const span = ({ from, to }, now) => `${instant(from, now)} to ${instant(to, now)} (${duration(to - from)})`;
