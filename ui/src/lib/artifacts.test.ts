import { describe, expect, it } from "vitest";
import { cacheDetail, cacheWord, hitRate, leftOut } from "./artifacts";

const counts = {
  hits: 3,
  misses: 1,
  stored: 1,
  evicted: 0,
  entries: 1,
  size_bytes: 10,
  max_bytes: 100,
};

describe("what was left out", () => {
  it("names the first and counts the others", () => {
    expect(leftOut({ reason: "too_large", count: 12, names: ["a", "b"] })).toBe(
      "12 left out, more bytes than are kept: a, b and 10 more",
    );
    expect(leftOut({ reason: "not_a_file", count: 1, names: ["link"] })).toBe(
      "1 left out, not a plain file: link",
    );
  });
  it("shows a reason of a newer gateway as it is", () => {
    expect(leftOut({ reason: "haunted", count: 1, names: [] })).toBe("1 left out, haunted");
  });
});

describe("the compile cache", () => {
  it("says something only where it did something", () => {
    expect([cacheWord("hit"), cacheWord("miss"), cacheWord("off"), cacheWord(null)]).toEqual([
      "from the cache",
      "",
      "cache off",
      "",
    ]);
  });
  it("has a rate once it was asked", () => {
    expect(hitRate(counts)).toBe("75 %");
    expect(hitRate({ ...counts, hits: 0, misses: 0 })).toBe("not used yet");
    expect(hitRate({ ...counts, max_bytes: 0 })).toBe("off");
    expect(hitRate(null)).toBe("unknown");
    expect(cacheDetail(counts)).toBe("3 of 4 compilations since its start; 1 entry");
  });
});
