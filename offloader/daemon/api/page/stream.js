// Server-sent events by fetch: an EventSource cannot send the token in a header, and in an address it would be logged.

const SILENT_MS = 40000;
const LONGEST_MS = 15000;

export class Refused extends Error {}

export async function call(token, path, body) {
  const options = { headers: { Authorization: `Bearer ${token}` }, cache: "no-store", credentials: "omit" };
  if (body !== undefined) Object.assign(options, { method: "POST", body: JSON.stringify(body) });
  const answer = await fetch(path, options);
  const document = await answer.json();
  if (!answer.ok) {
    const { message, reason, remedy } = document.error;
    const told = [reason ? `${reason}: ${message}` : message, remedy].filter(Boolean).join(" - ");
    const error = new Refused(told);
    error.status = answer.status;
    throw error;
  }
  return document;
}

// Calls `shown` with every document, `lost` whenever there is no connection, `denied` once the token is refused.
export function follow(token, { shown, lost, denied }) {
  let ended = false;
  let wait = 500;
  let current = null;
  let timer = 0;

  async function once() {
    current = new AbortController();
    const watchdog = () => {
      clearTimeout(timer);
      timer = setTimeout(() => current.abort(), SILENT_MS);
    };
    watchdog();
    const answer = await fetch("/v1/stream", {
      headers: { Authorization: `Bearer ${token}` },
      signal: current.signal,
      cache: "no-store",
      credentials: "omit",
    });
    if (answer.status === 401 || answer.status === 403) {
      const { error } = await answer.json();
      ended = true;
      denied(error.message);
      return;
    }
    if (!answer.ok) throw new Error(`answer ${answer.status}`);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      watchdog();
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      for (const part of parts) {
        if (!part.startsWith("data: ")) continue;
        wait = 500;
        shown(JSON.parse(part.slice(6)));
      }
    }
  }

  async function forever() {
    while (!ended) {
      try {
        if (!document.hidden) await once();
      } catch {
        // whatever broke the connection: it is made again below
      }
      clearTimeout(timer);
      if (ended) return;
      lost();
      await new Promise((resume) => {
        setTimeout(resume, wait);
        document.addEventListener("visibilitychange", resume, { once: true });
      });
      wait = Math.min(wait * 2, LONGEST_MS);
    }
  }

  const hide = () => {
    if (document.hidden) current?.abort(); // a phone in a pocket needs no news
    else wait = 500;
  };
  document.addEventListener("visibilitychange", hide);
  forever();
  return () => {
    ended = true;
    document.removeEventListener("visibilitychange", hide);
    current?.abort();
  };
}
