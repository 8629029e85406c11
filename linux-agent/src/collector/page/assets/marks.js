// What happened at a host, as marks in its charts and as a list below them.

import { ask } from "./api.js";
import { el, setChildren } from "./dom.js";
import { fullInstant } from "./words.js";

const ASK_AGAIN_MS = 10_000;

/// More would hide the figures.
const MAX_MARKS = 200;

/// The room of a letter beside its line, in CSS pixels.
const LETTER_WIDTH = 12;

/// What each kind is called, and its colour.
const KINDS = {
  alarm: ["Alarm", "--bad"],
  cleared: ["Alarm over", "--good"],
  run: ["New run", "--link"],
  boot: ["Host started", "--link"],
  gap: ["Reports again", "--late"],
  orders: ["Orders", "--muted"],
  silence: ["Silence", "--muted"],
  collector: ["Collector", "--muted"],
};

/// The events of one host in the time that is looked at.
export class Marks {
  constructor(id, changed) {
    Object.assign(this, { id, changed, events: [] });
    this.element = el("div", {}, el("p", { class: "note" }, "Nothing happened in this time."));
  }

  destroy() {
    this.asking?.abort();
  }

  look(from, to, isLive) {
    const key = isLive ? `${Math.round(to - from)}` : `${from} ${to}`;
    const isSoon = performance.now() - this.asked < ASK_AGAIN_MS;
    if (key === this.key && (isSoon || !isLive)) return;
    this.key = key;
    this.asked = performance.now();
    this.ask(from, to);
  }

  async ask(from, to) {
    this.asking?.abort();
    this.asking = new AbortController();
    const parameters = { client_id: this.id, from: Math.max(0, from), to: to + 60, limit: MAX_MARKS };
    const answer = await ask("api/events", parameters, this.asking.signal).catch(() => undefined);
    // Charts without marks are still charts; the next look asks again.
    if (!answer) return;
    const key = JSON.stringify(answer.events);
    if (key === this.told) return;
    this.told = key;
    this.events = answer.events;
    const items = answer.events.map((it) => el("li", {}, el("time", {}, fullInstant(it.at)), ` ${KINDS[it.kind]?.[0] ?? it.kind}: ${it.text}`));
    const content = items.length > 0 ? el("ul", { class: "events" }, items) : el("p", { class: "note" }, "Nothing happened in this time.");
    setChildren(this.element, [content]);
    this.changed();
  }
}

/// Draws a line for each event into a chart, with a head that differs by more than colour.
export function drawMarks(plot, events, colour) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.font = `${10 * devicePixelRatio}px sans-serif`;
  // A letter only where it stands apart from the one before.
  let free = -Infinity;
  for (const event of [...events].sort((one, two) => one.at - two.at)) {
    const at = Math.round(plot.valToPos(event.at, "x", true));
    if (at < bbox.left || at > bbox.left + bbox.width) continue;
    const [name, token] = KINDS[event.kind] ?? [event.kind, "--muted"];
    ctx.strokeStyle = ctx.fillStyle = colour(token);
    ctx.beginPath();
    ctx.moveTo(at, bbox.top);
    ctx.lineTo(at, bbox.top + bbox.height);
    ctx.stroke();
    if (at < free) continue;
    free = at + LETTER_WIDTH * devicePixelRatio;
    ctx.fillText(name[0], at + 2 * devicePixelRatio, bbox.top + 9 * devicePixelRatio);
  }
  ctx.restore();
}
