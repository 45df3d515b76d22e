// The plot of the fleet over time: how much is verified, and how fast.

const NS = "http://www.w3.org/2000/svg";
const WIDTH = 1000, HEIGHT = 176, LEFT = 46, RIGHT = 76, TOP = 8, BOTTOM = 22;

function make(name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// The least round number that is not below `value`: 1, 2 or 5 times a power of ten.
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((step) => step * unit).find((step) => step >= value) ?? unit * 10;
}

// Draws samples of [seconds, part done, bytes per second] into `place`.
export function plot(place, samples, rateText, timeText) {
  const width = Math.max(place.clientWidth, 200) || WIDTH;
  const height = Math.max(place.firstChild?.clientHeight || HEIGHT, 100);
  const end = Math.max(samples.at(-1)?.[0] ?? 0, 10);
  const top = ceiling(Math.max(...samples.map((sample) => sample[2]), 1));
  const x = (seconds) => LEFT + (seconds / end) * (width - LEFT - RIGHT);
  const y = (part) => TOP + (1 - part) * (height - TOP - BOTTOM);
  const line = (value) =>
    samples.map((one, at) => `${at ? "L" : "M"}${x(one[0]).toFixed(1)} ${y(value(one)).toFixed(1)}`)
      .join("");
  const last = samples.at(-1) ?? [0, 0, 0];
  const svg = make("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `After ${timeText(last[0])}, ${Math.floor(last[1] * 100)} % of all bytes are ` +
      `verified, at ${rateText(last[2])}.`,
  });
  for (const part of [0, 0.5, 1]) {
    svg.append(
      make("path", { class: "grid", d: `M${LEFT} ${y(part)}H${width - RIGHT}` }),
      make("text", { x: LEFT - 6, y: y(part) + 4, "text-anchor": "end" }, `${part * 100} %`),
      make("text", { x: width - RIGHT + 6, y: y(part) + 4 }, rateText(part * top)),
    );
  }
  svg.append(
    make("text", { x: LEFT, y: height - 4 }, "0 s"),
    make("text", { x: width - RIGHT, y: height - 4, "text-anchor": "end" }, timeText(end)),
  );
  if (samples.length > 1) {
    const done = line((one) => one[1]);
    const base = y(0).toFixed(1);
    svg.append(
      make("path", { class: "area", d: `${done}V${base}H${x(samples[0][0]).toFixed(1)}Z` }),
      make("path", { class: "done", d: done }),
      make("path", { class: "rate", d: line((one) => one[2] / top) }),
    );
  }
  place.replaceChildren(svg);
}
