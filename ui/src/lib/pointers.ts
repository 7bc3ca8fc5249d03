/**
 * Where in a JSON text the thing is that a JSON pointer names: faults come with pointers, and
 * people look at text.
 */

/** The value at `pointer`, as far as it exists: otherwise what it would be in. Null for no JSON. */
export function rangeOf(text: string, pointer: string): [from: number, to: number] | null {
  try {
    JSON.parse(text);
  } catch {
    return null;
  }
  let at = skip(text, 0);
  for (const step of stepsOf(pointer)) {
    const child = childOf(text, at, step);
    if (child === null) break;
    at = child;
  }
  return [at, endOf(text, at)];
}

function stepsOf(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function skip(text: string, at: number): number {
  while (/\s/.test(text.charAt(at))) at += 1;
  return at;
}

/** Behind the value that begins at `at`; the text is known to be JSON. */
function endOf(text: string, at: number): number {
  const first = text.charAt(at);
  if (first === '"') {
    for (at += 1; text.charAt(at) !== '"'; at += 1) if (text.charAt(at) === "\\") at += 1;
    return at + 1;
  }
  if (first !== "{" && first !== "[") {
    while (/[\w.+-]/.test(text.charAt(at))) at += 1;
    return at;
  }
  let depth = 0;
  do {
    const char = text.charAt(at);
    if (char === '"') {
      at = endOf(text, at);
      continue;
    }
    if (char === "{" || char === "[") depth += 1;
    if (char === "}" || char === "]") depth -= 1;
    at += 1;
  } while (depth > 0);
  return at;
}

/** Where the member or element of that name begins. */
function childOf(text: string, at: number, step: string): number | null {
  const list = text.charAt(at) === "[";
  if (!list && text.charAt(at) !== "{") return null;
  at = skip(text, at + 1);
  let found: number | null = null;
  for (let index = 0; !/[\]}]/.test(text.charAt(at)); index += 1) {
    let name = `${index}`;
    if (!list) {
      const end = endOf(text, at);
      name = JSON.parse(text.slice(at, end)) as string;
      at = skip(text, skip(text, end) + 1);
    }
    // Of two members of a name the last one counts.
    if (name === step) found = at;
    at = skip(text, endOf(text, at));
    if (text.charAt(at) === ",") at = skip(text, at + 1);
  }
  return found;
}
