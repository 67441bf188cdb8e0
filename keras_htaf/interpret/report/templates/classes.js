// All classes, and the page of one: points, rule, and what separates it from another.

const CLASSES = { index: "classes", prefix: "class", all: "All classes" };

function confusion() {
  const table = Array.from({ length: K }, () => new Map());
  for (let i = 0; i < N; i++) if (labels[i] !== decisions[i]) table[labels[i]].set(decisions[i], (table[labels[i]].get(decisions[i]) || 0) + 1);
  return table;
}
const confused = confusion();
const wrongOf = (k) => [...confused[k].values()].reduce((a, b) => a + b, 0);
const recall = (k) => 1 - wrongOf(k) / data.class_samples[k];

function classIndex() {
  put(view("classes"),
    h("h1", {}, "The classes"),
    h("p", { class: "lead" }, "What speaks for each class, and which others it is taken for."),
    h("div", { class: "cards" }, Array.from({ length: K }, (_, k) => {
      const most = [...confused[k]].sort((a, b) => b[1] - a[1])[0];
      return h("a", { class: "card bit-card", href: `#class-${k}` }, h("strong", {}, className(k)),
        h("span", { class: "words" }, data.class_samples[k] ? `${percent(recall(k), 1)} of ${count(data.class_samples[k], "image")} are found` : "no images",
          most ? `; most often taken for ${className(most[0])} (${most[1]}×)` : "", "."));
    })));
}

function scorecard(k) {
  const card = data.scorecard;
  if (card.missing) return h("p", { class: "missing" }, card.missing);
  const column = card.points.map((row) => row[k]);
  const lines = order(M, (j) => Math.abs(column[j])).filter((j) => column[j]);
  const most = Math.max(1, ...column.map(Math.abs));
  const row = (j) => h("tr", {}, h("th", { scope: "row" }, bitLink(j)),
    h("td", {}, h("span", { class: `points ${column[j] < 0 ? "minus" : "plus"}` }, h("span", { style: { width: `${(50 * Math.abs(column[j])) / most}%` } }))),
    h("td", { class: column[j] < 0 ? "against" : "for" }, signed(column[j], 0)));
  const body = h("tbody", {}, lines.slice(0, 10).map(row));
  const more = lines.length > 10 ? h("button", { type: "button", class: "quiet", onclick: () => { put(body, lines.map(row)); more.remove(); } }, `All ${lines.length} bits with points`) : null;
  return [h("p", {}, `Start with ${signed(card.base[k], 0)} and add the points of each bit that is on; the class with the most points is the decision. `,
    h("span", { class: "hint" }, `Such cards decide ${percent(card.accuracy, 1)} of held-out images rightly, the exact weights ${percent(card.head_accuracy, 1)}.`)),
  h("div", { class: "scroll" }, h("table", { class: "points-table" }, h("caption", { class: "hidden" }, "Points of bits"), body)), more];
}

function rule(k) {
  const rules = data.rules;
  if (rules.missing) return h("p", { class: "missing" }, rules.missing);
  const { terms, precision, coverage } = rules.rules[k];
  const literal = ([j, value]) => h("span", { class: "literal" }, value ? "" : h("em", {}, "not "), bitLink(j));
  const ands = terms.map((term) => h("li", {}, term.length ? term.flatMap((each, i) => [i ? " and " : "", literal(each)]) : "always"));
  return [
    ands.length ? h("ul", { class: "rule" }, ands) : h("p", {}, "Never."),
    h("p", { class: "hint" }, rules.exact ? "Exactly the model, on every code that its bits can form."
      : `An approximation. Where it holds, the model decides so in ${percent(precision, 1)} of the cases; it covers ${percent(coverage, 1)} of the decisions for this class.`)];
}

function contrast(k) {
  const others = order(K, (i) => confused[k].get(i) || 0).filter((i) => i !== k && data.class_samples[i]);
  if (!others.length || !data.class_samples[k]) return h("p", { class: "missing" }, "There are no images of two classes to compare.");
  const place = h("div", { class: "scroll" });
  const select = h("select", { id: "contrast" }, others.map((i) => h("option", { value: i }, className(i))));
  const fill = () => {
    const other = Number(select.value);
    const separation = (j) => (weights[j * K + k] - weights[j * K + other]) * (shareIn(k, j) - shareIn(other, j));
    const best = order(M, separation).slice(0, 8);
    const most = Math.max(1e-9, separation(best[0]));
    put(place, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Bit"), h("th", { scope: "col" }, `on for ${className(k)}`),
      h("th", { scope: "col" }, `on for ${className(other)}`), h("th", { scope: "col", colspan: 2 }, "separates by"))),
    h("tbody", {}, best.map((j) => h("tr", {}, h("th", { scope: "row" }, bitLink(j)), h("td", {}, percent(shareIn(k, j))), h("td", {}, percent(shareIn(other, j))),
      h("td", {}, bar(0, Math.max(0, separation(j) / most), "share")), h("td", {}, separation(j).toFixed(2)))))));
  };
  select.addEventListener("change", fill);
  fill();
  return [h("p", { class: "controls" }, h("label", { for: "contrast" }, `${className(k)}, rather than`), select), place,
    h("p", { class: "hint" }, "Over all bits these numbers add up to the difference of the two classes’ mean leads.")];
}

function classPage(k) {
  const taken = [...confused[k]].sort((a, b) => b[1] - a[1]).slice(0, 4);
  const mine = data.samples.filter((sample) => labels[sample.id] === k).map((sample) => sample.id);
  put(view("classes"),
    neighboursOf(CLASSES, k, Array.from({ length: K }, (_, i) => i), className),
    h("h1", {}, className(k)),
    h("p", { class: "lead" }, data.class_samples[k] ? `${percent(recall(k), 1)} of ${count(data.class_samples[k], "image")} are found.` : "No images of this class were analysed.",
      taken.length ? [" The others are taken for ", ...listed(taken.map(([i, n]) => h("span", {}, classLink(i), ` (${n}×)`))), "."] : null),
    h("div", { class: "two even" },
      h("section", {}, h("h2", {}, "Its scorecard"), scorecard(k)),
      h("div", {}, h("section", {}, h("h2", {}, "As a rule"), rule(k)), h("section", {}, h("h2", {}, "What separates it from another"), contrast(k)))),
    mine.length ? [h("h2", {}, "Images with a page"), strip(mine)] : null);
}
