// The way to /v1. A request that changes something carries the token of the session (see guard.py).

let token = "";

export async function session() {
  const answer = await (await fetch("/v1/session")).json();
  token = answer.token;
  return answer;
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
    throw new Error("The camera service does not answer.");
  }
}

export async function call(method, path, body) {
  let answer = await send(method, path, body);
  if (answer.status === 403 && path !== "/session") {  // the service may have started anew, with another token
    await session();
    answer = await send(method, path, body);
  }
  if (answer.status === 401) {
    window.dispatchEvent(new Event("signedout"));
    throw new Error("Sign in first.");
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(reason(said) || `${answer.status} ${answer.statusText}`);
  return said;
}

function reason(said) {
  if (said && Array.isArray(said.detail)) return said.detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  return said && said.detail;
}

export const get = (path) => call("GET", path);
export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined && value !== null)).toString();
