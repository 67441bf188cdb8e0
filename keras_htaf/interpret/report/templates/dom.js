// Elements. Texts become text nodes, never markup: a name may contain anything.

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, each] of Object.entries(value)) element.style.setProperty(name, each);
    else element.setAttribute(key === "class" ? "class" : key, value === true ? "" : value);
  }
  return put(element, ...children);
}

// Makes these the children of an element; what is missing is left out.
function put(element, ...children) {
  const there = (child) => child !== null && child !== undefined && child !== false;
  element.replaceChildren(...children.flat(Infinity).filter(there));
  return element;
}

const view = (name) => document.getElementById(`view-${name}`);

function say(text) {
  document.getElementById("status").textContent = text;
}

function download(name, kind, text) {
  const url = URL.createObjectURL(new Blob([text], { type: kind }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// A bar from 0 to a share, or from one share to another, in percent of the track.
function bar(from, to, style) {
  const [left, right] = [Math.min(from, to), Math.max(from, to)];
  return h("span", { class: `track ${style}`, "aria-hidden": "true" },
    h("span", { class: "fill", style: { left: `${100 * left}%`, width: `${100 * (right - left)}%` } }));
}

// Links to the things before and after, which the arrow keys follow too.
function neighboursOf(kind, at, all, title) {
  const before = all[at - 1], after = all[at + 1];
  return h("p", { class: "pager" },
    h("a", { href: `#${kind.index}` }, kind.all),
    before === undefined ? null : h("a", { href: `#${kind.prefix}-${before}`, rel: "prev" }, `← ${title(before)}`),
    after === undefined ? null : h("a", { href: `#${kind.prefix}-${after}`, rel: "next" }, `${title(after)} →`));
}

const className = (k) => data.classes[k];
const classLink = (k) => h("a", { href: `#class-${k}` }, className(k));

// Words with commas, and "and" before the last.
function listed(parts) {
  return parts.flatMap((part, i) => (i === 0 ? [part] : [i === parts.length - 1 ? " and " : ", ", part]));
}
