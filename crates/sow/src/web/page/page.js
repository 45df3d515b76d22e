// The live page. Names and reasons come from other machines: they are only ever set as text.
import { plot } from "/-/plot.js";
import { prepare, showIndex } from "/-/shares.js";

const RETRY_MS = 3000, POLL_MS = 5000, REOPEN_MS = 30000, SPEAK_MS = 20000, PLOT_MS = 1000;
// No answer for so long is none; updates come every few seconds.
const ASK_MS = 10000, SILENCE_MS = 20000;
const LABELS = { connected: "downloading", missing: "never came" };
// What needs attention comes first.
const ORDER = { failed: 0, missing: 1, gone: 2, connected: 4, complete: 6 };
const MAX_SHOWN = 2000;

const $ = (id) => document.getElementById(id);
const share = new URLSearchParams(location.search).get("share");
const query = share ? `?share=${encodeURIComponent(share)}` : "";

let info = null, samples = [], offset = 0, ended = null;
const receivers = new Map();
let sort = { key: "state", down: false };
let spokenAt = 0, spokenText = "", plottedAt = 0, isOrderDue = false;

// Texts

function scaled(value, base, units) {
  let at = -1;
  while (at + 1 < units.length && value >= base * (at < 0 ? 1 : 0.99995)) { value /= base; at += 1; }
  return at < 0 ? null : `${value.toFixed(1)} ${units[at]}`;
}
const size = (bytes) =>
  scaled(bytes, 1024, ["KiB", "MiB", "GiB", "TiB", "PiB"]) ?? `${bytes} bytes`;
const rate = (bytes) => scaled(bytes, 1000, ["kB/s", "MB/s", "GB/s", "TB/s"]) ??
  `${Math.round(bytes)} B/s`;
function time(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const two = (number) => String(number).padStart(2, "0");
  if (h) return `${h}h${two(m)}m`;
  return m ? `${m}m${two(s)}s` : `${s} s`;
}
// 100 % only when nothing is missing.
const percent = (part) => `${part >= 1 ? 100 : Math.min(99, Math.floor(part * 100))} %`;
const label = (state) => LABELS[state] ?? state;
const part = (one) => info.length ? one.bytes / info.length : Number(one.state === "complete");

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

// Receivers

function makeRow(one) {
  const tr = element("tr");
  const cells = {
    tr,
    name: element("span"), peer: element("span", "sub"),
    state: element("span", "state"), error: element("span", "sub error"),
    progress: element("progress"), percent: element("span"),
    rate: element("td", "number"), time: element("td", "number time"),
  };
  cells.progress.max = 1;
  // The percentage beside it says the same.
  cells.progress.setAttribute("aria-hidden", "true");
  const head = element("th"), state = element("td"), progress = element("td"), bar = element("div", "bar");
  head.scope = "row";
  head.append(cells.name, cells.peer);
  state.append(cells.state, cells.error);
  bar.append(cells.progress, cells.percent);
  progress.append(bar);
  tr.append(head, state, progress, cells.rate, cells.time);
  one.cells = cells;
}

function showRow(one) {
  if (!one.cells) makeRow(one);
  const { cells } = one, done = part(one);
  put(cells.name, one.name || one.peer);
  put(cells.peer, one.name ? [one.peer, one.program].filter(Boolean).join(" · ") : one.program);
  put(cells.state, label(one.state));
  cells.state.dataset.state = one.state;
  put(cells.error, one.error ?? "");
  cells.progress.value = done;
  cells.progress.className = one.state === "complete" ? "full" :
    one.state === "connected" ? "" : "halted";
  put(cells.percent, percent(done));
  cells.percent.title = size(one.bytes);
  put(cells.rate, one.state === "connected" ? rate(one.rate) : "–");
  put(cells.time, one.state === "missing" ? "–" :
    one.seconds > 0 && one.seconds < 1 ? "< 1 s" : time(one.seconds));
}

function take(row) {
  if (row.length > 5) {
    const [id, state, bytes, speed, name, peer, program, error, since, seconds] = row;
    const one = receivers.get(id) ?? { id };
    Object.assign(one, { state, bytes, rate: speed, name, peer, program, error, since, seconds });
    receivers.set(id, one);
    return one;
  }
  const [id, state, bytes, speed, seconds] = row;
  const one = receivers.get(id);
  return one && Object.assign(one, { state, bytes, rate: speed, seconds });
}

const collator = new Intl.Collator(undefined, { numeric: true });
const compares = {
  name: (a, b) => collator.compare(a.name || a.peer, b.name || b.peer),
  state: (a, b) => (ORDER[a.state] ?? 5) - (ORDER[b.state] ?? 5) || a.bytes - b.bytes,
  bytes: (a, b) => a.bytes - b.bytes,
  rate: (a, b) => a.rate - b.rate,
  seconds: (a, b) => a.seconds - b.seconds,
};

// Puts the rows that the filter lets through in their order; a row that is in place is not touched.
function order() {
  isOrderDue = false;
  const text = $("filter").value.trim().toLowerCase(), state = $("state").value;
  const fits = (one) => (!state || one.state === state) &&
    (!text || `${one.name} ${one.peer} ${one.error ?? ""}`.toLowerCase().includes(text));
  const compare = compares[sort.key], sign = sort.down ? -1 : 1;
  const fitting = [...receivers.values()].filter(fits)
    .sort((a, b) => sign * compare(a, b) || compares.name(a, b) || a.id - b.id);
  const shown = fitting.slice(0, MAX_SHOWN);
  const body = $("rows");
  let at = body.firstChild;
  for (const one of shown) {
    if (!one.cells) showRow(one);
    if (one.cells.tr === at) at = at.nextSibling;
    else body.insertBefore(one.cells.tr, at);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
  const all = receivers.size;
  put($("count"), shown.length === all ? `(${all})` : `(${shown.length} of ${all})`);
  $("empty").hidden = shown.length > 0;
  put($("empty"), all ? "No receiver fits the filter." : "No receivers yet.");
}

// While the pointer is on a row, rows stay where they are.
function orderSoon() {
  if ($("rows").matches(":hover")) isOrderDue = true;
  else order();
}

function showStates() {
  const states = new Set([...receivers.values()].map((one) => one.state));
  const select = $("state"), known = new Set([...select.options].map((option) => option.value));
  for (const state of states) {
    if (!known.has(state)) {
      const option = element("option", "", label(state));
      option.value = state;
      select.append(option);
    }
  }
}

// The share

const now = () => (ended ?? Date.now()) / 1000 - offset;

function showShare() {
  put($("name"), info.name + (info.folder ? "/" : ""));
  const pieces = `${info.pieces} ${info.pieces === 1 ? "piece" : "pieces"}`;
  const files = info.folder ? ` · ${info.files} ${info.files === 1 ? "file" : "files"}` : "";
  put($("about"), `${size(info.length)} · ${pieces}${files} · info-hash ${info.info_hash}`);
  put($("command"), `sow get ${info.ticket}`);
  $("copy").disabled = false;
  const link = (text, href) => Object.assign(element("a", "", text), { href });
  const direct = link(info.folder ? "Browse the files" : "Download it", info.content);
  const curl = info.folder ? [] :
    [" (also with ", element("code", "", `curl -OJ ${location.origin}${info.content}`), ")"];
  $("other").replaceChildren(
    direct, ...curl, ", or take the ", link("magnet link", info.magnet), " or the ",
    link(".torrent", info.torrent), " for any BitTorrent program.",
  );
  showReason();
}

function showReason() {
  $("notice").hidden = !info.reason;
  put($("notice"), info.reason ?? "");
}

function showTotals(totals) {
  const all = [...receivers.values()];
  const complete = all.filter((one) => one.state === "complete").length;
  const known = Math.max(all.length, info.expected ?? 0);
  const bytes = all.reduce((sum, one) => sum + one.bytes, 0);
  const done = known && info.length ? bytes / (known * info.length) : complete && complete / known;
  const speed = all.reduce((sum, one) => sum + one.rate, 0);
  const loading = all.filter((one) => one.state === "connected");
  const left = loading.reduce((sum, one) => sum + info.length - one.bytes, 0) / speed;
  put($("complete"), known ? `${complete} of ${known}` : "none yet");
  const overall = $("overall");
  overall.value = done;
  overall.className = known && complete === known ? "full" : "";
  overall.setAttribute("aria-valuetext", percent(done));
  put($("rate"), rate(speed));
  put($("eta"), !loading.length ? (complete ? "done" : "–") :
    Number.isFinite(left) ? time(left) : "unknown");
  put($("sent"), size(totals.sent));
  document.title = `${known ? `${complete}/${known} · ` : ""}${info.name} · sow`;
  speak(`${complete} of ${known} receivers are complete, ${percent(done)} of all bytes.`, known);
}

// A screen reader hears of progress now and then, and only when there is some.
function speak(text, isWorth) {
  if (!isWorth || text === spokenText || Date.now() - spokenAt < SPEAK_MS) return;
  [spokenAt, spokenText] = [Date.now(), text];
  put($("spoken"), text);
}

function showPlot(isForced) {
  if (!isForced && Date.now() - plottedAt < PLOT_MS) return;
  plottedAt = Date.now();
  plot($("plot"), samples, rate, time);
}

function setLink(state, text) {
  $("link").dataset.state = state;
  put($("link"), text);
}

// Updates

// Rows that are in the table; the others are made when they come into it.
function showAgain(changed) {
  changed.filter((one) => one.cells).forEach(showRow);
}

function onState(all) {
  const { rows, history, totals, ...rest } = all;
  info = rest;
  offset = Date.now() / 1000 - all.t;
  ended = null;
  samples = history;
  const ids = new Set(rows.map(([id]) => id));
  for (const id of [...receivers.keys()]) if (!ids.has(id)) receivers.delete(id);
  showAgain(rows.map(take));
  showShare();
  showStates();
  showTotals(totals);
  order();
  showPlot(true);
}

function onUpdate(update) {
  offset = Date.now() / 1000 - update.t;
  const changed = update.rows.map(take).filter(Boolean);
  for (const id of update.removed) {
    receivers.get(id)?.cells?.tr.remove();
    receivers.delete(id);
  }
  showAgain(changed);
  if (update.sample) {
    samples.push(update.sample);
    // The server thins its samples out in the same way.
    if (samples.length > 800) samples = samples.filter((_, at) => at % 2 === 0);
    showPlot(false);
  }
  if (info.reason !== update.reason) {
    info.reason = update.reason;
    showReason();
  }
  showTotals(update.totals);
  if (changed.length || update.removed.length) {
    showStates();
    orderSoon();
  }
}

// The same from `/status`, where the stream has no place.
function onStatus(one) {
  const { receivers: list, sent, rate_up, peers, ...rest } = one;
  const done = one.expected || list.length
    ? one.verified / (Math.max(list.length, one.expected ?? 0) * one.length || 1) : 0;
  const speed = list.reduce((sum, receiver) => sum + receiver.rate, 0);
  onState({
    ...rest,
    totals: { sent, rate_up, peers },
    history: [...samples, [one.t, done, speed]],
    rows: list.map((r) => [
      r.id, r.state, r.bytes, r.rate, r.name, r.peer, r.program, r.error, r.since, r.seconds,
    ]),
  });
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ASK_MS) });
  if (!answer.ok) throw new Error(`${path} ${answer.status}`);
  return answer.json();
}

// One connection of the stream. Returns whether it was ever open.
function stream() {
  return new Promise((resolve) => {
    const source = new EventSource(`/-/events${query}`);
    let wasOpen = false, timer = 0;
    const end = () => { clearTimeout(timer); source.close(); resolve(wasOpen); };
    // A machine that vanishes ends no connection: then nothing comes any more.
    const heard = () => { clearTimeout(timer); timer = setTimeout(end, SILENCE_MS); };
    heard();
    source.onopen = () => { wasOpen = true; heard(); setLink("live", "live"); };
    source.addEventListener("state", (event) => { heard(); onState(JSON.parse(event.data)); });
    source.addEventListener("update", (event) => { heard(); onUpdate(JSON.parse(event.data)); });
    source.onerror = end;
  });
}

async function run() {
  for (let reopenAt = 0; ;) {
    try {
      const { shares } = await ask("/-/shares");
      if (!share && shares.length > 1) {
        setLink("live", "every 5 s");
        showIndex(shares);
        await sleep(POLL_MS);
        continue;
      }
      $("index").hidden = true;
      $("one").hidden = false;
      $("shares").hidden = shares.length < 2;
      const one = shares.find((one) => one.info_hash === (share ?? one.info_hash));
      if (!one) {
        put($("name"), shares.length || share ? "Not shared here" : "Hashing…");
        setLink("wait", "waiting for the content");
      } else if (Date.now() < reopenAt) {
        setLink("live", "every 5 s");
        const all = await ask("/status");
        const found = all.shares.find((share) => share.info_hash === one.info_hash);
        if (found) onStatus(found);
      } else if (!(await stream())) {
        reopenAt = Date.now() + REOPEN_MS;
        continue;
      }
    } catch {
      ended ??= Date.now();
      setLink("lost", info ? "not reachable: sharing has ended?" : "not reachable");
    }
    await sleep(Date.now() < reopenAt ? POLL_MS : RETRY_MS);
  }
}

// Controls

async function copy(command, button) {
  const text = command.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS there is no clipboard for pages but this old one.
    getSelection().selectAllChildren(command);
    if (!document.execCommand("copy")) {
      put(button, "Press Ctrl+C");
      return;
    }
    getSelection().removeAllRanges();
  }
  put(button, "Copied");
  put($("spoken"), "The command was copied.");
  setTimeout(() => put(button, "Copy"), 2000);
}

function showSort() {
  for (const th of document.querySelectorAll("th[data-sort]")) {
    if (th.dataset.sort === sort.key) {
      th.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    } else {
      th.removeAttribute("aria-sort");
    }
  }
}

for (const th of document.querySelectorAll("th[data-sort]")) {
  th.querySelector("button").addEventListener("click", () => {
    const key = th.dataset.sort;
    sort = { key, down: sort.key === key ? !sort.down : false };
    showSort();
    order();
  });
}
$("copy").addEventListener("click", () => copy($("command"), $("copy")));
prepare(size, copy);
$("filter").addEventListener("input", order);
$("state").addEventListener("change", order);
$("rows").addEventListener("pointerleave", () => isOrderDue && order());
addEventListener("resize", () => info && showPlot(true));
setInterval(() => info && put($("elapsed"), time(now())), 1000);
showSort();
run();
