// Journeys over all boards, and attendance as a file.

import { getAll, query } from "./api.js";
import { h } from "./dom.js";
import { journeysView } from "./journeys.js";

const sites = async () => [...new Set((await getAll("/boards")).map((one) => one.site))];

const isDay = (text) => /^\d{4}-\d\d-\d\d$/.test(text ?? "");

// The link to the attendance of the chosen days, otherwise of this month, in the time zone of the browser.
function attendance({ from, to, site }) {
  const today = new Date().toLocaleDateString("sv");  // 2026-11-29
  const values = {
    from: isDay(from) ? from : `${(isDay(to) ? to : today).slice(0, 8)}01`, to: isDay(to) ? to : today,
    time_zone: Intl.DateTimeFormat().resolvedOptions().timeZone, site: site || null,
  };
  return h("a", { class: "button", href: `/v1/attendance.csv?${query(values)}`, download: "", title: `${values.from} to ${values.to}, ${values.time_zone}` },
    "Attendance (CSV)");
}

export const { show } = journeysView("site", "Site", sites, attendance);
