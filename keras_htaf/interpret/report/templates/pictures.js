// Pictures cut out of large ones, and maps over them.

const pages = new Map(data.samples.map((sample, place) => [sample.id, place]));
const places = new Map(data.pictures ? data.pictures.ids.map((id, place) => [id, place]) : []);
const largePlaces = new Map(data.large_pictures ? data.large_pictures.ids.map((id, place) => [id, place]) : []);
const mapValues = data.maps ? new Int8Array(bytes(data.maps.values).buffer) : null;
const camValues = data.cams ? new Int8Array(bytes(data.cams.values).buffer) : null;
const FOR = [232, 104, 30], AGAINST = [45, 120, 220], STRONG = [40, 170, 150];

function describe(id) {
  const right = labels[id] === decisions[id];
  return `image ${id}, ${className(labels[id])}${right ? "" : `, decided ${className(decisions[id])}`}`;
}

function picture(id, target = 72, overlay = null) {
  const [sheets, at, prefix] = target > 120 && largePlaces.has(id)
    ? [data.large_pictures, largePlaces.get(id), "large"] : [data.pictures, places.get(id), "small"];
  if (at === undefined) return h("span", { class: "picture none", role: "img", "aria-label": describe(id) }, `${id}`);
  const size = Math.max(sheets.width, sheets.height);
  const scale = size >= target ? 1 : Math.max(1, Math.round(target / size));
  const [width, height] = [sheets.width * scale, sheets.height * scale];
  const rest = at % sheets.per_sheet;
  const [row, column] = [Math.floor(rest / sheets.columns), rest % sheets.columns];
  return h("span", {
    class: `picture ${prefix}-${Math.floor(at / sheets.per_sheet)}`, role: "img", "aria-label": describe(id),
    style: {
      width: `${width}px`, height: `${height}px`,
      "background-position": `${-column * width}px ${-row * height}px`,
      // The last sheet may have fewer rows, never fewer columns, unless it is the only one.
      "background-size": `${sheets.columns * width}px auto`,
    },
  }, overlay);
}

function canvas(height, width, paint) {
  const element = h("canvas", { width, height, "aria-hidden": "true", class: "map" });
  const context = element.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) image.data.set(paint(i), 4 * i);
  context.putImageData(image, 0, 0);
  return element;
}

// How much a map covers the picture: weak parts are lifted, so that they can be seen at all.
const cover = (value) => Math.round(225 * (Math.abs(value) / 127) ** 0.65);

const hasMap = (id, bit) => data.maps !== null && data.maps.pairs[`${id},${bit}`] !== undefined;

// The map of a bit on an image: orange for, blue against; the browser makes it smooth.
function mapOf(id, bit) {
  const { height, width, pairs } = data.maps;
  const start = pairs[`${id},${bit}`] * height * width;
  return canvas(height, width, (i) => {
    const value = mapValues[start + i];
    return [...(value < 0 ? AGAINST : FOR), cover(value)];
  });
}

function camOf(place) {
  const { height, width } = data.cams;
  return canvas(height, width, (i) => [...STRONG, cover(camValues[place * height * width + i])]);
}

// A picture with its class below; a link where the image has a page.
function tile(id, options = {}) {
  const wrong = labels[id] !== decisions[id];
  const overlay = options.bit !== undefined && hasMap(id, options.bit) ? mapOf(id, options.bit) : null;
  const inside = [
    picture(id, options.target),
    overlay ? picture(id, options.target, overlay) : null,
    h("span", { class: "caption" }, className(labels[id]), wrong ? h("span", { class: "wrong" }, ` → ${className(decisions[id])}`) : null,
      options.note ? h("small", {}, ` ${options.note}`) : null),
  ];
  if (!pages.has(id)) return h("span", { class: "tile" }, inside);
  return h("a", { class: "tile", href: `#image-${id}` }, inside);
}

const strip = (ids, options) => h("div", { class: "strip" }, ids.map((id) => tile(id, options)));
