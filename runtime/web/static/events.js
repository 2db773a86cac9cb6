// Events as they happen: one stream for all listeners of the page.

const listeners = new Set();
let source = null;

function connect() {
  source = new EventSource("/v1/events");
  source.onopen = () => { document.getElementById("lost").hidden = true; };
  source.onerror = () => {
    document.getElementById("lost").hidden = false;
    if (source.readyState === EventSource.CLOSED) {  // refused (signed out, or too many listeners): browsers do not retry
      source = null;
      setTimeout(() => { if (listeners.size && !source) connect(); }, 3000);
    }
  };
  source.addEventListener("appearance", ({ data }) => {
    const event = JSON.parse(data);
    for (const listener of [...listeners]) listener(event);
  });
}

// Calls `listener` with every event until the returned function is called.
export function listen(listener) {
  listeners.add(listener);
  if (!source) connect();
  return () => {
    listeners.delete(listener);
    if (!listeners.size && source) {
      source.close();
      source = null;
      document.getElementById("lost").hidden = true;
    }
  };
}
