import { expect, test } from "vitest";
import {
  boundsText,
  draftOf,
  draftProblems,
  patchOf,
  rowsOf,
  setText,
  userProblem,
} from "./quotas";
import type { Settings } from "./settings";

const FREE = { queued: null, running: null, cpu_s: null, stored_bytes: null };

const KEPT = {
  retention: { age_s: null, count: null, size_bytes: null },
  audit_s: 1,
  backups_kept: 7,
  keeping: null,
};
const SETTINGS: Settings = {
  keeping: null,
  quotas: { revision: 3, default: FREE, users: { "10": { ...FREE, running: 0 } } },
  judicators: [
    { ...KEPT, name: "old", in_force: null },
    { ...KEPT, name: "a", in_force: { revision: 2, default: FREE, users: {} } },
    {
      ...KEPT,
      name: "b",
      in_force: { revision: 3, default: { ...FREE, queued: 5 }, users: { "9": FREE, "10": FREE } },
    },
  ],
};

test("everybody comes first, as the newest judicator goes by it", () => {
  expect(rowsOf(SETTINGS)).toEqual([
    { user: null, inForce: { ...FREE, queued: 5 }, set: FREE },
    { user: "9", inForce: FREE, set: FREE },
    { user: "10", inForce: FREE, set: { ...FREE, running: 0 } },
  ]);
  expect(rowsOf({ ...SETTINGS, quotas: null })).toEqual([]);
  expect(rowsOf({ ...SETTINGS, judicators: [] })).toEqual([]);
});

test("a user that no judicator knows of yet has what everybody has", () => {
  const users = { "7": { ...FREE, running: 1 } };
  const early = { ...SETTINGS, quotas: { revision: 4, default: FREE, users } };
  expect(rowsOf(early)[1]).toEqual({
    user: "7",
    inForce: { ...FREE, queued: 5 },
    set: users["7"],
  });
});

test("bounds are told in words", () => {
  const all = { queued: 1000, running: 20, cpu_s: 36_000, stored_bytes: 20 * 2 ** 30 };
  expect(boundsText(all)).toBe(
    "1,000 waiting · 20 running · 10 h of processor time a day · 20 GiB stored",
  );
  expect(boundsText(FREE)).toBe("No bounds");
  expect(setText(FREE)).toBe("");
  expect(setText({ ...FREE, queued: 0, cpu_s: 60 })).toBe(
    "Set here: waiting (no bound), processor time",
  );
});

test("only what was changed is sent, and what was emptied is taken away", () => {
  const set = { queued: 10, running: 0, cpu_s: 100, stored_bytes: null };
  const draft = draftOf(set);
  expect(draft).toEqual({ queued: "10", running: "0", cpu_s: "0.027778", stored_bytes: "" });
  expect(patchOf(set, draft)).toEqual({});
  const other = { ...draft, queued: " ", cpu_s: "1.5", stored_bytes: "0.5" };
  expect(patchOf(set, other)).toEqual({ queued: null, cpu_s: 5400, stored_bytes: 2 ** 29 });
});

test("what is no amount and no user is named", () => {
  const draft = { queued: "1.5", running: "many", cpu_s: "2h", stored_bytes: "0.0000000001" };
  expect(draftProblems(draft)).toEqual({
    queued: "A whole number is needed.",
    running: "A whole number is needed.",
    cpu_s: "A number is needed.",
    stored_bytes: "A number is needed.",
  });
  expect(draftProblems({ ...draftOf(FREE), cpu_s: "0.000001" })).toEqual({
    cpu_s: "That is less than the least bound.",
  });
  expect(draftProblems({ ...draftOf(FREE), queued: "0", stored_bytes: "2.5" })).toEqual({});
  expect(["7", " 2147483647"].map(userProblem)).toEqual(["", ""]);
  expect(["", "ada", "-1", "2147483648"].filter((each) => !userProblem(each))).toEqual([]);
});
