// Elements. Text from outside becomes text nodes and nothing else.

/// An element with attributes (or properties, for functions and flags) and children: nodes, texts, or nothing.
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(key, value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/// Sets a text only if it differs, so that selections and screen readers are left alone.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/// Sets an attribute only if it differs; undefined takes it away.
export function setAttribute(element, name, value) {
  if (value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/// Shows or hides it, only if that is new.
export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/// Gives `parent` these children in this order. Those that stay in place are not touched; focus is kept.
export function setChildren(parent, children) {
  const focused = document.activeElement;
  const wanted = new Set(children);
  for (const child of [...parent.children]) {
    if (!wanted.has(child)) child.remove();
  }
  let at = parent.firstElementChild;
  for (const child of children) {
    // One that left its place for a later one: the others stay where they are.
    if (child !== at && child === at?.nextElementSibling) {
      at.remove();
      at = child;
    }
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/// A choice of one among a few: buttons of which one is pressed.
export function choice(label, options, chosen, choose) {
  const buttons = options.map(([value, text]) =>
    el("button", { type: "button", "aria-pressed": String(value === chosen), click: () => choose(value) }, text),
  );
  return el("div", { class: "choice", role: "group", "aria-label": label }, buttons);
}

/// Hands a text to the person as a file.
export function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
