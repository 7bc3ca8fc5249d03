import { expect, it } from "vitest";
import { upTo } from "./me.svelte";

it("offers no token more than its user may", () => {
  expect(upTo("submitter")).toEqual(["viewer", "submitter"]);
  expect(upTo("admin")).toHaveLength(4);
});
