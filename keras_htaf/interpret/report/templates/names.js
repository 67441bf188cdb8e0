// Names of bits: shown everywhere, edited on the pages of bits, saved as a file.

const names = [...data.names];
const fresh = new Set();
const saveButton = document.getElementById("save-names");

const shownName = (j) => names[j];
const nameOf = (j) => h("span", { "data-name": j }, shownName(j));
const bitLink = (j) => h("a", { href: `#bit-${j}`, "data-name": j }, shownName(j));

function rename(j, text) {
  names[j] = text.trim() || `bit ${j}`;
  fresh.add(j);
  for (const element of document.querySelectorAll(`[data-name="${j}"]`)) element.textContent = shownName(j);
  saveButton.disabled = false;
  saveButton.classList.add("primary");
  saveButton.textContent = `Save names (${fresh.size} new)`;
}

function namesFile() {
  const given = {};
  names.forEach((name, j) => { if (name !== `bit ${j}`) given[j] = name; });
  return JSON.stringify({ model: data.model, names: given }, null, 2) + "\n";
}

saveButton.disabled = namesFile().includes('"names": {}');
saveButton.addEventListener("click", () => {
  download("names.json", "application/json", namesFile());
  fresh.clear();
  saveButton.classList.remove("primary");
  saveButton.textContent = "Save names";
  say("names.json was saved. Give it to the next analysis as concept_names.");
});
window.addEventListener("beforeunload", (event) => { if (fresh.size) event.preventDefault(); });

function nameField(j) {
  const twin = h("p", { class: "hint", "aria-live": "polite" });
  const field = h("input", {
    id: `name-${j}`, type: "text", value: names[j], maxlength: 200, autocomplete: "off", spellcheck: "true",
    onchange: () => {
      rename(j, field.value);
      field.value = names[j];
      const same = names.findIndex((name, i) => i !== j && name === names[j]);
      twin.textContent = same < 0 ? "" : `Bit ${same} has this name too.`;
    },
    onkeydown: (event) => { if (event.key === "Enter") field.blur(); },
  });
  return h("div", { class: "name-field" }, h("label", { for: `name-${j}` }, `Name of bit ${j}`), field, twin);
}
