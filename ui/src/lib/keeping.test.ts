import { expect, test } from "vitest";
import {
  comingSentences,
  draftOf,
  draftProblems,
  effectsOf,
  hostText,
  lifeText,
  NOTHING,
  rowsOf,
  saidIn,
  takeBack,
  tooOld,
  type Keeping,
  type SetKeeping,
} from "./keeping";
import type { Judicator, Settings } from "./settings";

const DAY = 86_400;
const LATER = "2026-11-29T14:03:00Z";
const FREE = { age_s: null, count: null, size_bytes: null };
const HOST: Keeping = {
  retention: { ...FREE, age_s: 30 * DAY },
  audit_s: 400 * DAY,
  backups_kept: 7,
};
const aged = (age_s: number | null): Keeping => ({ ...HOST, retention: { ...FREE, age_s } });

function judicator(name: string, host: Keeping = HOST, keeping: Keeping | null = host): Judicator {
  return { name, ...host, keeping, in_force: null };
}

function settings(said: Partial<SetKeeping>, ...judicators: Judicator[]): Settings {
  return { quotas: null, keeping: { ...NOTHING, ...said }, judicators };
}

/** In a day ended tasks are kept for a week. */
const WEEK = { retention: { ...FREE, age_s: 7 * DAY }, less_from: LATER };

test("each kind has a row with what is in force, and who says so", () => {
  const rows = rowsOf(
    settings(
      { backups_kept: 14 },
      judicator("a", HOST, { ...HOST, backups_kept: 14 }),
      judicator("b", { ...aged(null), backups_kept: 14 }),
    ),
  );
  const all = (text: string) => [{ text, where: "" }];
  const differing = [
    { text: "30 days", where: "a" },
    { text: "no bound", where: "b" },
  ];
  expect(rows.map((row) => [row.label, row.inForce, row.set])).toEqual([
    ["Ended tasks, by age", differing, false],
    ["Ended tasks, by number", all("no bound"), false],
    ["Ended tasks, by size", all("no bound"), false],
    ["Audit log", all("400 days"), false],
    ["Backups", all("the newest 14"), true],
  ]);
  expect(rows.every((row) => row.coming === "")).toBe(true);
  expect(rowsOf({ ...settings({}, judicator("a")), keeping: null })).toEqual([]);
  expect(rowsOf(settings({}))).toEqual([]);
});

test("what keeps less is told before it begins, and is taken back with what is in force", () => {
  const due = settings(WEEK, judicator("a"), judicator("b"));
  expect(rowsOf(due)[0]).toMatchObject({
    inForce: [{ text: "30 days" }],
    set: true,
    coming: "7 days",
  });
  expect(comingSentences(due)).toEqual(["ended tasks are kept for 7 days"]);
  expect(takeBack(due)).toEqual({ age_s: null });

  const other = settings(WEEK, judicator("a", aged(3 * DAY), aged(90 * DAY)), judicator("b"));
  expect(takeBack(other)).toEqual({ age_s: 90 * DAY });
  const free = settings(WEEK, judicator("a", aged(3 * DAY), aged(null)), judicator("b"));
  expect(takeBack(free)).toEqual({ age_s: 0 });

  const partly = settings(WEEK, judicator("a"), judicator("b", aged(DAY)));
  expect(comingSentences(partly)).toEqual(["ended tasks are kept for 7 days (a)"]);
  expect(takeBack({ ...due, keeping: { ...due.keeping!, less_from: null } })).toEqual({});
});

test("who is too old keeps what its host was told", () => {
  const due = settings(WEEK, judicator("a"), judicator("old", aged(90 * DAY), null));
  expect(tooOld(due)).toEqual(["old"]);
  expect(rowsOf(due)[0]?.coming).toBe("7 days (a) · 90 days (old)");
  expect(comingSentences(due)).toEqual(["ended tasks are kept for 7 days (a)"]);
  expect(takeBack(due)).toEqual({ age_s: null });
});

test("what is typed comes out as it went in", () => {
  const said: SetKeeping = {
    retention: { age_s: 36 * 3600, count: 0, size_bytes: 200 * 2 ** 30 },
    audit_s: null,
    backups_kept: 14,
    less_from: null,
  };
  const draft = draftOf(said);
  expect(draft).toEqual({
    age_s: "36h",
    count: "none",
    size_bytes: "200GiB",
    audit_s: "",
    backups_kept: "14",
  });
  expect(saidIn(said, draft)).toEqual({});
  const other = { age_s: " 1.5 d ", count: "1,000 000", size_bytes: "0.5T", audit_s: "90d" };
  expect(draftProblems({ ...other, backups_kept: "" })).toEqual({});
  expect(saidIn(said, { ...other, backups_kept: "" })).toEqual({
    count: 1_000_000,
    size_bytes: 2 ** 39,
    audit_s: 90 * DAY,
    backups_kept: null,
  });
});

test("what is no amount is named, and has no effect", () => {
  const draft = {
    age_s: "30",
    count: "1.5",
    size_bytes: "200 GB",
    audit_s: "none",
    backups_kept: "0",
  };
  expect(draftProblems(draft)).toEqual({
    age_s: "A duration such as 30d is needed, or none.",
    count: "A whole number such as 1000000 is needed, or none.",
    size_bytes: "A size such as 200GiB is needed, or none.",
    audit_s: "A duration such as 90d is needed.",
    backups_kept: "A whole number such as 14 is needed.",
  });
  expect(saidIn(NOTHING, draft)).toEqual({});
  expect(draftProblems({ ...draftOf(NOTHING), age_s: "59m", audit_s: "23h" })).toEqual({
    age_s: "At least 1 hour is needed.",
    audit_s: "At least 1 day is needed.",
  });
});

test("what gateways would refuse is named with the limit, and has no effect", () => {
  const draft = {
    age_s: "36501d",
    count: "1000000001",
    size_bytes: "1025TiB",
    audit_s: "36501d",
    backups_kept: "1,001",
  };
  expect(draftProblems(draft)).toEqual({
    age_s: "36,500 days is the most.",
    count: "1,000,000,000 is the most.",
    size_bytes: "1024 TiB is the most.",
    audit_s: "36,500 days is the most.",
    backups_kept: "1,000 is the most.",
  });
  expect(saidIn(NOTHING, draft)).toEqual({});
  expect(saidIn(NOTHING, { ...draftOf(NOTHING), age_s: "59m" })).toEqual({});
  const most = { age_s: "36500d", count: "1000000000", size_bytes: "1024TiB", audit_s: "36500d" };
  expect(draftProblems({ ...most, backups_kept: "1000" })).toEqual({});
});

test("what comes of a draft is told before it is sent", () => {
  const found = settings({}, judicator("a"), judicator("b"));
  const said = { age_s: 0, count: 1000, audit_s: 90 * DAY, backups_kept: 14 };
  expect(effectsOf(found, said)).toEqual({
    atOnce: ["ended tasks are kept however old they are", "each judicator keeps 14 backups"],
    later: [
      "the newest 1,000 ended tasks are kept",
      "new entries of the audit log are kept for 90 days",
    ],
  });
  expect(effectsOf(found, { age_s: 30 * DAY })).toEqual({ atOnce: [], later: [] });
});

test("where judicators differ, more for one is less for another", () => {
  const found = settings({}, judicator("a"), judicator("b", aged(null)));
  expect(effectsOf(found, { age_s: 60 * DAY })).toEqual({
    atOnce: ["ended tasks are kept for 60 days (a)"],
    later: ["ended tasks are kept for 60 days (b)"],
  });
  expect(hostText(found, "age_s")).toBe("30 days (a) · no bound (b)");
});

test("what was to keep less is taken back at once", () => {
  const due = settings(WEEK, judicator("a"));
  expect(effectsOf(due, { age_s: null })).toEqual({
    atOnce: ["ended tasks are kept for 30 days"],
    later: [],
  });
});

test("how long something is kept is told in the largest unit that fits", () => {
  expect([DAY, 30 * DAY, 36 * 3600, 90 * 60].map(lifeText)).toEqual([
    "1 day",
    "30 days",
    "36 hours",
    "1 h 30 min",
  ]);
});
