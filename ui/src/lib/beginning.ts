/** What the fields of a form know of the preset that it begins with. */
import { getContext, setContext } from "svelte";

export interface Beginning {
  /** What the preset says, where the control of this id says something else. */
  instead: (id: string) => string | undefined;
  takeBack: (id: string) => void;
}

const KEY = Symbol("beginning");

export function provideBeginning(preset: Beginning): void {
  setContext(KEY, preset);
}

/** Undefined in a form that knows of none. */
export function beginning(): Beginning | undefined {
  return getContext<Beginning | undefined>(KEY);
}
