/** How the mock's stages end. */
import type { StageResult, Stream } from "../src/lib/types.ts";

type Files = Map<string, Buffer<ArrayBuffer>>;

export const LIMITS = {
  wall_ms: 10_000,
  cpu_ms: 10_000,
  memory_bytes: 256 * 1024 * 1024,
  pids: 64,
  output_bytes: 16 * 1024 * 1024,
  file_bytes: 64 * 1024 * 1024,
  cpus: 1,
  disk_bytes: 256 * 1024 * 1024,
  disk_files: 16384,
  on_output_limit: "stop" as const,
};

/** How a stage ends, by a word in its command. */
const OUTCOMES: Record<string, Partial<StageResult>> = {
  "exit 3": { reason: "exit_nonzero", exit_code: 3 },
  segv: { reason: "signal", exit_code: null, signal: 11 },
  sleep: { reason: "wall_time", exit_code: null, signal: 9, limit: 1000, observed: 1004 },
  hog: {
    reason: "memory",
    exit_code: null,
    signal: 9,
    limit: LIMITS.memory_bytes,
    observed: LIMITS.memory_bytes,
    memory_peak_bytes: LIMITS.memory_bytes,
  },
  flood: {
    reason: "output_limit",
    exit_code: null,
    signal: 9,
    limit: LIMITS.output_bytes,
    observed: 90 * 1024 * 1024,
  },
};

export function stageEnd(command: string, name: string, files: Files): StageResult {
  const known = Object.entries(OUTCOMES).find(([word]) => command.includes(word))?.[1];
  const failed = known !== undefined;
  let stdout = name === "execute" ? "From Khala: Hello World!\n" : "";
  let stderr = "";
  if (failed && name === "compile")
    stderr =
      "main.cpp: In function ‘int main()’:\nmain.cpp:7:5: error: expected ‘;’ before ‘return’\n";
  if (command.includes("segv")) stderr = "Segmentation fault (core dumped)\n";
  if (command.includes("long")) stdout = `${"0123456789abcdef ".repeat(400)}\n`.repeat(20);
  return {
    reason: "ok",
    exit_code: 0,
    signal: null,
    limit: null,
    observed: null,
    wall_ms: name === "compile" ? 812 : 43,
    cpu_user_ms: name === "compile" ? 640 : 12,
    cpu_system_ms: name === "compile" ? 101 : 6,
    memory_peak_bytes: name === "compile" ? 117_440_512 : 3_538_944,
    pids_peak: name === "compile" ? 5 : null,
    written_bytes: name === "compile" ? 1_203_200 : 24,
    message: null,
    cache: name === "compile" ? "miss" : null,
    ...known,
    stdout: command.includes("flood")
      ? cut(captured(files, `${name}_output`, "first\ny\ny\ny\nlast words\n"))
      : captured(files, `${name}_output`, stdout),
    stderr: captured(files, `${name}_error`, stderr),
  };
}

/** As an output that was over its limit. */
function cut(stream: Stream): Stream {
  const at = stream.text.indexOf("last");
  return {
    ...stream,
    size: 90 * 1024 * 1024,
    text: stream.text.slice(0, at),
    gap: { at, missing: 90 * 1024 * 1024 - stream.kept },
    tail: stream.text.slice(at),
  };
}

function captured(files: Files, name: string, text: string): Stream {
  const bytes = Buffer.from(text);
  files.set(name, bytes);
  const shown = bytes.subarray(0, 64 * 1024);
  return {
    size: bytes.length,
    kept: bytes.length,
    text: shown.toString(),
    gap: null,
    tail: null,
    truncated: shown.length < bytes.length,
  };
}
