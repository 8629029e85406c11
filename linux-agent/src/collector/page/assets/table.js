// The figures of a chart as a table, and as CSV.

import { el, save } from "./dom.js";
import { fullInstant } from "./words.js";

/// So many rows are shown; the CSV has all.
const MAX_ROWS = 200;

/// A folded table, filled while it is open. `current()` gives title, unit, series and lines.
export function figuresTable(title, current) {
  const place = el("div", { class: "scrolls", tabindex: "0", role: "region", "aria-label": `${title} as a table` });
  const details = el("details", { class: "figures" }, el("summary", {}, "Figures as a table"), place);
  const fill = () => details.open && place.replaceChildren(...content(title, current()));
  details.addEventListener("toggle", fill);
  return { element: details, update: fill };
}

function content(title, { unit, series, lines, name }) {
  const write = (value) => (typeof value === "number" ? unit.write(value) : "–");
  if (!series || lines.length === 0) return [el("p", { class: "note" }, "There are no figures in this time.")];
  const head = (...texts) => el("thead", {}, el("tr", {}, texts.map((text) => el("th", { scope: "col" }, text))));
  const sums = lines.map((it) =>
    el("tr", {}, el("th", { scope: "row" }, it.label), [it.latest, it.least, it.mean, it.most].map((value) => el("td", {}, write(value)))),
  );
  const rows = series.times.map((time, row) => ({ time, row })).filter(({ row }) => lines.some((it) => typeof it.avg[row] === "number"));
  const shown = rows.slice(-MAX_ROWS).reverse();
  const figures = shown.map(({ time, row }) =>
    el("tr", {}, el("th", { scope: "row" }, fullInstant(time)), lines.map((it) => el("td", {}, write(it.avg[row])))),
  );
  const left = rows.length - shown.length;
  return [
    el("table", {}, el("caption", {}, `${title}: over this time`), head("", "last", "least", "average", "most"), el("tbody", {}, sums)),
    el("table", {}, el("caption", {}, `${title}: each time${series.step > series.interval ? " (averages)" : ""}`), head("time", ...lines.map((it) => it.label)), el("tbody", {}, figures)),
    left > 0 && el("p", { class: "note" }, `${left} earlier rows are in the CSV file.`),
    el("button", { type: "button", click: () => save(`${name}.csv`, "text/csv", seriesCsv(series, lines)) }, "Save as CSV"),
  ].filter(Boolean);
}

function seriesCsv(series, lines) {
  const rows = series.times.map((time, row) => [new Date(time * 1000).toISOString(), ...lines.map((it) => it.avg[row])]);
  return csv(["time", ...lines.map((it) => it.label)], rows);
}

/// Rows as CSV (RFC 4180). What a spreadsheet would take for a formula is made a text.
export function csv(head, rows) {
  const cell = (value) => {
    if (typeof value === "number") return String(value);
    const text = String(value ?? "");
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return [head, ...rows].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

/// A name that every file system takes.
export const fileName = (...parts) => parts.join("-").replaceAll(/[^\p{L}\p{N}._-]+/gu, "-");
