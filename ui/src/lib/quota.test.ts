import { expect, test } from "vitest";
import { shares } from "./quota";

const NONE = { limit: null, used: null };

test("only what has a limit is shown, in the words of its unit", () => {
  const quota = { user: 7, queued: NONE, running: NONE, cpu_s: NONE, stored_bytes: NONE };
  expect(shares(quota)).toEqual([]);
  const found = shares({
    ...quota,
    queued: { limit: 1000, used: 12 },
    cpu_s: { limit: 36_000, used: 60 },
    stored_bytes: { limit: 2 ** 30, used: 0 },
  });
  expect(found.map(({ word, text }) => `${word}: ${text}`)).toEqual([
    "Tasks that wait: 12 of 1,000",
    "Processor time today (UTC): 1 min of 10 h",
    "Stored: 0 B of 1 GiB",
  ]);
});
