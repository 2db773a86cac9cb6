// Users of the console, tokens of programs, and the log of what they changed.

import { addressOf } from "./address.js";
import { call, getAll, query } from "./api.js";
import { confirm, dateTime, h, showMessage } from "./dom.js";
import { SCOPES } from "./scopes.js";  // the server writes it

const ROLES = { viewer: "Viewer: only look", operator: "Operator: also enroll and identify", admin: "Admin: everything" };
const NOTES = 50;

export async function show(main, _, filters) {
  const [tokens, users, notes] = await Promise.all([getAll("/tokens"), getAll("/users"), call("GET", `/audit?${query({ limit: NOTES, cursor: filters.before })}`)]);
  const reload = async () => {
    await show(main, undefined, filters);
    main.querySelector("h1").focus({ preventScroll: true });  // the button that was pressed is gone
  };
  main.replaceChildren(
    h("h1", { tabindex: "-1" }, "Access"),
    h("section", { class: "card" }, h("h2", {}, "Users"), list(users.map((one) => userRow(one, reload)), "Only the owner can sign in."), userForm(reload)),
    h("section", { class: "card" }, h("h2", {}, "Tokens of programs"),
      h("p", {}, "A program sends its token with each request: see ", h("a", { href: "/docs" }, "the API"), "."),
      list(tokens.map((one) => tokenRow(one, reload)), "No program has a token."), tokenForm(reload)),
    h("section", { class: "card" }, h("h2", {}, "Sign-ins and changes"), list(notes.items.map(noteRow), "Nothing yet."),
      h("p", { class: "row" },
        filters.before ? h("a", { class: "button", href: addressOf("access") }, "Newest") : null,
        notes.next ? h("a", { class: "button", href: addressOf("access", undefined, { before: notes.next }) }, "Older") : null)));
}

const list = (rows, none) => (rows.length ? h("ul", { class: "rows" }, rows) : h("p", { class: "faint" }, none));

const userRow = (user, reload) => h("li", {},
  h("strong", { class: "grow" }, user.name), ROLES[user.role].split(":")[0],
  button("Remove", `Remove ${user.name}`, async () => {
    if (await confirm(`Remove ${user.name}?`, "Their sessions end at once.", "Remove")) await change("DELETE", `/users/${encodeURIComponent(user.name)}`, undefined, reload);
  }));

const tokenRow = (token, reload) => h("li", {},
  h("span", { class: "grow" }, h("strong", {}, token.name), h("br"),
    h("span", { class: "faint" }, `${token.scopes.join(", ")} – ${token.used ? `used ${dateTime(token.used)}` : "never used"}`)),
  button("Revoke", `Revoke ${token.name}`, async () => {
    if (await confirm(`Revoke ${token.name}?`, "The next request with this token is refused.", "Revoke")) await change("DELETE", `/tokens/${token.id}`, undefined, reload);
  }));

const noteRow = (note) => h("li", {},
  h("span", { class: "faint figures when" }, dateTime(note.time)),
  h("span", { class: "grow" }, `${note.who}: ${note.what.replaceAll("_", " ")}`), h("span", { class: "faint" }, note.client));

const button = (text, label, onclick) => h("button", { type: "button", "aria-label": label, onclick }, text);

function userForm(reload) {
  const name = h("input", { id: "user-name", required: true, maxlength: "100", autocomplete: "off" });
  const password = h("input", { id: "user-password", type: "password", autocomplete: "new-password", minlength: "12", required: true });
  const role = h("select", { id: "user-role" }, Object.entries(ROLES).map(([value, text]) => h("option", { value }, text)));
  return h("form", { class: "row", onsubmit: async (event) => {
    event.preventDefault();
    await change("PUT", `/users/${encodeURIComponent(name.value.trim())}`, { role: role.value, password: password.value }, reload);
  } },
  h("label", { for: "user-name" }, "Name", name), h("label", { for: "user-role" }, "Role", role),
  h("label", { for: "user-password" }, "Password, 12 characters or more", password), h("button", { class: "main" }, "Add or change"));
}

function tokenForm(reload) {
  const name = h("input", { id: "token-name", required: true, maxlength: "100", autocomplete: "off" });
  const boxes = Object.entries(SCOPES).map(([scope, text]) => [scope, h("input", { type: "checkbox", id: `scope-${scope}` }), text]);
  const made = h("p", { role: "status" });
  return h("form", { onsubmit: async (event) => {
    event.preventDefault();
    const scopes = boxes.filter(([, box]) => box.checked).map(([scope]) => scope);
    if (!scopes.length) return showMessage("Choose what the program may do");
    try {
      const { token, secret } = await call("POST", "/tokens", { name: name.value.trim(), scopes });
      made.replaceChildren(`The token of ${token.name}. Copy it now: it is not shown again. `, h("code", { class: "secret" }, secret), " ",
        button("Done", "Done", reload));
    } catch (error) { showMessage(error.message); }
  } },
  h("div", { class: "row" }, h("label", { for: "token-name" }, "Program", name)),
  boxes.map(([scope, box, text]) => h("p", {}, h("label", { for: `scope-${scope}`, class: "choice" }, box, ` ${scope} `, h("span", { class: "faint" }, text)))),
  h("button", { class: "main" }, "Create token"), made);
}

async function change(method, path, body, reload) {
  try {
    await call(method, path, body);
    await reload();
  } catch (error) { showMessage(error.message); }
}
