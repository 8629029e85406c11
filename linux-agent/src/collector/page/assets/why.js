// Why a host does not report, or not all that it should, as far as it can be told from here, and what alarms it has.

import { failures } from "./figures.js";
import { count, instant, stateInWords } from "./words.js";

/// An alarm that tells more than that its host is late.
export const isOfItsOwn = (alarm) => alarm.name !== "late";

/// disk_full /srv since 03:12
export function alarmInWords({ name, item, since }, now) {
  return `${item ? `${name} ${item}` : name} since ${instant(since, now)}`;
}

/// One sentence, or nothing where all is well.
export function whyOf(host, { hosts, now, active }) {
  const [why, alarmed] = [reason(host, hosts, now), alarms(host, active, now)];
  if (!alarmed) return why;
  return why ? `${why}; alarm ${alarmed}` : `Alarm ${alarmed}`;
}

function alarms(host, active, now) {
  const [first, ...others] = active.filter((it) => it.client_id === host.client_id && isOfItsOwn(it));
  if (!first) return "";
  return `${alarmInWords(first, now)}${first.silence ? ", silenced" : ""}${others.length > 0 ? `, and ${count(others.length, "more alarm")}` : ""}`;
}

function reason(host, hosts, now) {
  const gateway = host.carried_by === undefined ? undefined : hosts.find((it) => it.client_id === host.carried_by);
  const isGatewayAway = gateway && (gateway.state === "silent" || gateway.state === "never");
  if (host.state !== "reporting" && isGatewayAway) return `Its gateway ${gateway.label}: ${stateInWords(gateway, now)}`;
  if (host.refused !== undefined) return `Refused: it has no valid token, last at ${instant(host.refused, now)}; enroll it again`;
  if (host.services.length === 0) return "Nothing is ordered of it: give it a template";
  if (host.state === "never") {
    const fetched = host.orders_fetched;
    return fetched === undefined ? "It has not asked for its orders since the collector began" : `It fetched its orders at ${instant(fetched, now)}`;
  }
  if (host.state === "silent") {
    const { last, orders_fetched: fetched } = host;
    const isHeard = fetched !== undefined && last !== undefined && fetched > last;
    return isHeard ? `No report comes, but it asked for its orders at ${instant(fetched, now)}: its agent ran then` : "Nothing is heard of it: its agent, its network or the host itself is down";
  }
  const bad = host.services.filter((it) => it.state === "late" || it.state === "silent");
  if (host.state === "late" && bad.length > 0) {
    const [first] = bad;
    return `${first.name}: ${stateInWords(first, now)}${bad.length > 1 ? `, and ${count(bad.length - 1, "more service")} too` : ""}`;
  }
  const [first, ...others] = failures(host);
  if (!first) return "";
  return `${first.name} fails: ${first.error}${others.length > 0 ? `, and ${count(others.length, "more service")}` : ""}`;
}
