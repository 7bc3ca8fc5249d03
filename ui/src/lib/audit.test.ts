import { expect, it } from "vitest";
import { outcomeOf, whoOf } from "./audit";
import type { AuditItem } from "./types";

const ENTRY: AuditItem = {
  id: "6b04d4787d852fb9eb7f7a4e",
  at: "2026-11-28T00:00:00Z",
  act: "node.drain",
  target: "exec-07",
  detail: "",
  user: null,
  known_by: "host",
  address: "",
  via: "judicator-1",
  status: null,
};

it.each([
  [null, "nobody knows how it ended"],
  [200, "done"],
  [204, "done"],
  [403, "not allowed"],
  [409, "refused (409)"],
])("says of status %s that it is %s", (status, word) => {
  expect(outcomeOf(status).word).toBe(word);
});

it("names whoever has a name, and else what vouched for them", () => {
  expect(whoOf({ ...ENTRY, user: "ann", known_by: "session" })).toBe("ann");
  expect(whoOf(ENTRY)).toBe("a command on judicator-1");
  expect(whoOf({ ...ENTRY, known_by: "token_file" })).toBe("the gateway's token");
  expect(whoOf({ ...ENTRY, known_by: "open" })).toBe("anybody");
});
