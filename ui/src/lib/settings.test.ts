import { expect, test } from "vitest";
import { behind, type Judicator, type Settings } from "./settings";

const FREE = { queued: null, running: null, cpu_s: null, stored_bytes: null };
const judicator = (name: string, revision: number | null): Judicator => ({
  name,
  retention: { age_s: null, count: null, size_bytes: null },
  audit_s: 1,
  backups_kept: 7,
  keeping: null,
  in_force: revision === null ? null : { revision, default: FREE, users: {} },
});

test("who does not go by what is set is named", () => {
  const settings: Settings = {
    quotas: { revision: 3, default: FREE, users: {} },
    keeping: null,
    judicators: [judicator("old", null), judicator("a", 2), judicator("b", 3)],
  };
  expect(behind(settings)).toEqual(["old", "a"]);
  expect(behind({ ...settings, quotas: null })).toEqual(["old"]);
});
