// The page: which view is shown, and the door.

import { call, get, session, signIn } from "./api.js";
import { h, say } from "./dom.js";
import * as appearances from "./appearances.js";
import * as health from "./health.js";
import * as live from "./live.js";
import * as people from "./people.js";
import * as settings from "./settings.js";

const views = { live, people, appearances, health, settings };
const main = document.getElementById("view");
let leave = () => {};
let turn = 0;

async function show() {
  const mine = ++turn;
  const [, view, argument] = location.hash.split("/");
  const name = view in views ? view : "live";
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – rkface`;
  const place = h("div");
  let left = () => {};
  try {
    left = await views[name].show(place, argument && decodeURIComponent(argument)) || left;
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
  }
  if (mine !== turn) return left();  // another view was asked for meanwhile, or the door was shut
  leave = left;
  main.replaceChildren(place);
}

function door() {
  leave();
  leave = () => {};
  turn += 1;
  if (main.querySelector("form.door")) return main.querySelector("input").focus();
  document.getElementById("out").hidden = true;
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const outcome = h("p", { class: "bad", role: "alert" });
  main.replaceChildren(h("form", { class: "card door", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await signIn(password.value);
      begin();
    } catch (error) {
      outcome.textContent = error.message;
      password.select();
    }
  } }, h("h1", {}, "Sign in"), h("p", {}, h("label", { for: "password" }, "Password"), password), outcome,
  h("button", { class: "main" }, "Sign in")));
  password.focus();
}

async function begin() {
  try {
    const { signed_in: signedIn, password_needed: needed } = await session();
    document.getElementById("out").hidden = !(signedIn && needed);
    if (!signedIn) return door();
    document.getElementById("synthetic").hidden = !(await get("/health")).synthetic;
    main.replaceChildren();
    await show();
  } catch (error) {
    main.replaceChildren(h("p", { class: "problem" }, `${error.message} Load the page again.`));
  }
}

document.getElementById("skip").addEventListener("click", () => main.focus());
document.getElementById("out").addEventListener("click", async () => {
  try { await call("DELETE", "/session"); } catch (error) { say(error.message); }
  door();
});
window.addEventListener("signedout", door);
window.addEventListener("hashchange", () => {
  show();
  if (!main.querySelector("form.door")) main.focus();  // the door keeps the focus: who types there types a password
});
begin();
