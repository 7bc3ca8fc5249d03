import { expect, it } from "vitest";
import { includes, upTo } from "./me.svelte";

it("knows that a role may what the ones below it may", () => {
  expect(includes("operator", "submitter")).toBe(true);
  expect(includes("operator", "operator")).toBe(true);
  expect(includes("submitter", "operator")).toBe(false);
});

it("offers no token more than its user may", () => {
  expect(upTo("submitter")).toEqual(["viewer", "submitter"]);
  expect(upTo("admin")).toHaveLength(4);
});
