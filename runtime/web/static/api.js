// Requests to /v1. A request that changes something sends the session's token (see ../access.py).

let token = "";

export async function getSession() {
  const session = await (await fetch("/v1/session")).json();
  token = session.token;
  return session;
}

export async function signIn(password) {
  token = (await call("POST", "/session", { password })).token;
}

async function send(method, path, body) {
  const headers = { "X-CSRF-Token": token };
  const file = body instanceof Blob;
  if (body !== undefined) headers["Content-Type"] = file ? body.type || "application/octet-stream" : "application/json";
  try {
    return await fetch(`/v1${path}`, { method, headers, body: file ? body : body && JSON.stringify(body) });
  } catch {
    throw new Error("No connection to the camera service.");
  }
}

// Sends a request and returns the JSON of the answer. Throws an Error with a message for the user.
export async function call(method, path, body) {
  let answer = await send(method, path, body);
  if (answer.status === 403 && path !== "/session") {  // after a restart of the service, the token is a different one
    await getSession();
    answer = await send(method, path, body);
  }
  if (answer.status === 401) {
    window.dispatchEvent(new Event("signedout"));
    throw new Error("Sign in first.");
  }
  const json = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(errorText(json) || `${answer.status} ${answer.statusText}`);
  return json;
}

function errorText(json) {
  if (json && Array.isArray(json.detail)) return json.detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  return json && json.detail;
}

export const get = (path) => call("GET", path);
export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined && value !== null)).toString();
