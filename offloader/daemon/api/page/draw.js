// The status document as sections. A section is drawn anew only when what it shows has changed, and never between the
// two halves of a click on it: whoever shows it calls again after those.

import { byId, clock, el, percent, seconds, since, size, svg, table, until, worded } from "./dom.js";

const drawn = new Map();
const SHOWN_AS = { go: "launched", ended: "committed", rolled_back: "rolled back", rolling_back: "rolling back" };
const MODES = {
  observe: ["Off", "observing only"],
  advise: ["Advising", "says what it would move, moves nothing"],
  approve: ["Asking", "rules ask before they move"],
  auto: ["On", "rules move what they choose"],
};

function section(id, shown, build) {
  const text = JSON.stringify(shown);
  const box = byId(id);
  if (drawn.get(id) === text || box.matches(":active")) return;
  drawn.set(id, text);
  const content = build(shown);
  const focused = focusIn(box);
  box.hidden = content === null;
  if (content !== null) box.querySelector(".rows").replaceChildren(...[content].flat());
  focused?.(box);
}

// Gives the focus back to the same button of the same row once it is drawn anew; null where it is elsewhere.
function focusIn(box) {
  const { action } = box.contains(document.activeElement) ? document.activeElement.dataset : {};
  if (!action) return null;
  const { key } = document.activeElement.closest("[data-key]").dataset;
  return (after) => {
    const row = [...after.querySelectorAll("[data-key]")].find((one) => one.dataset.key === key);
    row?.querySelector(`[data-action=${action}]`)?.focus();
  };
}

const listed = (id, shown, titles, row) => section(id, shown, (all) => (all.length ? table(titles, all.map(row)) : null));

const button = (text, action, handler, kind = null) =>
  el("button", { type: "button", class: kind, "data-action": action, onclick: handler }, text);

const job = (one) => `${one.name ?? "?"} (pid ${one.pid}, ${one.user ?? one.uid})`;

export function forget() {
  drawn.clear();
}

export function draw({ status, events }, act) {
  byId("cluster").textContent = `${status.controller.cluster} - grid-offloader`;
  document.title = `${status.kill_switch ? "STOPPED" : MODES[status.ceiling][0]} - ${status.controller.cluster}`;
  top(status);
  // What waits for an answer is no trouble here: it is asked right below.
  listed("problems", status.problems.filter((one) => one.reason !== "APPROVAL"), ["Problem", "What mends it"], (one) => ({
    key: one.reason ?? "",
    cells: [one.text, one.command ? el("code", {}, one.command) : ""],
  }));
  proposals(status.proposals, act);
  section("head", status.head, head);
  flying(status.moves_in_flight, act);
  listed("notices", status.notices, ["Job", "To", "Rule", "Not before"], (one) => ({
    key: String(one.pid),
    cells: [job(one), `${one.target} by ${one.strategy}`, one.rule, `${seconds(one.left_s)} from now`],
  }));
  listed("workers", status.workers, ["Worker", "State", "CPU", "Memory", "GPU", "Offers", "Taken"], worker);
  listed("rules", status.rules, ["Rule", "State", "For", "Value", "Limit", "Mode", "Why not"], (one) => ({
    key: one.key,
    cells: [
      one.key,
      el("span", { class: { firing: "bad", inactive: "dim" }[one.state] ?? "warn" }, one.state),
      one.since_t ? since(one.since_t) : "",
      percent(one.value),
      percent(one.threshold),
      one.mode,
      one.reason === "RULE_FALSE" ? "" : one.reason,
    ],
  }));
  listed("jobs", status.jobs, ["Job", "State", "What", "On", "Age"], (one) => ({
    key: one.id,
    cells: [one.id, one.waiting ? "waiting" : one.state, `${one.name} of ${one.user}`, one.node ?? "-", since(one.created_t)],
  }));
  recent(status.moves_recent, act);
  section("events", [...events].reverse(), (all) =>
    all.length ? table(["When", "What"], all.map((one) => ({ key: String(one.id), cells: [clock(one.t), one.message] })), "log") : null,
  );
}

function top(status) {
  const [state, meaning] = MODES[status.ceiling];
  const mode = byId("mode");
  mode.textContent = status.kill_switch ? "STOPPED by the kill-switch: nothing moves" : `${state}: ${meaning}`;
  mode.className = status.kill_switch ? "bad" : status.ceiling === "auto" ? "good" : "";
  const { age_s: age, tick_t: tick, interval_s: interval } = status.data;
  byId("data").replaceChildren(
    age === null ? "no data yet" : `data ${seconds(age)} old`,
    ", checked ",
    tick ? since(tick) : "never",
    ` ago, every ${seconds(interval)}`,
  );
  byId("next").textContent = `Next: ${status.next.text}`;
  const { remedy, command } = status.next;
  const mend = byId("mend");
  mend.hidden = !remedy || remedy.startsWith("nothing");
  const also = command && !remedy?.includes(command) ? [" ", el("code", {}, command)] : [];
  mend.replaceChildren(...worded(remedy ?? ""), ...also);
  byId("pause").hidden = status.ceiling === "observe";
  byId("resume").textContent = status.ceiling === "observe" ? "Resume…" : "Mode…";
}

function head({ name, up, pressure }) {
  const bars = Object.entries(pressure).map(([resource, one]) => {
    const over = one.value !== null && one.threshold !== null && one.value >= one.threshold;
    const filled = Math.min(100, Math.max(0, (one.value ?? 0) * 100));
    const words =
      one.value === null
        ? `unknown, ${one.problem}`
        : one.threshold === null
          ? `${percent(one.value)}, no rule`
          : `${percent(one.value)} of ${percent(one.threshold)}`;
    const limit = one.threshold === null ? null : one.threshold * 100;
    return el(
      "div",
      { class: "pressure", "data-resource": resource },
      el("span", {}, resource),
      svg(
        "svg",
        { class: "bar", viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": `${resource} ${words}` },
        svg("rect", { class: "back", width: 100, height: 6 }),
        svg("rect", { class: over ? "fill over" : "fill", width: filled, height: 6 }),
        limit === null ? null : svg("line", { class: "limit", x1: limit, x2: limit, y1: 0, y2: 6 }),
      ),
      el("span", { class: over ? "bad" : one.value === null ? "warn" : "" }, words),
    );
  });
  return [el("p", { class: up ? "dim" : "bad" }, up ? name : `${name} is not up`), ...bars];
}

function worker(one) {
  const state = one.draining ? "draining" : one.up ? "up" : "down";
  const value = (name) => percent(one.pressure[name]?.value);
  return {
    key: one.name,
    cells: [
      one.name,
      el("span", { class: { up: "good", down: "bad" }[state] ?? "warn" }, state),
      value("cpu"),
      value("memory"),
      value("gpu"),
      one.offer ? capacity(one.offer) : one.offer_reason || "-",
      capacity(one.reserved),
    ],
  };
}

function capacity(one) {
  if (!one.cores && !one.memory_bytes && !one.gpus) return "-";
  return `${one.cores.toFixed(1)} cores, ${size(one.memory_bytes)}${one.gpus ? `, ${one.gpus} GPU` : ""}`;
}

function proposals(all, act) {
  listed("proposals", all, ["Job", "To", "Why", "Expires in"], (one) => ({
    key: one.id,
    cells: [
      job(one),
      [`${one.target} by ${one.strategy}`, ...one.fallbacks.map((name) => `else ${name}`)].join(", "),
      [
        one.approved_by === null ? "" : "agreed to, not possible yet",
        `${one.rule} at ${percent(one.value)} of ${percent(one.threshold)}`,
        ...Object.entries(one.relieves).map(([name, ratio]) => `relieves ${percent(ratio)} ${name}`),
        one.loses_s ? `loses ${seconds(one.loses_s)} of work` : "loses no work",
        one.reason === "APPROVAL" ? "" : [one.reason, one.detail].filter(Boolean).join(": "),
      ]
        .filter(Boolean)
        .join("; "),
      until(one.expires_t),
    ],
    buttons: [
      button("Decline", "decline", () => act.decline(one)),
      one.approved_by === null ? button("Approve", "approve", () => act.approve(one), "strong") : null,
    ],
  }));
}

function result(one) {
  if (["rolled_back", "rolling_back", "lost"].includes(one.state)) return one.reason ?? "";
  if (one.exit_code !== null) return `exit ${one.exit_code}`;
  if (one.signal !== null) return `signal ${one.signal}`;
  return one.state === "done" ? (one.job_state ?? "") : "";
}

const colour = (state) => ({ done: "good", lost: "bad", rolled_back: "warn", rolling_back: "warn" })[state] ?? "";

function moveRow(one, buttons) {
  return {
    key: one.id,
    cells: [
      el("a", { href: `#${one.id}`, class: "mono", "data-action": "show" }, one.id),
      job(one),
      `${one.source} → ${one.target}`,
      one.strategy,
      el("span", { class: colour(one.state) }, SHOWN_AS[one.state] ?? one.state),
      since(one.created_t),
      result(one),
    ],
    buttons,
  };
}

const MOVE = ["Move", "Job", "Where", "How", "State", "Age", "Result"];

function flying(all, act) {
  listed("flying", all, MOVE, (one) => moveRow(one, [button("Cancel", "cancel", () => act.cancel(one))]));
}

function recent(all, act) {
  listed("recent", all, MOVE, (one) =>
    moveRow(one, one.state === "done" && one.job_state === "running" ? [button("End", "end", () => act.end(one))] : null),
  );
}

export function moveDetails(one) {
  const began = one.timeline?.[0]?.t ?? one.created_t;
  const agreed = one.approved_by === null ? "" : `, agreed to by uid ${one.approved_by}`;
  return [
    el("p", {}, `${job(one)}: ${one.source} → ${one.target} by ${one.strategy}`),
    el("p", {}, one.automatic ? `asked for by rule ${one.rule}${agreed}` : `asked for by uid ${one.requested_by}`),
    el("p", { class: colour(one.state) }, `${SHOWN_AS[one.state] ?? one.state} ${result(one)} ${one.detail}`),
    table(
      ["After", "Step", "Why"],
      (one.timeline ?? []).map((step) => ({
        key: step.event,
        cells: [`${(step.t - began).toFixed(2)} s`, SHOWN_AS[step.event] ?? step.event, [step.reason, step.detail].filter(Boolean).join(" ")],
      })),
      "log",
    ),
  ];
}
