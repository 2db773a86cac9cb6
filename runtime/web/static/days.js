// Filters by day: two fields with dates, and what they mean for the service.

import { h } from "./dom.js";

// The time at which a day begins here, `later` days after the day `text` (2026-11-29), for the service.
export function midnight(text, later = 0) {
  const [year, month, day] = /^(\d{4})-(\d\d)-(\d\d)$/.exec(text ?? "")?.slice(1).map(Number) ?? [];
  const time = new Date(year, month - 1, day + later);  // not 24 hours later: a day may have 23 or 25
  return year && !Number.isNaN(time.getTime()) ? time.toISOString() : undefined;
}

// The fields From and To. `change` is called with the field that was changed.
export const dayFields = (filters, change) => [["from", "From"], ["to", "To"]].map(([name, label]) => {
  const field = h("input", { id: name, type: "date", value: filters[name] ?? "", onchange: () => change({ [name]: field.value }) });
  return h("label", { for: name }, label, field);
});
