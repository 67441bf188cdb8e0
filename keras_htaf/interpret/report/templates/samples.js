// The images that have pages, the errors by responsible bit, and the table of health.

const GROUPS = [
  ["wrong", "Wrong, and sure of it", "Decided wrongly, by the largest lead."],
  ["close", "Close calls", "Decided rightly, but few bits would change it."],
  ["clear", "Clear cases", "Decided rightly, by the largest lead of their class."],
  ["random", "At random", "What images are usually like."],
];

function sampleIndex() {
  put(view("samples"),
    h("h1", {}, "Images"),
    h("p", { class: "lead" }, `${count(data.samples.length, "image")} of ${N.toLocaleString("en")} ${data.samples.length === 1 ? "has" : "have"} a page: why the model decides so, and what it would decide with other bits.`),
    GROUPS.map(([group, title, words]) => {
      const ids = data.samples.filter((sample) => sample.group === group).map((sample) => sample.id);
      return ids.length ? h("section", {}, h("h2", {}, title), h("p", {}, words), strip(ids)) : null;
    }));
}

function mends(some, all) {
  if (all === 1) return some ? "mends it" : "does not mend it";
  return `mends ${some === 0 ? "none" : some === all ? "all" : some.toLocaleString("en")} of them`;
}

function errorGroup(group) {
  const name = group.bit === null ? "No single bit" : bitLink(group.bit);
  const words = group.bit === null ? "What all images have in common decides."
    : `Flipping this bit alone ${mends(group.mended, group.errors)}.`;
  return h("section", { class: "error-group" },
    h("h3", {}, name, " ", h("span", { class: "tag" }, count(group.errors, "error"))), h("p", {}, words),
    strip(group.samples.slice(0, 5)));
}

function errorIndex() {
  const all = data.errors.reduce((a, group) => a + group.errors, 0);
  const mended = data.errors.reduce((a, group) => a + group.mended, 0);
  const list = h("div", { class: "error-groups" }, data.errors.slice(0, 12).map(errorGroup));
  const rest = data.errors.slice(12);
  const more = rest.length ? h("button", { type: "button", class: "quiet", onclick: () => { list.append(...rest.map(errorGroup)); more.remove(); } }, count(rest.length, "more bit")) : null;
  put(view("errors"),
    h("h1", {}, "Errors, by responsible bit"),
    h("p", { class: "lead" }, all ? `${count(all, "decision")} of ${N.toLocaleString("en")} ${all === 1 ? "is" : "are"} wrong. Flipping the one bit that is most responsible ${mends(mended, all)}.` : "There are none among the analysed images."),
    all ? h("p", {}, "Responsible is the bit that pushed most from the right class to the decided one.") : null,
    list, more);
}

function sortable(table) {
  const [heads, body] = [[...table.tHead.rows[0].cells], table.tBodies[0]];
  const value = (row, i) => row.cells[i].dataset.sort ?? row.cells[i].textContent;
  heads.forEach((head, i) => head.querySelector("button").addEventListener("click", () => {
    const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    for (const each of heads) each.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", direction);
    const sign = direction === "ascending" ? 1 : -1;
    body.append(...[...body.rows].sort((a, b) => sign * value(a, i).localeCompare(value(b, i), "en", { numeric: true })));
  }));
}

const numeric = (text) => text.trim() !== "" && Number.isFinite(Number(text));

// What a spreadsheet would take for a formula is marked as text.
function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) && !numeric(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function csv(table) {
  const lines = [...table.rows].map((row) => [...row.cells].map((cell) => csvCell(cell.dataset.sort ?? cell.textContent.trim())).join(","));
  return lines.join("\r\n") + "\r\n";
}

function healthTable() {
  const table = document.getElementById("health-table");
  sortable(table);
  document.getElementById("save-table").addEventListener("click", () => download("bits.csv", "text/csv", csv(table)));
}
