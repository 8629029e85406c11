// Times, ages and states in words, in the zone of the browser.

const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "2-digit", day: "2-digit" });
const shortDay = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dayAndYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const second = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/// The name of the zone that all times are in, such as "Europe/Berlin".
export const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

const at = (seconds) => new Date(seconds * 1000);

/// 03:12:40
export const clock = (seconds) => second.format(at(seconds));

/// 03:12 today, else with the day, and of another year with the year.
export function instant(seconds, now) {
  const time = minute.format(at(seconds));
  if (day.format(at(seconds)) === day.format(at(now))) return time;
  const sameYear = at(seconds).getFullYear() === at(now).getFullYear();
  return `${(sameYear ? shortDay : dayAndYear).format(at(seconds))}, ${time}`;
}

/// The same with seconds and always with the day.
export const fullInstant = (seconds) => `${dayAndYear.format(at(seconds))}, ${clock(seconds)}`;

/// A label for the axis of a chart whose ticks are `step` seconds apart.
export function tick(seconds, step, isFirstOfDay) {
  if (step >= 86_400) return shortDay.format(at(seconds));
  const time = step < 60 ? clock(seconds) : minute.format(at(seconds));
  return isFirstOfDay ? `${time}\n${shortDay.format(at(seconds))}` : time;
}

/// Whether both are on one day here.
export const isSameDay = (one, two) => day.format(at(one)) === day.format(at(two));

const UNITS = [["d", 86_400], ["h", 3600], ["min", 60], ["s", 1]];

/// 40 s, 12 min, 3 h 5 min, 12 d 4 h: two units at most, the second only where it says something.
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const index = UNITS.findIndex(([, length]) => whole >= length);
  if (index < 0) return "0 s";
  const [name, length] = UNITS[index];
  const count = Math.floor(whole / length);
  const next = UNITS[index + 1];
  const rest = next ? Math.floor((whole % length) / next[1]) : 0;
  const isExact = rest === 0 || (name === "min" && count >= 10) || (name === "d" && count >= 30);
  return isExact ? `${count} ${name}` : `${count} ${name} ${rest} ${next[0]}`;
}

/// Of an interval, which may be a fraction of a second: 0.5 s, 5 min.
export const interval = (seconds) => (Number.isInteger(seconds) ? duration(seconds) : `${Number(seconds.toFixed(3))} s`);

/// 40 s ago, just now
export const ago = (seconds) => (seconds < 1 ? "just now" : `${duration(seconds)} ago`);

/// 1 host, 2 hosts
export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

/// The states of hosts and services, the worst first.
export const STATES = ["silent", "late", "never", "reporting"];

/// What a state is called on buttons and badges.
export const STATE_NAMES = { silent: "silent", late: "late", never: "never reported", reporting: "reporting" };

/// How it stands, in words: "late by 40 s", "silent since 03:12".
export function stateInWords(it, now) {
  switch (it.state) {
    case "late":
      if (it.late_s !== undefined) return `late by ${duration(it.late_s)}`;
      return it.last === undefined ? "late" : `late, last ${instant(it.last, now)}`;
    case "silent":
      return it.last === undefined ? "silent" : `silent since ${instant(it.last, now)}`;
    case "never":
      return "never reported";
    case "reporting":
      return "reporting";
    default:
      return String(it.state);
  }
}

/// Why there are no reports, as far as their numbers tell: what follows "no reports from … to …".
export function because({ cause, missing }) {
  const reports = count(missing ?? 0, "report");
  const causes = {
    not_yet: "the first came later",
    not_running: "the agent was started anew in between",
    not_sampled: "the agent ran and did not sample it: not ordered then, or the host slept",
    waiting: `${reports} of that time may wait at the host`,
    lost: `${reports} of that time are lost`,
    missing: `${reports} of that time have not come`,
    open: "nothing has come since",
  };
  return causes[cause] ? `: ${causes[cause]}` : "";
}
