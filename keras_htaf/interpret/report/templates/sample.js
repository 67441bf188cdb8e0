// The page of one image: why it is decided so, and what would be decided with other bits.

const IMAGES = { index: "samples", prefix: "image", all: "All images" };
const ROWS = 9, SWITCHES = 16, FEW = 8;

// One bit of a waterfall: from one height to another, around 0.
function step(label, from, to, reach, tags, style) {
  const at = (value) => (value + reach) / (2 * reach);
  return h("li", { class: `step ${style || ""}` },
    h("span", { class: "label" }, label, (tags || []).flatMap((tag) => [" ", tag])),
    h("span", { class: "rail", "aria-hidden": "true" }, h("span", { class: "zero" }), bar(at(from), at(to), to >= from ? "plus" : "minus")),
    h("span", { class: `amount num ${style ? "" : to >= from ? "for" : "against"}` }, signed(style ? to : to - from)));
}

function waterfall(code, y, k, needed) {
  const { base, pushes } = contributions(code, y, k);
  const sorted = order(M, (j) => Math.abs(pushes[j])).filter((j) => pushes[j]);
  const [shown, rest] = [sorted.slice(0, ROWS), sorted.slice(ROWS)];
  const sum = rest.reduce((a, j) => a + pushes[j], 0);
  const heights = [base];
  for (const j of shown) heights.push(heights[heights.length - 1] + pushes[j]);
  const total = heights[heights.length - 1] + sum;
  const reach = 1.05 * Math.max(1e-9, ...heights.map(Math.abs), Math.abs(total));
  return h("ol", { class: "waterfall" },
    step("the average image", 0, base, reach, null, "sum"),
    shown.map((j, i) => step(bitLink(j), heights[i], heights[i + 1], reach,
      [h("span", { class: `tag state ${code[j] ? "good" : ""}` }, code[j] ? "on" : "off"), needed.has(j) ? h("span", { class: "tag need", title: "One of the bits that are enough for the decision" }, "needed") : null])),
    rest.length ? step(count(rest.length, "other bit"), total - sum, total, reach, null) : null,
    step(`lead of ${className(y)}`, 0, total, reach, null, "sum"));
}

const plainly = (number) => number.toFixed(2).replace("-", "−");

function logitBars(logits, best) {
  const shown = order(K, (k) => logits[k]).slice(0, 6);
  const [high, low] = [logits[shown[0]], Math.min(...shown.map((k) => logits[k]))];
  return h("ul", { class: "logits" }, shown.map((k) => h("li", { class: k === best ? "best" : "", "data-class": k, "data-logit": String(logits[k]) },
    h("span", { class: "label" }, className(k)), bar(0, 0.06 + 0.94 * (high > low ? (logits[k] - low) / (high - low) : 1), k === best ? "plus" : "share"), h("span", { class: "num" }, plainly(logits[k])))));
}

function samplePage(id) {
  const place = pages.get(id);
  const sample = data.samples[place];
  const original = codeOf(id);
  const code = original.slice();
  const first = logitsOf(original);
  const y = decide(first);
  let rival = runnerUp(first, y);
  const needed = new Set(sample.sufficient);

  const sums = h("div", {}), fall = h("div", {}), reality = h("p", { class: "hint" });
  const answer = h("p", { class: "answer", id: "prediction", role: "status" });
  const select = h("select", { id: "rival", onchange: () => { rival = Number(select.value); refresh(); } },
    order(K, (k) => first[k]).filter((k) => k !== y).map((k) => h("option", { value: k }, className(k))));
  const reset = h("button", { type: "button", disabled: true, onclick: () => { code.set(original); refresh(); } }, "As it was");
  const change = sample.flips === null ? null : h("button", { type: "button", class: "primary", onclick: () => {
    code.set(original);
    for (const j of sample.flips) code[j] ^= 1;
    refresh();
  } }, "Try the smallest change");

  const starts = contributions(original, y, rival).pushes;
  const byPush = order(M, (j) => Math.abs(starts[j]));
  const switches = h("div", { class: "switches" });
  const toggle = (j) => h("button", {
    type: "button", role: "switch", "data-bit": j, "aria-checked": "false", class: "switch",
    onclick: () => { code[j] ^= 1; refresh(); },
  }, h("span", { class: "knob", "aria-hidden": "true" }), nameOf(j));
  const enoughToShow = sample.sufficient.length <= FEW ? sample.sufficient : [];
  const early = new Set([...byPush.slice(0, SWITCHES), ...(sample.flips || []), ...enoughToShow]);
  put(switches, byPush.filter((j) => early.has(j)).map(toggle));
  const more = M > early.size ? h("button", { type: "button", class: "quiet", onclick: () => {
    switches.append(...byPush.filter((j) => !early.has(j)).map(toggle));
    more.remove();
    refresh();
  } }, `All ${M} bits`) : null;

  function refresh() {
    const logits = logitsOf(code);
    const best = decide(logits);
    let flipped = 0;
    for (let j = 0; j < M; j++) flipped += code[j] ^ original[j];
    answer.dataset.class = best;
    put(answer, h("strong", {}, className(best)), flipped ? `, with ${count(flipped, "bit")} changed` : ", as the model decides",
      best === y ? "" : h("span", { class: "tag bad" }, `was ${className(y)}`));
    for (const button of switches.children) {
      const j = Number(button.dataset.bit);
      button.setAttribute("aria-checked", String(code[j] === 1));
      button.classList.toggle("changed", code[j] !== original[j]);
    }
    reset.disabled = flipped === 0;
    put(sums, logitBars(logits, best));
    put(fall, waterfall(code, y, rival, needed));
    if (flipped) {
      const { sample: near, distance, same } = nearestTo(code);
      put(reality, same ? `${count(same, "image")} of those analysed ${same === 1 ? "has" : "have"} exactly this code.`
        : `No image analysed has this code; the nearest, image ${near} (${className(labels[near])}), differs in ${count(distance, "bit")}.`);
    } else put(reality, "Turn bits over to see what the model would decide: the sums are those of Python’s analysis, to the last digit.");
  }

  const ids = data.samples.map((each) => each.id);
  put(view("samples"),
    neighboursOf(IMAGES, place, ids, (i) => `image ${i}`),
    h("h1", {}, `Image ${id}`),
    h("div", { class: "sample-head" },
      picture(id, 160),
      h("div", {},
        h("p", { class: "lead" }, "Labelled ", classLink(labels[id]), ", decided ", classLink(y), labels[id] === y ? h("span", { class: "tag good" }, "right") : h("span", { class: "tag bad" }, "wrong")),
        enough(sample), smallestChange(sample, original, y))),
    h("div", { class: "two even" },
      h("section", {}, h("h2", {}, "Why"), h("p", { class: "controls" }, h("label", { for: "rival" }, `${className(y)}, rather than`), select), fall),
      h("section", {}, h("h2", {}, "What if"), answer, sums, h("p", { class: "controls" }, change, reset), reality, switches, more)),
    looks(sample, place),
    h("h2", {}, "Images with the most similar bits"),
    h("div", { class: "strip" }, sample.neighbours.map(([i, d]) => tile(i, { note: count(d, "bit") + " apart" }))));
  refresh();
}

const states = (bits, code) => listed([...bits].map((j) => h("span", {}, bitLink(j), code[j] ? " on" : " off")));

function enough(sample) {
  const bits = sample.sufficient, code = codeOf(sample.id);
  if (!bits.length) return h("p", {}, "No bit is needed: every code is decided so.");
  const claim = sample.minimum ? "No smaller set does." : `None of them can be left out; another set might do with ${sample.at_least}.`;
  const few = bits.length <= FEW;
  const shown = few ? states(bits, code) : h("details", {}, h("summary", {}, "which ones"), states(bits, code));
  return h("div", { class: "gap" }, h("strong", {}, `${count(bits.length, "bit")} ${bits.length === 1 ? "is" : "are"} enough: `), few ? [shown, ". "] : "", claim, few ? null : shown);
}

function smallestChange(sample, code, y) {
  if (sample.flips === null) return h("p", {}, "No change of bits leads to another decision.");
  const flipped = code.slice();
  for (const j of sample.flips) flipped[j] ^= 1;
  return h("p", {}, h("strong", {}, "Smallest change: "), `with `, states(sample.flips, flipped), ` it is `, classLink(decide(logitsOf(flipped))), `. No change of fewer bits does it.`);
}

function looks(sample, place) {
  const mapped = sample.maps.filter((j) => hasMap(sample.id, j));
  if (!mapped.length && !data.cams) return null;
  const code = codeOf(sample.id);
  return h("section", {}, h("h2", {}, "Where"),
    h("p", { class: "hint" }, h("span", { class: "for" }, "■ for the bit "), h("span", { class: "against" }, "■ against it"),
      data.cams ? [" ", h("span", { class: "seen" }, "■ strong features, whatever for (Eigen-CAM)")] : null),
    h("div", { class: "strip" },
      mapped.map((j) => h("span", { class: "tile" }, picture(sample.id, 96, mapOf(sample.id, j)), h("span", { class: "caption" }, bitLink(j), code[j] ? " on" : " off"))),
      data.cams ? h("span", { class: "tile" }, picture(sample.id, 96, camOf(place)), h("span", { class: "caption" }, "Eigen-CAM")) : null));
}
