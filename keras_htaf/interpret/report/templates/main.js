// Which view is seen: the part of the address behind #.

const DRAWN = { bits: bitIndex, classes: classIndex, samples: sampleIndex, errors: errorIndex };
const ONE = {
  bit: ["bits", bitPage, (number) => number < M],
  class: ["classes", classPage, (number) => number < K],
  image: ["samples", samplePage, (number) => pages.has(number)],
};
const VIEWS = ["overview", "bits", "classes", "samples", "errors", "health", "about"];

function route() {
  const hash = location.hash.slice(1);
  // The link that skips to the content changes nothing, unless the page is opened by it.
  if (hash === "main" && document.documentElement.dataset.ready) return;
  const [, kind, number] = hash.match(/^(bit|class|image)-(\d+)$/) || [];
  let shown = VIEWS.includes(hash) ? hash : "overview";
  if (kind && ONE[kind][2](Number(number))) {
    shown = ONE[kind][0];
    ONE[kind][1](Number(number));
  } else if (DRAWN[shown]) DRAWN[shown]();
  for (const name of VIEWS) view(name).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#${shown}`) {
      link.setAttribute("aria-current", "page");
      link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.offsetLeft - 40;
    } else link.removeAttribute("aria-current");
  }
}

// A new view is read from its beginning, by eye and by screen reader.
function go() {
  route();
  window.scrollTo(0, 0);
  const heading = VIEWS.map(view).find((each) => !each.hidden)?.querySelector("h1");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  const rel = { ArrowLeft: "prev", ArrowRight: "next" }[event.key];
  const busy = event.target.closest("input, select, textarea, [tabindex='0']") || event.ctrlKey || event.metaKey || event.altKey;
  const link = rel && !busy && VIEWS.map(view).find((each) => !each.hidden)?.querySelector(`a[rel="${rel}"]`);
  if (link) { event.preventDefault(); link.click(); }
});
window.addEventListener("hashchange", go);

put(document.getElementById("top-bits"), order(M, ORDERS["what they say about the class"]).slice(0, 6).map((j) => card(j)));
healthTable();
route();
document.documentElement.dataset.ready = "yes";
