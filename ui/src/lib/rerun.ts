/** A task's own submission, back in the form: "edit and rerun". */

import { getDefaultLimits, getFile, getSubmitted, getTask } from "./api";
import { optionsOf } from "./options";
import { draftOf, type Archives, type Draft } from "./submission";
import { onlyTextFile } from "./zip";

/** A single text file opens in the editor; any other archive is attached as it is. */
export async function loadRerun(id: string): Promise<{ draft: Draft; archives: Archives }> {
  const [task, view] = await Promise.all([getSubmitted(id), getTask(id)]);
  const draft = draftOf(task);
  const defaults = await getDefaultLimits({
    compile: task.compile.timeout,
    execute: task.execute.timeout,
  });
  draft.options = optionsOf(view, defaults);
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

function archive(zip: Uint8Array<ArrayBuffer>, name: string): File {
  return new File([zip], name, { type: "application/zip" });
}
