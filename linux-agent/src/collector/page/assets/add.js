// Adding a host: one command to paste there, with a code in it.

import { ask, send } from "./api.js";
import { el, setText } from "./dom.js";
import { isAdmin } from "./session.js";
import { count, duration, fullInstant } from "./words.js";

export const ADD_LINK = "#/add";

// How long a code may be good: seconds, and in words.
const LIVES = [[3600, "1 hour"], [86_400, "1 day"], [604_800, "7 days"]];

export class AddView {
  constructor() {
    this.group = el("select", { id: "group" });
    this.times = el("input", { id: "times", type: "number", min: "1", max: "10000", value: "1", required: true });
    this.life = el("select", { id: "life" }, LIVES.map(([seconds, text]) => el("option", { value: seconds }, text)));
    this.failure = el("p", { class: "error", role: "alert" });
    this.form = el(
      "form",
      { class: "login", hidden: true, submit: (event) => this.submit(event) },
      el("label", { for: "group" }, "Group, which says what the host monitors"),
      this.group,
      el("label", { for: "times" }, "How many hosts"),
      this.times,
      el("label", { for: "life" }, "Within"),
      this.life,
      el("button", { type: "submit", class: "main" }, "Make the command"),
    );
    this.command = el("code", { tabindex: "0" });
    this.copied = el("span", { role: "status" });
    this.until = el("p", { class: "note" });
    this.hint = el("p", { class: "note" });
    this.news = el("p", { role: "status" });
    this.result = el(
      "div",
      { class: "command", hidden: true },
      el("p", {}, "Run this on the host:"),
      el("pre", {}, this.command),
      el("p", {}, el("button", { type: "button", click: () => this.copy() }, "Copy"), " ", this.copied),
      this.until,
      this.hint,
      this.news,
    );
    this.note = el("p", { class: "empty", hidden: true });
    this.element = el("div", { class: "adding" }, el("p", {}, el("a", { href: "#/" }, "← All hosts")), el("h1", {}, "Add a host"), this.note, this.form, this.failure, this.result);
    this.begin();
  }

  destroy() {}

  follow() {}

  get title() {
    return "Add a host – mote";
  }

  async begin() {
    if (!isAdmin()) {
      this.explain("Only an admin may add hosts.");
      return;
    }
    try {
      const { groups, enroll_into: chosen } = await ask("api/invitations");
      if (groups.length === 0) {
        this.explain("The collector's settings have no groups. Add one such as [groups.servers], with templates that say what its hosts monitor.");
        return;
      }
      this.group.append(...groups.map((name) => el("option", { value: name, selected: name === chosen }, name)));
      this.form.hidden = false;
    } catch (error) {
      this.explain(error.message);
    }
  }

  explain(text) {
    setText(this.note, text);
    this.note.hidden = false;
  }

  async submit(event) {
    event.preventDefault();
    setText(this.failure, "");
    try {
      const wanted = { group: this.group.value, times: Number(this.times.value), valid_for_s: Number(this.life.value) };
      const { code, times, expires, certificate } = await send("api/invitations", wanted);
      const url = new URL(".", location.href).href.replace(/\/$/, "");
      setText(this.command, `mote enroll ${url} --code ${code}${certificate ? ` --certificate ${certificate}` : ""} --start`);
      setText(this.until, `The code is good for ${count(times, "host")} and ${duration(wanted.valid_for_s)}, until ${fullInstant(expires)}. It is shown only here and now.`);
      const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
      setText(this.hint, location.protocol === "https:" ? "As root, on a host that has the package mote or the static binary. systemd or OpenRC then runs the agent, where one of them knows it; elsewhere it runs until the host is started anew." : isLocal ? "This address leads to the host itself: it works on this machine alone." : "Hosts send a code over TLS only; give the collector a certificate (tls_cert_file) first.");
      setText(this.copied, "");
      this.result.hidden = false;
      this.known = this.seen;
      this.command.focus();
    } catch (error) {
      setText(this.failure, error.message);
    }
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.command.textContent);
      setText(this.copied, "Copied.");
    } catch {
      // Without TLS the browser does not let scripts copy.
      getSelection().selectAllChildren(this.command);
      setText(this.copied, "Selected: copy it with the keyboard.");
    }
  }

  /// Says who has come since the command was made.
  update({ hosts }) {
    this.seen = new Set(hosts.map((it) => it.client_id));
    if (this.result.hidden) return;
    // Who came between the last look and the code counts too.
    this.known ??= this.seen;
    const come = hosts.filter((it) => !this.known.has(it.client_id));
    setText(this.news, come.length === 0 ? "Waiting for the host…" : come.map((it) => `${it.label}: ${it.state === "never" ? "has enrolled" : "reports"}.`).join(" "));
  }
}
