// The index of several shares: each with the line to paste. Names are only ever set as text.
const $ = (id) => document.getElementById(id);
const MAX_SHOWN = 2000;
const known = new Map();
let all = [], size = String, copy = () => {};

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// Prepares the index; how sizes are written and texts are copied is the page's business.
export function prepare(sizes, copying) {
  [size, copy] = [sizes, copying];
  $("find").addEventListener("input", order);
}

function makeItem(one) {
  const item = element("li"), head = element("p", "share"), line = element("div", "line");
  const link = element("a", "", one.name + (one.folder ? "/" : ""));
  link.href = `/?share=${one.info_hash}`;
  const about = element("span", "muted"), command = element("code", "", `sow get ${one.ticket}`);
  const button = element("button", "copy", "Copy");
  command.tabIndex = 0;
  button.type = "button";
  button.setAttribute("aria-label", `Copy the line for ${one.name}`);
  button.addEventListener("click", () => copy(command, button));
  head.append(link, about);
  line.append(command, button);
  item.append(head, line);
  return { item, about };
}

function describe(one) {
  const files = one.folder ? `${one.files} ${one.files === 1 ? "file" : "files"}, ` : "";
  const states = [
    one.complete && `${one.complete} complete`,
    one.connected && `${one.connected} downloading`,
    one.state !== "sharing" && one.state,
  ].filter(Boolean);
  return ` ${files}${size(one.length)}${states.length ? ` · ${states.join(", ")}` : ""}`;
}

// Shows the shares that fit the filter, in the order of their names.
function order() {
  const text = $("find").value.trim().toLowerCase();
  const fitting = all.filter((one) => one.name.toLowerCase().includes(text));
  const items = fitting.slice(0, MAX_SHOWN).map((one) => known.get(one.info_hash).item);
  const list = $("list");
  if (items.length !== list.children.length || items.some((item, at) => list.children[at] !== item)) {
    list.replaceChildren(...items);
  }
  const count = items.length === all.length ? `(${all.length})` : `(${items.length} of ${all.length})`;
  $("number").textContent = count;
}

// Shows these shares instead of those before.
export function showIndex(shares) {
  all = shares;
  const hashes = new Set(shares.map((one) => one.info_hash));
  for (const hash of [...known.keys()]) if (!hashes.has(hash)) known.delete(hash);
  for (const one of shares) {
    if (!known.has(one.info_hash)) known.set(one.info_hash, makeItem(one));
    const { about } = known.get(one.info_hash), text = describe(one);
    if (about.textContent !== text) about.textContent = text;
  }
  order();
  $("index").hidden = false;
  $("one").hidden = true;
  $("name").textContent = `${shares.length} shares`;
  document.title = `${shares.length} shares · sow`;
}
