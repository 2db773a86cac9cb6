// The address of what the page shows: #/view/argument?filter=value. Every filter and page of a list is in it, so that it
// can be kept as a bookmark, and the browser's back button works. What follows the "#" is not sent to the service.

export function readAddress(hash = location.hash) {
  const [path, filters] = hash.replace(/^#\/?/, "").split("?", 2);
  const [view, argument] = path.split("/", 2).map(decode);
  return { view, argument: argument || undefined, filters: Object.fromEntries(new URLSearchParams(filters ?? "")) };
}

export function addressOf(view, argument, filters = {}) {
  const given = Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false);
  const search = new URLSearchParams(given).toString();
  return `#/${view}${argument ? `/${encodeURIComponent(argument)}` : ""}${search ? `?${search}` : ""}`;
}

// Puts `filters` into the address of the current view, which the view itself then shows. Choices become steps of the
// browser's history; what is typed letter by letter does not (`replace`).
export function setFilters(filters, { replace = false } = {}) {
  const { view, argument } = readAddress();
  history[replace ? "replaceState" : "pushState"](null, "", addressOf(view, argument, filters));
}

function decode(text) {
  try { return decodeURIComponent(text); } catch { return ""; }  // somebody typed a lone %
}
