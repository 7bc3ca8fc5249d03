import { expect, test } from "vitest";
import { NotAllDone, wordsOf } from "./acts";
import { ApiError } from "./api";

test("what failed is said in the words of whoever refused it", () => {
  const refused = new ApiError(409, "already_done", "Conflict", "The task has ended.");
  expect(wordsOf(refused)).toBe("Conflict. The task has ended.");
  expect(wordsOf(new NotAllDone("2 tasks are left."))).toBe("2 tasks are left.");
  expect(wordsOf(new TypeError("x is null"))).toBe("TypeError: x is null");
});
