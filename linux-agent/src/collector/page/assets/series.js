// What the API answers of a service, made ready for charts: rows in time, and where there is nothing.

import { isGood, isObject, itemsOf } from "./figures.js";
import { duration } from "./words.js";

/// A rate is taken over this time at least, and looked ahead by this time at most, in seconds.
const LEAST_S = 3600;
const FAR_S = 365 * 86_400;

/// A service's figures over a time. Rows grow at the end while the view is live.
export class Series {
  /// `interval` is the one that is ordered, in seconds.
  constructor(answer, interval) {
    this.interval = interval;
    this.step = answer.step;
    this.gaps = answer.gaps ?? [];
    this.leftOut = answer.columns_left_out ?? 0;
    this.columns = new Map();
    const rows = answer.times.map((start, bin) => ({ time: start + answer.step / 2, bin }));
    const isSampled = (bin) => answer.columns.some((column) => column.avg[bin] !== null);
    for (const row of rows) row.isSampled = isSampled(row.bin);
    // A line ends at a gap, also at one that lies between two bins.
    for (const gap of this.gaps) rows.push({ time: (gap.from + gap.to) / 2, isGap: true });
    rows.sort((one, two) => one.time - two.time);
    const kept = rows.filter((row) => row.isSampled || row.isGap);
    this.times = kept.map((row) => row.time);
    /// The oldest instant with figures.
    this.first = kept.find((row) => row.isSampled)?.time;
    for (const column of answer.columns) {
      const pick = (values) => kept.map((row) => (row.isGap ? null : values[row.bin]));
      this.columns.set(keyOf(column), {
        item: column.item,
        field: column.field,
        avg: pick(column.avg),
        min: pick(column.min),
        max: pick(column.max),
      });
    }
  }

  /// The newest instant with figures.
  get last() {
    return this.times.at(-1) ?? -Infinity;
  }

  /// Takes in a sample that came since. False if it has a column that is new: then it is time to ask again.
  append(time, data) {
    if (!isGood(data) || time <= this.last) return true;
    const values = flat(data);
    const isKnown = values.every(({ key }) => this.columns.has(key));
    if (time - this.last > 2.5 * this.interval && this.times.length > 0) this.push((time + this.last) / 2, new Map());
    this.push(time, new Map(values.map(({ key, value }) => [key, value])));
    return isKnown;
  }

  push(time, values) {
    this.times.push(time);
    for (const [key, column] of this.columns) {
      const value = values.get(key) ?? null;
      column.avg.push(value);
      column.min.push(value);
      column.max.push(value);
    }
  }
}

const keyOf = ({ item, field }) => JSON.stringify([item ?? null, field]);

/// The numbers of a report by column.
function flat(data) {
  const numbers = (item, fields) =>
    Object.entries(fields)
      .filter(([field, value]) => typeof value === "number" && (item !== undefined || field !== "status"))
      .map(([field, value]) => ({ key: keyOf({ item, field }), value }));
  const items = itemsOf(data);
  return [...numbers(undefined, data), ...(isObject(data.data) ? items.flatMap(([item, fields]) => numbers(item, fields)) : [])];
}

/// The lines of a chart, the largest last value first where they are items, else in the order of the chart's fields.
export function linesOf(series, chart) {
  const fields = [...chart.labels.keys()];
  const columns = [...series.columns.values()].filter((it) => chart.labels.has(it.field));
  const hasItems = columns.some((it) => it.item !== undefined);
  const lines = columns.map((column) => line(column, chart, fields.length > 1));
  if (hasItems) {
    return lines.sort((one, two) => (two.latest ?? -Infinity) - (one.latest ?? -Infinity) || (one.label < two.label ? -1 : 1));
  }
  return lines.sort((one, two) => fields.indexOf(one.field) - fields.indexOf(two.field));
}

function line({ item, field, avg, min, max }, chart, hasSeveral) {
  const label = chart.labels.get(field);
  const scale = (value) => (value === null || value === undefined ? value : value * chart.unit.factor);
  const turn = chart.less === field ? (value) => (value === null || value === undefined ? value : 100 - value) : scale;
  // What is left of 100 has its least where the other has its most.
  const [low, high] = chart.less === field ? [max, min] : [min, max];
  const made = {
    key: keyOf({ item, field }),
    field,
    label: item === undefined ? label : hasSeveral ? `${item} ${label}` : item,
    avg: avg.map(turn),
    min: low.map(turn),
    max: high.map(turn),
  };
  made.latest = made.avg.findLast((it) => typeof it === "number");
  return { ...made, ...extent(made) };
}

/// Least, mean and most of a line; undefined where it has no figures.
function extent({ avg, min, max }) {
  const figures = avg.filter((it) => typeof it === "number");
  const isNumber = (it) => typeof it === "number";
  if (figures.length === 0) return {};
  return {
    least: min.filter(isNumber).reduce((one, two) => Math.min(one, two)),
    mean: figures.reduce((one, two) => one + two, 0) / figures.length,
    most: max.filter(isNumber).reduce((one, two) => Math.max(one, two)),
  };
}

/// When that which fills first is full, at the rate of the time that is looked at: the slope of the straight line that
/// comes closest to the figures.
export function forecast(lines, times) {
  const left = lines.map((line) => ({ line, left: timeLeft(line.avg, times) })).filter((it) => it.left < FAR_S);
  const [first] = left.sort((one, two) => one.left - two.left);
  if (first) return `${first.line.label} is full in ${duration(first.left)}, at the rate of this time.`;
  const isKnown = lines.some((it) => timeLeft(it.avg, times) !== undefined);
  return isKnown ? "Nothing is full within a year, at the rate of this time." : "";
}

function timeLeft(values, times) {
  const known = times.map((time, row) => [time, values[row]]).filter(([, value]) => typeof value === "number");
  if (known.length < 3 || known.at(-1)[0] - known[0][0] < LEAST_S) return undefined;
  const mean = (index) => known.reduce((sum, it) => sum + it[index], 0) / known.length;
  const [middle, level] = [mean(0), mean(1)];
  const over = known.reduce((sum, [time, value]) => sum + (time - middle) * (value - level), 0);
  const under = known.reduce((sum, [time]) => sum + (time - middle) ** 2, 0);
  const rate = over / under;
  return rate > 0 ? (100 - known.at(-1)[1]) / rate : Infinity;
}
