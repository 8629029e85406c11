// Why a host does not report, or not all that it should, as far as it can be told from here.

import { failures } from "./figures.js";
import { count, instant, stateInWords } from "./words.js";

/// One sentence, or nothing where all is well.
export function whyOf(host, hosts, now) {
  const gateway = host.carried_by === undefined ? undefined : hosts.find((it) => it.client_id === host.carried_by);
  const isGatewayAway = gateway && (gateway.state === "silent" || gateway.state === "never");
  if (host.state !== "reporting" && isGatewayAway) return `Its gateway ${gateway.label}: ${stateInWords(gateway, now)}`;
  if (host.services.length === 0) return "Nothing is ordered of it: give it a template";
  if (host.state === "never") {
    const fetched = host.orders_fetched;
    return fetched === undefined ? "It has not asked for its orders since the collector began" : `It fetched its orders at ${instant(fetched, now)}`;
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
