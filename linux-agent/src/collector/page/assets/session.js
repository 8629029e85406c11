// Who is logged in, the form to log in, and the way out.

import { ask, send } from "./api.js";
import { el, setText } from "./dom.js";

/// What the collector told last: `me`, if this browser may look; else `why` not. `log_in`: whether a password would do.
export let told = {};

/// Why the link of the start did not work.
let refused;

/// Asks who this is.
export async function whoAmI() {
  told = await ask("api/me");
  updateWho();
}

/// Whether who looks may change something.
export const isAdmin = () => told.me?.role === "admin";

const who = document.getElementById("who");

function updateWho() {
  const { me } = told;
  const canLeave = me?.by === "session" || me?.by === "link";
  const name = me?.user ?? (me?.by === "link" ? "by link" : undefined);
  who.replaceChildren();
  if (name !== undefined) who.append(el("span", {}, `${name}${me.role === "viewer" ? " (viewer)" : ""}`));
  if (canLeave) who.append(el("button", { type: "button", click: logOut }, "Log out"));
}

async function logOut() {
  // Whatever becomes of it: what was seen is gone from the screen.
  await send("api/logout").catch(() => undefined);
  location.hash = "";
  location.reload();
}

/// Opens a session with the code in the link of the start.
export async function enter(code) {
  refused = undefined;
  await send("api/enter", { code }).catch((error) => (refused = error.message));
}

/// In place of a view, as long as this browser may not look.
export class LoginView {
  constructor(done) {
    this.done = done;
    const input = (name, type, hint) => el("input", { id: name, name, type, autocomplete: hint, required: true, autocapitalize: "none", spellcheck: "false" });
    this.user = input("user", "text", "username");
    this.password = input("password", "password", "current-password");
    this.failure = el("p", { class: "error", role: "alert" });
    this.button = el("button", { type: "submit", class: "main" }, "Log in");
    this.form = el(
      "form",
      { class: "login", submit: (event) => this.submit(event) },
      el("h1", {}, "Log in"),
      el("label", { for: "user" }, "Name"),
      this.user,
      el("label", { for: "password" }, "Password"),
      this.password,
      this.failure,
      this.button,
    );
    this.why = el("p", { class: "empty" });
    this.element = el("div", {}, this.form, this.why);
    this.update();
  }

  get title() {
    return "Log in – mote";
  }

  destroy() {}

  update() {
    this.form.hidden = !told.log_in;
    this.why.hidden = Boolean(told.log_in);
    setText(this.why, refused ?? (told.why ? `The collector says: ${told.why}.` : ""));
  }

  focus() {
    if (told.log_in) this.user.focus({ preventScroll: true });
  }

  async submit(event) {
    event.preventDefault();
    this.button.disabled = true;
    setText(this.failure, "");
    try {
      await send("api/login", { user: this.user.value, password: this.password.value });
      this.password.value = "";
      this.done();
    } catch (error) {
      setText(this.failure, error.message);
      this.password.select();
    }
    this.button.disabled = false;
  }
}
