/**
 * The code editor, in a chunk of its own that only the form loads.
 *
 * It lives in a shadow root: there CodeMirror's styles become constructed style sheets, which the
 * pages' content security policy allows. In the document itself it would insert <style> elements,
 * which the policy forbids.
 */

import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import {
  bracketMatching,
  HighlightStyle,
  indentOnInput,
  indentUnit,
  StreamLanguage,
  syntaxHighlighting,
  type StreamParser,
} from "@codemirror/language";
import { c, cpp, csharp, java, kotlin, scala } from "@codemirror/legacy-modes/mode/clike";
import { go } from "@codemirror/legacy-modes/mode/go";
import { javascript, json, typescript } from "@codemirror/legacy-modes/mode/javascript";
import { python } from "@codemirror/legacy-modes/mode/python";
import { ruby } from "@codemirror/legacy-modes/mode/ruby";
import { rust } from "@codemirror/legacy-modes/mode/rust";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { Compartment, EditorState } from "@codemirror/state";
import {
  drawSelection,
  EditorView,
  highlightActiveLine,
  highlightActiveLineGutter,
  highlightSpecialChars,
  keymap,
  lineNumbers,
} from "@codemirror/view";
import { tags } from "@lezer/highlight";

const MODES: Record<string, StreamParser<unknown>> = {
  c,
  h: c,
  cc: cpp,
  cpp,
  cxx: cpp,
  hpp: cpp,
  cs: csharp,
  java,
  kt: kotlin,
  scala,
  go,
  js: javascript,
  mjs: javascript,
  ts: typescript,
  json,
  py: python,
  rb: ruby,
  rs: rust,
  sh: shell,
  bash: shell,
};

const highlight = HighlightStyle.define([
  { tag: [tags.keyword, tags.modifier, tags.controlKeyword], color: "var(--code-keyword)" },
  { tag: [tags.string, tags.special(tags.string), tags.character], color: "var(--code-string)" },
  { tag: [tags.number, tags.bool, tags.atom], color: "var(--code-number)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
  { tag: [tags.meta, tags.processingInstruction], color: "var(--code-meta)" },
  { tag: [tags.typeName, tags.className], color: "var(--code-type)" },
  { tag: [tags.definition(tags.variableName), tags.function(tags.variableName)], color: "inherit" },
]);

const look = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--surface)", fontSize: "0.8125rem" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55", fontVariantLigatures: "none" },
  ".cm-content": { padding: "0.5rem 0", minHeight: "13rem", caretColor: "var(--text)" },
  ".cm-scroller, .cm-content": { maxHeight: "none" },
  "&.cm-editor": { maxHeight: "34rem" },
  ".cm-gutters": {
    color: "var(--muted)",
    backgroundColor: "var(--sunken)",
    border: "none",
    borderRight: "1px solid var(--line)",
  },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent) 6%, transparent)" },
  ".cm-activeLineGutter": { color: "var(--text)", backgroundColor: "transparent" },
  ".cm-cursor": { borderLeftColor: "var(--text)", borderLeftWidth: "1.5px" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground":
    { background: "color-mix(in srgb, var(--accent) 24%, transparent)" },
  "&.cm-focused .cm-matchingBracket": {
    backgroundColor: "color-mix(in srgb, var(--accent) 18%, transparent)",
    outline: "1px solid color-mix(in srgb, var(--accent) 45%, transparent)",
  },
});

export interface EditorOptions {
  host: HTMLElement;
  text: string;
  /** The accessible name. */
  label: string;
  onChange: (text: string) => void;
  /** Ctrl or Cmd with Enter. */
  onSubmit: () => void;
}

export interface Editor {
  text(): string;
  setText(text: string): void;
  /** Chooses the highlighting by the extension of a file's name. */
  setFileName(name: string): void;
  /** `problem` is read to screen-reader users with the field; "" when there is none. */
  setProblem(problem: string, hint: string): void;
  focus(): void;
  select(from: number, to: number): void;
  destroy(): void;
}

export function createEditor(options: EditorOptions): Editor {
  const language = new Compartment();
  const attributes = new Compartment();
  const root = options.host.shadowRoot ?? options.host.attachShadow({ mode: "open" });
  const view = new EditorView({
    root,
    parent: root,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        keymap.of([
          { key: "Mod-Enter", run: () => (options.onSubmit(), true) },
          indentWithTab,
          ...defaultKeymap,
          ...historyKeymap,
        ]),
        lineNumbers(),
        highlightSpecialChars(),
        history(),
        drawSelection(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        bracketMatching(),
        indentOnInput(),
        indentUnit.of("    "),
        EditorState.tabSize.of(4),
        syntaxHighlighting(highlight),
        look,
        language.of([]),
        attributes.of(attributesOf(options.label, "", "")),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onChange(update.state.doc.toString());
        }),
      ],
    }),
  });

  return {
    text: () => view.state.doc.toString(),
    setText(text) {
      view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    setFileName(name) {
      const mode = MODES[/\.(\w+)$/.exec(name)?.[1]?.toLowerCase() ?? ""];
      view.dispatch({ effects: language.reconfigure(mode ? languageOf(mode) : []) });
    },
    setProblem(problem, hint) {
      view.dispatch({
        effects: attributes.reconfigure(attributesOf(options.label, problem, hint)),
      });
    },
    focus: () => view.focus(),
    select(from, to) {
      const end = view.state.doc.length;
      view.dispatch({
        selection: { anchor: Math.min(from, end), head: Math.min(to, end) },
        scrollIntoView: true,
      });
    },
    destroy: () => view.destroy(),
  };
}

/** The modes of the C family call a property what the editor has another name for. */
function languageOf(mode: StreamParser<unknown>) {
  const tokenTable = { ...mode.tokenTable, property: tags.propertyName };
  return StreamLanguage.define({ ...mode, tokenTable });
}

function attributesOf(label: string, problem: string, hint: string) {
  return EditorView.contentAttributes.of({
    tabindex: "0",
    "aria-label": label,
    "aria-description": [problem, hint].filter(Boolean).join(" "),
    "aria-invalid": problem ? "true" : "false",
  });
}
