/** A task's own submission, back in the form: "edit and rerun". */

import { ApiError, getCase, getDefaultLimits, getFile, getSubmitted, getTask } from "./api";
import { CHECK_MODES, emptyCases, type CasesDraft } from "./cases";
import { optionsOf } from "./options";
import { draftOf, type Archives, type Draft } from "./submission";
import type { Task } from "./types";
import { onlyTextFile } from "./zip";

/** A single text file opens in the editor; any other archive is attached as it is. */
export async function loadRerun(id: string): Promise<{ draft: Draft; archives: Archives }> {
  const [task, { value: view }] = await Promise.all([getSubmitted(id), getTask(id)]);
  const draft = draftOf(task);
  const defaults = await getDefaultLimits({
    compile: task.compile.timeout,
    execute: task.execute.timeout,
  });
  draft.options = optionsOf(view, defaults);
  draft.cases = await casesOf(view);
  const archives: Archives = { source: null, data: null };
  if (task.compile.source) {
    const zip = await getFile(id, "compile_source");
    const only = await onlyTextFile(zip);
    if (only) {
      draft.fields.compile_source_name = only.name;
      draft.fields.compile_source_str = only.text;
    } else {
      draft.sourceVia = "zip";
      archives.source = archive(zip, `${id}_compile_source.zip`);
    }
  }
  if (task.execute.data) {
    const zip = await getFile(id, "execute_data");
    const only = await onlyTextFile(zip);
    if (only) {
      draft.fields.execute_data_name = only.name;
      draft.fields.execute_data_str = only.text;
    } else {
      draft.dataVia = "zip";
      archives.data = archive(zip, `${id}_execute_data.zip`);
    }
  }
  return { draft, archives };
}

/** Questions under way at a time. */
const AT_ONCE = 8;

/** The cases of a task as they were given. A checker's own files cannot be read back. */
async function casesOf(task: Task): Promise<CasesDraft> {
  const draft = emptyCases();
  const mode = CHECK_MODES.find((each) => each.mode === task.check?.mode)?.mode;
  if (mode) draft.check.mode = mode;
  draft.check.absolute = task.check?.absolute?.toString() ?? "";
  draft.check.relative = task.check?.relative?.toString() ?? "";
  const cases = task.cases ?? [];
  if (cases.length === 0) return draft;
  draft.via = "cases";
  draft.stopOnFirst = task.stop_on_first_failure;
  draft.items = [];
  for (let first = 0; first < cases.length; first += AT_ONCE) {
    const some = cases.slice(first, first + AT_ONCE);
    const details = await Promise.all(some.map((each) => getCase(task.id, each.number)));
    for (const { case: each, stdin, expected } of details) {
      for (const text of [stdin, expected]) if (text) wholeOrRefused(each.name, text);
      draft.items.push({
        name: each.name === `${each.number}` ? "" : each.name,
        stdin: stdin.text,
        expected: expected?.text ?? "",
        weight: each.weight === 1 ? "" : `${each.weight}`,
      });
    }
  }
  return draft;
}

const utf8 = new TextEncoder();

/** What was cut, or is no text, would come back as something else. */
function wholeOrRefused(name: string, given: { size: number; text: string }): void {
  if (utf8.encode(given.text).length === given.size) return;
  throw new ApiError(
    0,
    "not_editable",
    "Its cases cannot be edited here",
    `Case ${name} is too long for the form, or no text. khala.pex rerun repeats the task as it is.`,
  );
}

function archive(zip: Uint8Array<ArrayBuffer>, name: string): File {
  return new File([zip], name, { type: "application/zip" });
}
