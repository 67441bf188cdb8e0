// All bits, and the page of one.

const BITS = { index: "bits", prefix: "bit", all: "All bits" };
const ORDERS = {
  "what they say about the class": (j) => data.bits[j].information,
  "how much they decide alone": (j) => data.bits[j].flip_rate,
  "how often they are on": (j) => usage[j],
  "their numbers": (j) => -j,
};

const shareIn = (k, j) => given[k * M + j];

function sentence(j) {
  if (usage[j] === 0) return "Never on for these images: it says nothing.";
  if (usage[j] === 1) return "On for all of these images: it says nothing.";
  const known = order(K, (k) => (Number.isNaN(shareIn(k, j)) ? -1 : shareIn(k, j))).filter((k) => !Number.isNaN(shareIn(k, j)));
  const often = known.filter((k) => shareIn(k, j) >= Math.max(0.5, 1.5 * usage[j])).slice(0, 4);
  const rarely = known.filter((k) => shareIn(k, j) <= 0.05).reverse().slice(0, 3);
  const some = often.length ? often : known.slice(0, 2);
  const parts = [`On for ${percent(usage[j])} of the images, `, often.length ? "mostly of " : "most often of ",
    ...listed(some.map((k) => `${className(k)} (${percent(shareIn(k, j))})`))];
  if (rarely.length) parts.push("; hardly ever of ", ...listed(rarely.map((k) => className(k))));
  return parts.join("") + ".";
}

function card(j, images = 5) {
  const shown = data.bits[j].random.slice(0, images);
  return h("a", { class: "card bit-card", href: `#bit-${j}` },
    h("strong", { "data-name": j }, shownName(j)),
    h("span", { class: "strip small" }, shown.map((id) => picture(id, 40))),
    h("span", { class: "words" }, sentence(j)));
}

function bitIndex() {
  const cards = h("div", { class: "cards many" });
  const state = h("p", { class: "hint", role: "status" });
  const select = h("select", { id: "bit-order" }, Object.keys(ORDERS).map((name) => h("option", {}, name)));
  const search = h("input", { id: "bit-search", type: "search", placeholder: "name or class" });
  const fill = () => {
    const wanted = search.value.trim().toLowerCase();
    const found = order(M, ORDERS[select.value]).filter((j) => !wanted || `${names[j]} ${sentence(j)}`.toLowerCase().includes(wanted));
    state.textContent = wanted ? count(found.length, "bit") : "";
    put(cards, found.map((j) => card(j)));
  };
  select.addEventListener("change", fill);
  search.addEventListener("input", fill);
  put(view("bits"),
    h("h1", {}, "The bits"),
    h("p", { class: "lead" }, "Each is shown with images drawn at random among those that switch it on: what they have in common is what it may mean."),
    h("div", { class: "controls" },
      h("label", { for: "bit-order" }, "Sort by"), select,
      h("label", { for: "bit-search" }, "Find"), search),
    state, cards);
  fill();
}

function gallery(j) {
  const { strongest, random } = data.bits[j];
  const mapped = data.maps !== null && [...strongest, ...random].some((id) => hasMap(id, j));
  const rows = h("div", {});
  const fill = (maps) => put(rows, [
    ["Images that switch it on most strongly", strongest],
    ["Images that switch it on, drawn at random", random],
  ].flatMap(([title, ids]) => (ids.length ? [h("h3", {}, title), strip(ids, maps ? { bit: j } : {})] : [])));
  const button = h("button", {
    type: "button", class: "quiet", "aria-pressed": "true",
    onclick: () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", on);
      fill(on);
    },
  }, "Show where");
  fill(mapped);
  const legend = h("span", { class: "hint" }, " ", h("span", { class: "for" }, "■ for the bit "), h("span", { class: "against" }, "■ against it"),
    data.maps && data.maps.kind === "exact" ? ". The mean of a map is exactly the bit’s logit." : ". By occlusion: approximate.");
  return h("section", {}, mapped ? h("p", { class: "controls" }, button, legend) : null, rows);
}

function histogram(j) {
  const found = data.bits[j].histogram;
  if (!found) return null;
  const most = Math.max(...found.counts);
  return h("section", {}, h("h3", {}, "How clearly it is on or off"),
    h("div", { class: "histogram", role: "img", "aria-label": `Histogram of the concept logit from ${found.low} to ${found.high}; on above 0, for ${percent(usage[j])} of the images` },
      found.counts.map((n, i) => h("span", { class: i < found.below ? "off" : "on", style: { height: `${(100 * n) / most}%` } }))),
    h("p", { class: "axis num" }, h("span", {}, found.low.toFixed(1)), h("span", {}, "concept logit; above 0 the bit is on"), h("span", {}, found.high.toFixed(1))));
}

function classTable(j) {
  const rows = order(K, (k) => (Number.isNaN(shareIn(k, j)) ? -1 : shareIn(k, j)));
  const shown = (some) => some.map((k) => h("tr", {},
    h("th", { scope: "row" }, classLink(k)),
    h("td", {}, bar(0, Number.isNaN(shareIn(k, j)) ? 0 : shareIn(k, j), "share")), h("td", {}, percent(shareIn(k, j))),
    h("td", { class: effect[k * M + j] < 0 ? "against" : "for" }, `${signed(100 * effect[k * M + j], 1)}`)));
  const body = h("tbody", {}, shown(rows.slice(0, 12)));
  const more = rows.length > 12 ? h("button", { type: "button", class: "quiet", onclick: () => { put(body, shown(rows)); more.remove(); } }, `All ${rows.length} classes`) : null;
  return h("section", {}, h("h3", {}, "Classes"),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Class"), h("th", { scope: "col", colspan: 2 }, "on for"),
      h("th", { scope: "col", title: "By how many points switching the bit on raises the mean probability of the class" }, "effect"))), body)), more,
    h("p", { class: "hint" }, "Effect: by how many points the mean probability of the class rises if the bit is switched on."));
}

function facts(j) {
  const bit = data.bits[j];
  const lines = [
    ["says of the class", `${bit.information.toFixed(3)} bits`],
    ["decides alone", `flipping it changes ${percent(bit.flip_rate, 1)} of the decisions`],
    ["close calls", bit.ambiguous === null ? null : `${percent(bit.ambiguous, 1)} of the images are close to its threshold`],
    ["most like", bit.partner < 0 ? null : [bit.complement ? "the opposite of " : "", bitLink(bit.partner), ` (|phi| ${bit.redundancy.toFixed(2)})`]],
    ["known attribute", bit.attribute ? `${bit.attribute.negated ? "not " : ""}“${bit.attribute.name}” fits best (F1 ${bit.attribute.f1.toFixed(2)})` : null],
  ];
  return h("dl", { class: "facts" }, lines.filter(([, text]) => text).map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

function bitPage(j) {
  const sorted = order(M, ORDERS["their numbers"]);
  put(view("bits"),
    neighboursOf(BITS, j, sorted, (i) => `bit ${i}`),
    h("h1", { "data-name": j }, shownName(j)),
    h("p", { class: "lead" }, sentence(j)),
    nameField(j), gallery(j),
    h("div", { class: "two even" }, classTable(j), h("div", {}, histogram(j), facts(j))));
}
