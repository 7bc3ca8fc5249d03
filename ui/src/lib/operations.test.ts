import { describe, expect, it } from "vitest";
import {
  backupBadge,
  goneText,
  isUnderWay,
  keptText,
  type Backup,
  type Collected,
} from "./operations";

const FOUND: Collected = {
  dry_run: true,
  kept: { age_s: null, count: null, size_bytes: null },
  tasks: 1204,
  jobs: 3,
  size_bytes: 325_058_560,
  oldest: null,
  newest: null,
  needed: 0,
  more: false,
};

const BACKUP: Backup = {
  id: "5a1f0c2be97d4e63",
  judicator: "b",
  state: "done",
  created_at: "2026-01-01T00:00:00Z",
  finished_at: "2026-01-01T00:01:00Z",
  size_bytes: 1,
  tasks: 1,
  blobs: 0,
  verified_at: "2026-01-01T00:01:00Z",
  verifying: false,
  error: null,
};

describe("what is kept", () => {
  it("is everything where no setting says less", () =>
    expect(keptText(FOUND.kept)).toContain("have ended: everything, but for those"));
  it("is what all settings keep", () =>
    expect(keptText({ age_s: 2_592_000, count: 1_000_000, size_bytes: 2 ** 30 })).toContain(
      ": what ended within 30 d, and of that the newest 1,000,000, and of that what fits into 1 GiB,",
    ));
});

describe("what goes", () => {
  it("is said with its size and whole jobs", () =>
    expect(goneText(FOUND)).toBe("1,204 tasks would go, 310 MiB, 3 whole jobs among them."));
  it("is at least so much where not all was looked at", () => {
    expect(goneText({ ...FOUND, jobs: 0, more: true })).toBe(
      "At least 1,204 tasks would go, 310 MiB.",
    );
    expect(goneText({ ...FOUND, tasks: 0, more: true })).toBe("Nothing yet; there is more.");
  });
  it("is told apart from what went", () => {
    expect(goneText({ ...FOUND, dry_run: false, tasks: 1, jobs: 0 })).toBe("1 task went, 310 MiB.");
    expect(goneText({ ...FOUND, tasks: 0 })).toBe("Nothing would go.");
  });
});

it("a backup is worth what was restored of it", () => {
  const word = (more: Partial<Backup>) => backupBadge({ ...BACKUP, ...more }).word;
  expect(word({})).toBe("Verified");
  expect(word({ verified_at: null, error: "2 tasks are missing" })).toBe("Not verified");
  expect(word({ verifying: true })).toBe("Being verified");
  expect(word({ state: "running", verified_at: null })).toBe("Being taken");
  expect(word({ state: "failed", verified_at: null })).toBe("Failed");
});

it("is looked at more often while something goes on", () => {
  const of = (more: Partial<Backup>) =>
    isUnderWay({ items: [{ ...BACKUP, ...more }], unreachable: [] });
  expect(of({})).toBe(false);
  expect(of({ verifying: true })).toBe(true);
  expect(of({ state: "running" })).toBe(true);
});
