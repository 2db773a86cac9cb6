// What every page of ours does: shows one of its views, or the form to sign in, and the menu.

import { readAddress } from "./address.js";
import { call, getSession, signIn } from "./api.js";
import { h, showMessage } from "./dom.js";

const main = document.getElementById("view");
const menu = document.getElementById("menu");
const signOut = document.getElementById("sign-out");
let views = {}, signedInNow = async () => {};
let leave = () => {};  // stops the current view
let turn = 0;  // counts changes of the view, to notice if one was overtaken by the next

async function showView() {
  const mine = ++turn;
  const { view, argument, filters } = readAddress();
  const name = Object.hasOwn(views, view) ? view : Object.keys(views)[0];
  openMenu(false);
  leave();
  leave = () => {};
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – rkface`;
  const place = h("div");
  let stop = () => {};
  try {
    stop = await views[name].show(place, argument, filters) || stop;
  } catch (error) {
    place.replaceChildren(h("p", { class: "problem" }, error.message));
  }
  if (mine !== turn) return stop();  // meanwhile the user opened another view or signed out
  leave = stop;
  main.replaceChildren(place);
}

function openMenu(open) {  // on a narrow screen; on a wide one, the links are always shown
  menu.setAttribute("aria-expanded", String(open));
}

function showSignIn() {
  leave();
  leave = () => {};
  turn += 1;
  if (main.querySelector("form.sign-in")) return main.querySelector("input").focus();
  signOut.hidden = true;
  delete document.body.dataset.scopes;
  const user = h("input", { id: "user", autocomplete: "username" });
  const password = h("input", { id: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = h("p", { class: "bad", role: "alert" });
  main.replaceChildren(h("form", { class: "card sign-in", onsubmit: async (event) => {
    event.preventDefault();
    try {
      await signIn(user.value.trim(), password.value);
      start();
    } catch (error) {
      problem.textContent = error.message[0].toUpperCase() + error.message.slice(1);
      password.select();
    }
  } }, h("h1", {}, "Sign in"), h("p", {}, h("label", { for: "password" }, "Password"), password),
  h("details", {}, h("summary", {}, "Sign in as a user"),
    h("p", {}, h("label", { for: "user" }, "User", h("span", { class: "faint" }, "Empty for the owner")), user)), problem,
  h("button", { class: "main" }, "Sign in")));
  password.focus();
}

async function start() {
  try {
    const { signed_in: signedIn, password_needed: passwordNeeded, scopes } = await getSession();
    signOut.hidden = !(signedIn && passwordNeeded);
    if (!signedIn) return showSignIn();
    document.body.dataset.scopes = scopes.join(" ");  // style.css hides what this user may not do
    await signedInNow();
    main.replaceChildren();
    await showView();
  } catch (error) {
    main.replaceChildren(h("p", { class: "problem" }, `${error.message} Reload the page.`));
  }
}

window.addEventListener("busy", ({ detail }) => {
  const [reason] = detail.split(":");  // behind it is the advice to do what the page does by itself
  const text = `${reason[0].toUpperCase()}${reason.slice(1)}. Trying again…`;
  if (main.children.length) showMessage(text);
  else main.replaceChildren(h("p", { role: "status" }, text));  // no view is shown yet
});
document.getElementById("skip").addEventListener("click", () => main.focus());
menu.addEventListener("click", () => openMenu(menu.getAttribute("aria-expanded") !== "true"));
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || menu.getAttribute("aria-expanded") !== "true") return;
  openMenu(false);
  menu.focus();
});
signOut.addEventListener("click", async () => {
  try { await call("DELETE", "/session"); } catch (error) { showMessage(error.message); }
  showSignIn();
});
window.addEventListener("signedout", showSignIn);
window.addEventListener("hashchange", () => {
  showView();
  if (!main.querySelector("form.sign-in")) main.focus();  // the password field keeps the focus while someone types
});

// Starts the page with these views (name → module with `show`), the first of which is shown if the address names no
// other. `signedIn` is called before the first view of somebody who has signed in.
export function startPage(its, signedIn = async () => {}) {
  views = its;
  signedInNow = signedIn;
  start();
}
