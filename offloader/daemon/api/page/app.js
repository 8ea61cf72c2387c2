// The token, the connection, and what the address asks for (#offload_… shows that move).

import { Actions, tell } from "./actions.js";
import { byId, clockIs, tickAges } from "./dom.js";
import { draw, forget } from "./draw.js";
import { follow } from "./stream.js";

const KEY = "grid-offloader token";
let actions = null;
let latest = null;
let redraw = () => {};

function connection(words) {
  byId("connection").textContent = words;
  byId("connection").className = words === "live" ? "live" : "";
}

function login(problem) {
  sessionStorage.removeItem(KEY);
  actions = null;
  byId("shown").hidden = true;
  byId("login").hidden = false;
  byId("token-problem").textContent = problem ?? "";
  connection("not connected");
  byId("token").focus();
}

function connect(token) {
  forget();
  actions = new Actions(token, () => latest);
  follow(token, {
    shown(document_) {
      latest = document_.status;
      clockIs(latest.t);
      byId("login").hidden = true;
      byId("shown").hidden = false;
      document.body.classList.remove("stale");
      connection("live");
      redraw = () => draw(document_, actions);
      redraw();
    },
    lost() {
      document.body.classList.add("stale");
      connection("no answer; this is what was last seen");
    },
    denied: login,
  });
  showAddressed();
}

function showAddressed() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (actions && id.startsWith("offload_")) actions.show(id);
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  byId("token").value = "";
  sessionStorage.setItem(KEY, token);
  connect(token);
});
byId("pause").addEventListener("click", () => actions.pause());
byId("resume").addEventListener("click", () => actions.resume());
byId("thresholds").addEventListener("click", () => actions.thresholds());
byId("move").addEventListener("click", () => actions.move());
byId("dialog").addEventListener("close", () => {
  if (location.hash) history.replaceState(null, "", location.pathname);
});
addEventListener("hashchange", showAddressed);
// What came while a button was held down.
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(() => redraw()));
addEventListener("unhandledrejection", (event) => tell(String(event.reason?.message ?? event.reason)));
setInterval(tickAges, 1000);

const known = sessionStorage.getItem(KEY);
if (known) connect(known);
else login();
