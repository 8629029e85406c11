// Which charts a plugin has, and which unit each of its fields is in. linux-agent/docs/probes.md explains the fields.

import { UNITS } from "./units.js";
import { isObject, itemsOf } from "./figures.js";

/// A plugin that is not listed has a chart for each of its fields, at most so many.
const MAX_CHARTS = 12;

// `unit` of all fields, and `units` of those that differ. A chart: title, the fields with their labels (with items there
// is a line for each item), and `top` where the axis always ends there, or `quiet` where nothing but zeros is no chart.
// `less` draws what is left of 100. Of what `fills` a sentence says when it is full.
const NETWORK = {
  unit: "rate",
  units: { t_in: "kibRate", t_out: "kibRate" },
  charts: [
    { title: "Received", fields: { t_in: "received" } },
    { title: "Sent", fields: { t_out: "sent" } },
    { title: "Packets received", fields: { packets_in: "in" } },
    { title: "Packets sent", fields: { packets_out: "out" } },
    {
      title: "Errors and drops",
      fields: { errors_in: "errors in", errors_out: "errors out", drops_in: "drops in", drops_out: "drops out" },
      quiet: "No errors and no drops in this time.",
    },
  ],
};
const LOAD = {
  charts: [
    { title: "Load", fields: { load1: "1 min", load5: "5 min", load15: "15 min" } },
    { title: "Running tasks", fields: { running: "running" } },
  ],
};
const waits = (kind) => ({ [`cpu_${kind}_avg10`]: "CPU", [`memory_${kind}_avg10`]: "memory", [`io_${kind}_avg10`]: "I/O" });

const PLUGINS = {
  get_linux_cpu: {
    unit: "percent",
    charts: [
      {
        title: "CPU",
        less: "idle",
        fields: { idle: "busy", user: "user", system: "system", iowait: "I/O wait", nice: "nice", steal: "steal" },
      },
    ],
  },
  get_memory_info: {
    unit: "kib",
    units: { MemUsage_p: "percent", SwapUsage_p: "percent" },
    charts: [
      { title: "Memory used", fields: { MemUsage_p: "memory", SwapUsage_p: "swap" }, top: 100 },
      { title: "Memory", fields: { MemUsage: "used", Cached: "cached", MemAvailable: "available" } },
    ],
  },
  GetNetworkStatus: NETWORK,
  get_network_info: NETWORK,
  get_linux_load: LOAD,
  get_load_info: LOAD,
  host_alive_check: { units: { uptime: "seconds" }, charts: [{ title: "Time since boot", fields: { uptime: "uptime" } }] },
  get_disk_io: {
    unit: "rate",
    units: { read_bytes: "bytesRate", written_bytes: "bytesRate", busy_p: "percent", queue: "none" },
    charts: [
      { title: "Read", fields: { read_bytes: "read" } },
      { title: "Written", fields: { written_bytes: "written" } },
      { title: "Busy", fields: { busy_p: "busy" } },
      { title: "Requests in flight", fields: { queue: "in flight" } },
    ],
  },
  get_pressure: {
    unit: "percent",
    units: { omitted: "none" },
    charts: [
      { title: "Some tasks waited for", fields: waits("some") },
      { title: "All tasks waited for", fields: waits("full"), quiet: "At no time did all tasks wait." },
    ],
  },
  get_agent_health: {
    units: { cpu_p: "percent", rss_kib: "kib", queue_bytes: "bytes", uplink_latency_ms: "ms" },
    charts: [
      { title: "CPU of the agent", fields: { cpu_p: "of one CPU" } },
      { title: "Memory of the agent", fields: { rss_kib: "resident" } },
      { title: "Reports that wait", fields: { queued: "waiting" } },
      { title: "The server's answer took", fields: { uplink_latency_ms: "latency" } },
      { title: "Samples that were missed", fields: { missed_ticks: "missed" }, quiet: "No sample was missed." },
    ],
  },
  get_filesystem: {
    unit: "bytes",
    units: { used_p: "percent", read_only: "none", inodes: "none", inodes_used: "none", hung: "none", errno: "none" },
    charts: [
      { title: "Space used", fields: { used_p: "used" }, top: 100, fills: true },
      { title: "Space available", fields: { available: "available" } },
    ],
  },
  get_processes: {
    units: { forks: "rate", context_switches: "rate" },
    charts: [
      { title: "Processes", fields: { running: "running", blocked: "blocked", zombie: "zombie", stopped: "stopped" } },
      { title: "All processes", fields: { total: "total" } },
      { title: "Context switches", fields: { context_switches: "switches" } },
      { title: "Started", fields: { forks: "started" } },
    ],
  },
  LinuxSysInfo: { units: { ram: "kib" }, charts: [] },
  get_tcp: {
    units: { retransmits: "rate", listen_overflows: "rate" },
    charts: [
      {
        title: "Sockets",
        fields: { established: "established", listen: "listen", time_wait: "time wait", close_wait: "close wait" },
      },
      {
        title: "Sent again, and connections dropped",
        fields: { retransmits: "sent again", listen_overflows: "dropped" },
        quiet: "Nothing was sent again, no connection dropped.",
      },
    ],
  },
  get_temperature: { unit: "celsius", charts: [{ title: "Temperature", fields: { celsius: "temperature" } }] },
  get_clock: {
    units: { step_ms: "ms" },
    charts: [
      { title: "Synchronised (1)", fields: { synchronised: "synchronised" } },
      { title: "Off by at most, µs", fields: { max_error_us: "at most" } },
      { title: "Set by", fields: { step_ms: "step" }, quiet: "The clock was not set." },
    ],
  },
  get_cpu_cores: {
    units: { busy_p: "percent", steal_p: "percent" },
    charts: [
      { title: "Busy by CPU", fields: { busy_p: "busy" }, top: 100 },
      { title: "Frequency, MHz", fields: { frequency_mhz: "MHz" } },
    ],
  },
  get_cgroups: {
    unit: "bytes",
    units: {
      cpu_p: "percent", cpu_limit_p: "percent", throttled_p: "percent", read_bytes: "bytesRate",
      written_bytes: "bytesRate", tasks: "none", tasks_limit: "none", oom_kills: "none",
    },
    charts: [
      { title: "CPU time, of one CPU", fields: { cpu_p: "CPU" } },
      { title: "Memory", fields: { memory: "memory" } },
      { title: "Read", fields: { read_bytes: "read" } },
      { title: "Written", fields: { written_bytes: "written" } },
      { title: "Held back by its limit of CPU time", fields: { throttled_p: "held back" }, quiet: "Nothing was held back." },
      { title: "Killed for lack of memory", fields: { oom_kills: "killed" }, quiet: "Nothing was killed." },
    ],
  },
  get_mcu_load: {
    units: { load_permille: "permille" },
    charts: [
      { title: "Load", fields: { load_permille: "load" } },
      { title: "Wake-ups", fields: { wakeups: "wake-ups" } },
    ],
  },
  get_mcu_crash: { units: { uptime: "seconds" }, charts: [] },
  get_mcu_tasks: { unit: "permille", charts: [{ title: "Load by task", all: true }] },
  get_mcu_ram: {
    unit: "bytes",
    charts: [
      { title: "Stack", fields: { stack_peak: "peak", stack_free: "never used" } },
      { title: "Heap", fields: { heap_used: "used", heap_size: "size" } },
    ],
  },
  get_climate: {
    units: { millicelsius: "millicelsius", humidity_permille: "permille" },
    charts: [
      { title: "Temperature", fields: { millicelsius: "temperature" } },
      { title: "Humidity", fields: { humidity_permille: "humidity" } },
    ],
  },
  get_supply: {
    units: { millivolts: "millivolts", milliamperes: "milliamperes" },
    charts: [
      { title: "Voltage", fields: { millivolts: "voltage" } },
      { title: "Current", fields: { milliamperes: "current" } },
    ],
  },
};

// Names such as "constructor" are no plugins.
const known = (plugin) => (Object.hasOwn(PLUGINS, plugin) ? PLUGINS[plugin] : {});

// What most people ask first stands first on the page.
const FIRST = ["get_linux_cpu", "get_memory_info", "get_linux_load", "get_load_info", "get_filesystem", "GetNetworkStatus", "get_network_info", "get_disk_io"];
const LAST = ["host_alive_check", "get_agent_health"];

/// Where a plugin's charts stand on the page: the smaller, the higher.
export function rankOf(plugin) {
  if (FIRST.includes(plugin)) return FIRST.indexOf(plugin);
  return FIRST.length + 1 + LAST.indexOf(plugin);
}

/// The unit of a field.
export function unitOf(plugin, field) {
  const { unit = "none", units = {} } = known(plugin);
  return UNITS[Object.hasOwn(units, field) ? units[field] : unit];
}

/// The charts of a service, from what its plugin is and what its last data has: title, unit, and the label of each field.
export function chartsOf(plugin, data) {
  const present = numericFields(data);
  const { charts } = known(plugin);
  if (charts === undefined) {
    return present.slice(0, MAX_CHARTS).map((field) => chart(plugin, { title: field, fields: { [field]: field } }));
  }
  return charts
    .map((it) => (it.all ? { ...it, fields: Object.fromEntries(present.map((field) => [field, field])) } : it))
    // Without data nobody knows which are missing.
    .filter((it) => present.length === 0 || Object.keys(it.fields).some((field) => present.includes(field)))
    .map((it) => chart(plugin, it));
}

function chart(plugin, { title, fields, top, quiet, less, fills }) {
  const labels = new Map(Object.entries(fields));
  return { title, labels, top, quiet, less, fills, unit: unitOf(plugin, [...labels.keys()][0] ?? "") };
}

function numericFields(data) {
  if (!isObject(data)) return [];
  const parts = itemsOf(data)?.map(([, fields]) => fields) ?? [data];
  const fields = parts.flatMap((part) => Object.keys(part).filter((field) => typeof part[field] === "number"));
  return [...new Set(fields)].filter((field) => field !== "status" && field !== "omitted");
}

/// What a report says beside the figures of its charts: pairs of name and value.
export function factsOf(plugin, data, charts) {
  if (!isObject(data)) return [];
  const drawn = new Set(charts.flatMap((it) => [...it.labels.keys()]));
  return Object.entries(data).filter(([field, value]) => field !== "status" && !drawn.has(field) && !isObject(value));
}
