// How a value is written. A unit has a name, a factor from what is reported, and its way of writing.

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Three figures at most, and no more decimals than there are.
export function number(value) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${number(value / 1e6)} M`;
  if (size >= 1e4) return `${number(value / 1e3)} k`;
  const decimals = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2;
  return String(Number(value.toFixed(decimals)));
}

function inBytes(value) {
  let scaled = value;
  let index = 0;
  while (Math.abs(scaled) >= 1024 && index < BYTES.length - 1) {
    scaled /= 1024;
    index += 1;
  }
  const decimals = index === 0 || Math.abs(scaled) >= 100 ? 0 : Math.abs(scaled) >= 10 ? 1 : 2;
  return `${Number(scaled.toFixed(decimals))} ${BYTES[index]}`;
}

function inTime(value) {
  if (value < 120) return `${number(value)} s`;
  if (value < 7200) return `${number(value / 60)} min`;
  return value < 172_800 ? `${number(value / 3600)} h` : `${number(value / 86_400)} d`;
}

const plain = (name) => (value) => (name ? `${number(value)} ${name}` : number(value));
/// With the same decimals always, but on an axis.
const fixed = (name, decimals) => ({ write: (value) => `${value.toFixed(decimals)} ${name}`, tick: plain(name) });

// Steps of axes that are round as they are written.
const BINARY = Array.from({ length: 53 }, (_, power) => 2 ** power);
const DAY = 86_400;
const TIMES = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200].concat(
  [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].map((days) => days * DAY),
);

/// What fields are in. `tick` writes it on an axis if that differs, `steps` are those of an axis,
// `free` ones need not begin at zero, and no value is above `top`.
export const UNITS = {
  none: { factor: 1, write: plain("") },
  percent: { factor: 1, ...fixed("%", 1), top: 100 },
  permille: { factor: 0.1, ...fixed("%", 1), top: 100 },
  kib: { factor: 1024, write: inBytes, steps: BINARY },
  bytes: { factor: 1, write: inBytes, steps: BINARY },
  kibRate: { factor: 1024, write: (value) => `${inBytes(value)}/s`, steps: BINARY },
  bytesRate: { factor: 1, write: (value) => `${inBytes(value)}/s`, steps: BINARY },
  rate: { factor: 1, write: plain("/s") },
  seconds: { factor: 1, write: inTime, steps: TIMES },
  ms: { factor: 1, write: plain("ms") },
  celsius: { factor: 1, ...fixed("°C", 1), free: true },
  millicelsius: { factor: 0.001, ...fixed("°C", 1), free: true },
  millivolts: { factor: 0.001, ...fixed("V", 3), free: true },
  milliamperes: { factor: 0.001, ...fixed("A", 3), free: true },
};

/// A value of a report as it is shown.
export function written(value, unit) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return typeof value === "object" ? JSON.stringify(value) : String(value);
  return unit.write(value * unit.factor);
}
