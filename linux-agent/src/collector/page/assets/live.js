// The hosts as they change: events of the collector, each with what is new.

/// Without a word for this long, the stream is dead.
const SILENCE_MS = 15_000;

export class Live {
  /// `told` gets all hosts, and how many alarms there are, after each event, `ended` nothing once the stream is no more.
  constructor(before, told, ended) {
    Object.assign(this, { hosts: before, told, ended });
    this.source = new EventSource("api/live");
    this.source.addEventListener("hosts", (event) => this.take(event));
    // Whoever made this asks why.
    this.source.addEventListener("error", () => this.end());
    this.watch();
  }

  close() {
    clearTimeout(this.timer);
    this.source.close();
  }

  end() {
    this.close();
    this.ended();
  }

  watch() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(), SILENCE_MS);
  }

  take(event) {
    this.watch();
    const { now, alarms, alarmed, whole, hosts } = JSON.parse(event.data);
    const before = this.hosts;
    const news = new Map(hosts.map((it) => [it.client_id, it]));
    // Who was late is later now.
    if (!before && !whole) return;
    const later = (host) => (host.late_s === undefined ? host : { ...host, late_s: host.late_s + (now - before.now) });
    this.hosts = { now, alarms, alarmed, hosts: whole ? hosts : before.hosts.map((it) => news.get(it.client_id) ?? later(it)) };
    this.told(this.hosts);
  }
}
