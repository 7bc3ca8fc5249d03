import { expect, test } from "vitest";
import { enforcementGaps, enforcementLabel } from "./enforcement";

test("a mode that enforces everything is only named", () => {
  const held = { mode: "cgroup_v2", root: true, unenforced: [] };
  expect(enforcementLabel(held)).toBe("root, cgroup v2");
  expect(enforcementGaps(held)).toBe("");
});

test("gaps are said, also those that this page does not know", () => {
  const held = { mode: "degraded", root: false, unenforced: ["cpu_share", "gravity"] };
  expect(enforcementLabel(held)).toBe("not root, no cgroups");
  expect(enforcementGaps(held)).toBe("Not enforced: the share of processors; gravity.");
});

test("an executor that is too old to say is unknown", () => {
  expect(enforcementLabel(null)).toBe("unknown");
  expect(enforcementGaps(null)).toBe("");
});
