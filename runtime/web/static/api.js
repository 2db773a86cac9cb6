// Requests to /v1. A request that changes something sends the session's token (see ../access.py).

const TRIES = 30;  // with the two seconds that the service asks for, one minute

let token = "";

export async function getSession() {
  const session = await (await fetch("/v1/session")).json();
  token = session.token;
  return session;
}

export async function signIn(user, password) {
  token = (await call("POST", "/session", { user, password })).token;
}

// The service is busy if it answers 503 and says when to try again. Then this does, up to TRIES times.
async function sendPatiently(method, path, body) {
  for (let attempt = 1; ; attempt += 1) {
    const answer = await send(method, path, body);
    const seconds = Number(answer.headers.get("Retry-After"));
    if (answer.status !== 503 || !seconds || attempt === TRIES) return answer;
    const problem = await answer.json().catch(() => null);
    window.dispatchEvent(new CustomEvent("busy", { detail: problem?.detail || "busy" }));
    await new Promise((done) => setTimeout(done, seconds * 1000));
  }
}

async function send(method, path, body) {
  const headers = { "X-CSRF-Token": token };
  const file = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = file ? body.type || "application/octet-stream" : "application/json";
  try {
    return await fetch(`/v1${path}`, { method, headers, body: file ? body : body && JSON.stringify(body) });
  } catch {
    throw new Error("No connection to the server.");
  }
}

// Sends a request and returns the JSON of the answer, or the verdict on a photo that was refused. Throws an Error with a
// message for the user; its `errors` are the wrong fields of the request, each with `loc` and `msg` (RFC 9457).
export async function call(method, path, body) {
  let answer = await sendPatiently(method, path, body);
  if (answer.status === 403 && path !== "/session") {  // after a restart of the service, the token is a different one
    await getSession();
    answer = await sendPatiently(method, path, body);
  }
  if (answer.status === 401) {
    window.dispatchEvent(new Event("signedout"));
    throw new Error("Sign in first.");
  }
  const json = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (json?.verdict) return json.verdict;
  if (!answer.ok) throw Object.assign(new Error(json?.detail || `${answer.status} ${answer.statusText}`), { errors: json?.errors ?? [] });
  return json;
}

export const get = (path) => call("GET", path);

// All entries of a list that comes in pages.
export async function getAll(path) {
  const items = [];
  for (let cursor; cursor !== null;) {
    const page = await get(`${path}${cursor ? `?${query({ cursor })}` : ""}`);
    items.push(...page.items);
    cursor = page.next;
  }
  return items;
}
export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined && value !== null)).toString();
