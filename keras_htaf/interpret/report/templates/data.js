// The numbers of the page, and the model's head: the same function, to the last digit, as in Python's analysis.

const data = JSON.parse(document.getElementById("data").textContent);

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) found[i] = raw.charCodeAt(i);
  return found;
}

const K = data.classes.length;
const M = data.names.length;
const N = data.samples_in_all;
const weights = new Float64Array(bytes(data.weights).buffer); // (M, K)
const bias = new Float64Array(bytes(data.bias).buffer);
const usage = new Float64Array(bytes(data.usage).buffer);
const codes = bytes(data.codes); // eight bits to a byte, the first bit highest
const labels = new Uint16Array(bytes(data.labels).buffer);
const decisions = new Uint16Array(bytes(data.decisions).buffer);
const given = new Float32Array(bytes(data.given).buffer); // (K, M)
const effect = new Float32Array(bytes(data.effect).buffer); // (K, M)
const STRIDE = Math.ceil(M / 8);

function codeOf(sample) {
  const code = new Uint8Array(M);
  for (let j = 0; j < M; j++) code[j] = (codes[sample * STRIDE + (j >> 3)] >> (7 - (j & 7))) & 1;
  return code;
}

// Weights and bias lie on a grid on which such sums are exact, so their order does not matter.
function logitsOf(code) {
  const sums = Float64Array.from(bias);
  for (let j = 0; j < M; j++) if (code[j]) for (let k = 0; k < K; k++) sums[k] += weights[j * K + k];
  return sums;
}

// The class with the largest logit, the lowest of several.
function decide(logits) {
  let best = 0;
  for (let k = 1; k < K; k++) if (logits[k] > logits[best]) best = k;
  return best;
}

function runnerUp(logits, best) {
  let found = best === 0 ? 1 : 0;
  for (let k = 0; k < K; k++) if (k !== best && logits[k] > logits[found]) found = k;
  return found;
}

// What each bit adds to the lead of class y over class k, and the lead of the average image.
function contributions(code, y, k) {
  const pushes = new Float64Array(M);
  let base = bias[y] - bias[k];
  for (let j = 0; j < M; j++) {
    const gap = weights[j * K + y] - weights[j * K + k];
    base += gap * usage[j];
    pushes[j] = gap * (code[j] - usage[j]);
  }
  return { base, pushes };
}

function packedCode(code) {
  const packed = new Uint8Array(STRIDE);
  for (let j = 0; j < M; j++) packed[j >> 3] |= code[j] << (7 - (j & 7));
  return packed;
}

const POPCOUNT = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll("0", "").length);

// The first image with the nearest code, its distance, and how many have just this code.
function nearestTo(code) {
  const packed = packedCode(code);
  let best = -1, distance = Infinity, same = 0;
  for (let i = 0; i < N; i++) {
    let differ = 0;
    for (let b = 0; b < STRIDE; b++) differ += POPCOUNT[codes[i * STRIDE + b] ^ packed[b]];
    if (differ < distance) [best, distance] = [i, differ];
    if (!differ) same += 1;
  }
  return { sample: best, distance, same };
}

const order = (count, key) => Array.from({ length: count }, (_, i) => i).sort((a, b) => key(b) - key(a) || a - b);
const percent = (share, digits = 0) => (Number.isFinite(share) ? `${(100 * share).toFixed(digits)}\u00a0%` : "–");
const signed = (number, digits = 2) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(digits);
const count = (number, what) => `${number.toLocaleString("en")} ${what}${number === 1 ? "" : "s"}`;
