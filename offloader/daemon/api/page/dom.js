// Elements from text only: nothing that a process is called ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

export const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// `kind` is a class: "log" stays a table on a phone, where others become a list of cards.
export function table(titles, rows, kind = null) {
  const head = el("thead", {}, el("tr", {}, ...titles.map((title) => el("th", { scope: "col" }, title))));
  const body = rows.map(({ key, cells, buttons }) =>
    el(
      "tr",
      { "data-key": key },
      ...cells.map((cell, index) => el("td", { "data-name": titles[index], class: nothing(cell) ? "none" : null }, cell ?? "")),
      buttons ? el("td", { class: "act" }, ...buttons) : null,
    ),
  );
  if (rows.some((row) => row.buttons)) head.firstChild.append(el("th", { scope: "col" }));
  return el("table", { class: kind }, head, el("tbody", {}, ...body));
}

const nothing = (cell) => cell === null || cell === undefined || cell === "" || cell === "-";

// A sentence in which commands stand between backquotes.
export const worded = (sentence) =>
  sentence.split("`").map((piece, index) => (index % 2 ? el("code", {}, piece) : piece));

// Between a number and its unit no line is broken.
const of = (number, unit) => `${number}\u00a0${unit}`;

export const percent = (ratio) => (ratio === null || ratio === undefined ? "-" : of(Math.round(ratio * 100), "%"));

export function seconds(value) {
  if (value === null || value === undefined) return "-";
  if (value < 10) return of(Math.max(0, value).toFixed(1), "s");
  if (value < 120) return of(value.toFixed(0), "s");
  if (value < 3600) return of((value / 60).toFixed(0), "min");
  if (value < 86400) return `${of(Math.floor(value / 3600), "h")} ${of(String(Math.floor((value % 3600) / 60)).padStart(2, "0"), "min")}`;
  return of((value / 86400).toFixed(0), "d");
}

export function size(value) {
  if (value === null || value === undefined) return "-";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let step = 0;
  while (value >= 1000 && step < units.length - 1) {
    value /= 1000;
    step += 1;
  }
  return of(value.toFixed(step > 2 ? 1 : 0), units[step]);
}

// Ages go on between two messages. The controller's clock counts, not this machine's.
let skew = 0;

export function clockIs(t) {
  skew = t - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + skew;

export const since = (t) => el("time", { "data-since": t }, seconds(now() - t));

export const until = (t) => el("time", { "data-until": t }, seconds(t - now()));

export const clock = (t) => new Date(t * 1000).toLocaleTimeString([], { hour12: false });

export function tickAges() {
  for (const one of document.querySelectorAll("time[data-since]")) one.textContent = seconds(now() - Number(one.dataset.since));
  for (const one of document.querySelectorAll("time[data-until]")) one.textContent = seconds(Number(one.dataset.until) - now());
}
