import { expect, it } from "vitest";
import { match, successor } from "./router.svelte";

const ID = "6b04d4787d852fb9eb7f7a4e";
const lead = (path: string) => successor(new URL(path, "http://khala.test"));

it.each([
  ["/", "/tasks"],
  ["/frame", "/tasks"],
  ["/search", "/tasks"],
  ["/search/", "/tasks"],
  ["/add", "/tasks/new"],
  [`/get?id=${ID}`, `/tasks/${ID}`],
  ["/get?id=../../x", "/tasks"],
  ["/get", "/tasks"],
])("KV2's %s leads to %s", (old, now) => expect(lead(old)).toBe(now));

it.each([
  "/tasks",
  "/tasks/new",
  `/tasks/${ID}`,
  "/executors",
  "/judicators",
  "/queue",
  "/stats",
  "/cluster",
  "/tokens",
  "/users",
  "/audit",
  "/operations",
  "/jobs",
  `/jobs/${ID}`,
])("%s is a page of its own", (path) => {
  expect(lead(path)).toBeNull();
  expect(match(path).name).not.toBe("missing");
});

it.each(["/tasks/XYZ", `/tasks/${ID}0`, "/nope", "/tasks/new/x"])("%s is no page", (path) => {
  expect(match(path)).toEqual({ name: "missing" });
});
