import { describe, expect, it } from "vitest";
import { onlyUser, refusal } from "./may";
import type { Me, Role } from "./types";

const who = (role: Role, number: number | null = 7): Me => ({
  name: "ann",
  number,
  role,
  known_by: "token",
  expires_at: null,
  has_users: true,
});

describe("what is refused", () => {
  it("is what needs a higher role, whoever's it is", () => {
    expect(refusal(who("viewer"), "cancel_task", 7)).toBe(
      "This needs the role submitter; yours is viewer.",
    );
    expect(refusal(who("submitter"), "drain_node")).toContain("the role operator");
    expect(refusal(who("operator"), "download_backup")).toContain("the role admin");
    expect(refusal(who("operator"), "drain_node")).toBe("");
    expect(refusal(who("admin"), "list_users")).toBe("");
  });
  it("is to a submitter what is somebody else's", () => {
    expect(refusal(who("submitter"), "cancel_task", 8)).toBe(
      "It is user 8's; to change what is others' needs the role operator.",
    );
    for (const user of [7, null]) expect(refusal(who("submitter"), "cancel_task", user)).toBe("");
    expect(refusal(who("submitter", 0), "cancel_task", 8)).not.toBe("");
    expect(refusal(who("operator"), "cancel_task", 8)).toBe("");
    // As the gateway has it: who has no number is held to none.
    expect(refusal(who("submitter", null), "cancel_task", 8)).toBe("");
  });
  it("is nothing where nobody knows who one is, and where a cluster has no users", () => {
    expect(refusal(null, "list_users")).toBe("");
    const open: Me = { ...who("admin", null), known_by: "open", has_users: false };
    for (const act of ["list_users", "drain_node", "cancel_task"] as const)
      expect(refusal(open, act, 8)).toBe("");
  });
});

it("a submitter's acts on filters are for its own things", () => {
  expect(onlyUser(who("submitter"))).toBe(7);
  for (const role of ["viewer", "operator", "admin"] as const)
    expect(onlyUser(who(role))).toBeNull();
  expect(onlyUser(null)).toBeNull();
});
