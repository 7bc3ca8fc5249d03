import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  curlCommand,
  emptyDraft,
  exampleDraft,
  formData,
  shellWord,
  validate,
  type Archives,
  type Fields,
} from "./submission";

const NONE: Archives = { source: null, data: null };

function problemsOf(fields: Partial<Fields>) {
  const draft = exampleDraft();
  Object.assign(draft.fields, fields);
  return validate(draft, NONE);
}

describe("validate", () => {
  it("accepts the example", () => expect(problemsOf({})).toEqual({}));
  it("asks for what the gateway requires, and only for that", () => {
    expect(Object.keys(validate(emptyDraft(), NONE))).toEqual([
      "user",
      "compile_timeout",
      "execute_timeout",
    ]);
  });
  it.each(["1.5", "-1", "abc", "2147483648", "1e3"])("refuses %s as a user", (user) =>
    expect(Object.keys(problemsOf({ user }))).toEqual(["user"]),
  );
  it.each(["0", " 5 ", "+5", "2147483647"])("accepts %s as a user", (user) =>
    expect(problemsOf({ user })).toEqual({}),
  );
  it.each(["../x", "/etc/passwd", "a//b", "a/./b", "a/", "a\\b", "x".repeat(256), "ä".repeat(128)])(
    "refuses %s as a file name",
    (name) =>
      expect(Object.keys(problemsOf({ compile_source_name: name }))).toEqual([
        "compile_source_name",
      ]),
  );
  it("accepts a file in a folder", () =>
    expect(problemsOf({ compile_source_name: "src/main.cpp" })).toEqual({}));
  it("wants name and text together or not at all", () => {
    expect(Object.keys(problemsOf({ compile_source_name: "" }))).toEqual(["compile_source_name"]);
    expect(Object.keys(problemsOf({ compile_source_str: "" }))).toEqual(["compile_source_str"]);
    expect(problemsOf({ compile_source_name: "", compile_source_str: "" })).toEqual({});
  });
  it("wants the archive that was announced, and not the text beside it", () => {
    const draft = exampleDraft();
    draft.sourceVia = "zip";
    draft.fields.compile_source_name = "";
    expect(Object.keys(validate(draft, NONE))).toEqual(["compile_source"]);
    const source = new File(["PK"], "a.zip");
    expect(validate(draft, { ...NONE, source })).toEqual({});
    const sent = formData(draft, { ...NONE, source });
    expect(sent.has("compile_source")).toBe(true);
    expect(sent.has("compile_source_str")).toBe(false);
  });
});

describe("curlCommand", () => {
  it("gives a shell the very values of the form", () => {
    const draft = exampleDraft();
    draft.fields.compile_command = `echo 'it'"s" $HOME \`id\` \\ !x\n@file`;
    draft.fields.execute_input = "@/etc/passwd";
    draft.dataVia = "zip";
    const data = new File(["PK"], `my "data" it's.zip`);
    const command = curlCommand(draft, { ...NONE, data }, { origin: "http://h:7000", token: true });
    // The shell itself tells what it would have run.
    const words = execFileSync("bash", ["-c", `curl() { printf '%s\\0' "$@"; }\n${command}`], {
      env: { ...process.env, KHALA_TOKEN: "t0ken" },
    })
      .toString()
      .split("\0");
    expect(words).toContain(`compile_command=${draft.fields.compile_command}`);
    expect(words).toContain(`compile_source_str=${draft.fields.compile_source_str}`);
    expect(words[words.indexOf("execute_input=@/etc/passwd") - 1]).toBe("--form-string");
    expect(words).toContain(`execute_data=@"my \\"data\\" it's.zip";type=application/zip`);
    expect(words).toContain("Authorization: Bearer t0ken");
    expect(words.at(-2)).toBe("http://h:7000/api/task");
    expect(words).not.toContain("execute_data_str=");
  });
});

it("quotes nothing that needs no quotes", () => {
  expect(shellWord("user=0")).toBe("user=0");
  expect(shellWord("")).toBe("''");
});
