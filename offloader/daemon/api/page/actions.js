// What people do here: each step is confirmed first, and its result told.

import { byId, el, percent, seconds, table } from "./dom.js";
import { moveDetails } from "./draw.js";
import { call } from "./stream.js";

const TOLD_MS = 12000;
let fading = 0;

export function tell(text) {
  const box = byId("result");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => {
    box.hidden = true;
  }, TOLD_MS);
}

// Shows a question; `yes` does it and gives the sentence that is told, or throws. Without `yes` it only shows.
function ask(title, body, label, yes) {
  const dialog = byId("dialog");
  const [go, back] = [byId("dialog-yes"), byId("dialog-no")];
  byId("dialog-title").textContent = title;
  byId("dialog-body").replaceChildren(...[body].flat());
  byId("dialog-problem").textContent = "";
  go.hidden = !yes;
  go.textContent = label ?? "";
  go.disabled = false;
  go.onclick = async () => {
    go.disabled = true;
    byId("dialog-problem").textContent = "";
    try {
      tell(await yes());
      dialog.close();
    } catch (error) {
      byId("dialog-problem").textContent = error.message;
      go.disabled = false;
    }
  };
  back.onclick = () => dialog.close();
  if (!dialog.open) dialog.showModal();
}

const text = (words) => el("p", {}, words);

const named = (one) => `${one.name ?? "?"} (pid ${one.pid}, ${one.user})`;

export class Actions {
  constructor(token, latest) {
    this.token = token;
    this.latest = latest;
  }

  post(path, body = {}) {
    return call(this.token, path, body);
  }

  approve(one) {
    ask(`Move ${one.name} to ${one.target}?`, [text(one.text), text(one.detail)], "Approve", async () => {
      const { move, held } = await this.post(`/v1/proposals/${encodeURIComponent(one.id)}/approve`);
      if (move) return `${move.id} begins: ${named(one)} goes to ${move.target}`;
      return `Agreed. ${named(one)} is moved as soon as that is possible: ${[held?.reason, held?.detail].filter(Boolean).join(", ")}`;
    });
  }

  decline(one) {
    ask(`Leave ${one.name} where it is?`, text("No rule proposes this job again for a while."), "Decline", async () => {
      await this.post(`/v1/proposals/${encodeURIComponent(one.id)}/decline`);
      return `${named(one)} stays`;
    });
  }

  cancel(one) {
    const words = "Until its successor owns the work the move is taken back and the original goes on where it is; afterwards the job itself is ended.";
    ask(`Cancel ${one.id}?`, [text(named(one)), text(words)], "Cancel this move", () => this.cancelled(one));
  }

  end(one) {
    ask(`End ${one.name}?`, [text(`${named(one)} was moved to ${one.target}, and runs there.`)], "End this job", () => this.cancelled(one));
  }

  async cancelled(one) {
    const after = await this.post(`/v1/moves/${encodeURIComponent(one.id)}/cancel`);
    return `${one.id} is cancelled (${after.state})`;
  }

  pause() {
    const words = "Rules go on being evaluated and shown, and move nothing. Automatic moves that are not committed are taken back; moves by hand still work.";
    ask("Pause automatic moves?", text(words), "Pause", async () => {
      const after = await this.post("/v1/auto", { enabled: false });
      return `Paused: the ceiling is ${after.ceiling}`;
    });
  }

  resume() {
    const choices = { advise: "say what they would move", approve: "ask before they move", auto: "move what they choose" };
    const present = this.latest().ceiling;
    const chosen = choices[present] ? present : "approve";
    const radio = ([mode, words]) =>
      el("label", {}, el("input", { type: "radio", name: "mode", value: mode, checked: mode === chosen }), `${mode}: rules ${words}`);
    const form = el("div", {}, ...Object.entries(choices).map(radio));
    ask("What may rules do?", form, "Set", async () => {
      const mode = form.querySelector("input:checked").value;
      const after = await this.post("/v1/auto", { enabled: true, mode });
      return `The ceiling is ${after.ceiling}`;
    });
  }

  thresholds() {
    const inForce = this.latest().thresholds;
    const fields = Object.entries(inForce).map(([name, ratio]) => {
      const input = el("input", { type: "number", min: 1, max: 100, step: 1, name, value: Math.round(ratio * 100) });
      return el("label", {}, el("span", {}, name), input, "%");
    });
    const words = "Empty: the rules' own again. They are in force at the next check and survive restarts.";
    ask("Pressure that triggers", [...fields, text(words)], "Set", async () => {
      const changed = {};
      for (const field of fields) {
        const { name, value } = field.querySelector("input");
        if (value === "") changed[name] = null;
        else if (Number(value) !== Math.round(inForce[name] * 100)) changed[name] = Number(value) / 100;
      }
      if (!Object.keys(changed).length) return "Nothing was changed";
      const { thresholds, notes } = await this.post("/v1/auto", { thresholds: changed });
      const told = Object.entries(thresholds).map(([name, ratio]) => `${name} ${percent(ratio)}`);
      return [`Thresholds: ${told.join(", ")}`, ...notes].join("; ");
    });
  }

  async move() {
    ask("Move a job", text("Looking at the head's jobs…"));
    try {
      const found = await call(this.token, "/v1/scan");
      const rows = found.map((one) => ({
        key: String(one.pid),
        cells: [named(one), one.class, one.target ?? "nowhere", one.strategy ?? "-", seconds(one.age_s)],
        buttons: [el("button", { type: "button", "data-action": "plan", onclick: () => this.plan(one) }, "Plan…")],
      }));
      ask("Move a job", rows.length ? table(["Job", "Class", "To", "How", "Age"], rows) : text("Nothing on the head may be moved now."));
    } catch (error) {
      byId("dialog-problem").textContent = error.message;
    }
  }

  async plan(one) {
    try {
      const plan = await this.post("/v1/moves", { pid: one.pid, dry_run: true });
      const lines = [
        `${named(one)}: ${plan.source} → ${plan.target ?? "nowhere"} by ${plan.strategy}`,
        plan.loses_s ? `It begins again and loses ${seconds(plan.loses_s)} of work.` : "It loses no work.",
        ...plan.obstacles.map((obstacle) => `${obstacle.reason}: ${obstacle.seen}`),
        ...plan.notes,
      ];
      const yes = async () => {
        const move = await this.post("/v1/moves", { pid: one.pid, target: plan.target, strategy: plan.strategy });
        return `${move.id} begins: ${named(one)} goes to ${move.target}`;
      };
      ask(`Move ${one.name}?`, lines.map(text), "Move it", plan.would_move ? yes : undefined);
    } catch (error) {
      byId("dialog-problem").textContent = error.message;
    }
  }

  async show(moveId) {
    try {
      ask(moveId, moveDetails(await call(this.token, `/v1/moves/${encodeURIComponent(moveId)}`)));
    } catch (error) {
      tell(error.message);
    }
  }
}
