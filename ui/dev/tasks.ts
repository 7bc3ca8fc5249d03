/** The mock's tasks: made up, or added by form, and driven to their ends by timers. */
import { createHash } from "node:crypto";
import { LIMITS, stageEnd } from "./outcomes.ts";
import { storedZip } from "./zip.ts";
import type { ServerResponse } from "node:http";
import type { ExecutorNode, Nodes, State, Task } from "../src/lib/types.ts";

interface MockTask {
  view: Task;
  files: Map<string, Buffer<ArrayBuffer>>;
}

const COMMANDS = [
  ["g++ -g -Wall -o main main.cpp", "./main"],
  ["", "python3 main.py"],
  ["gcc -O2 -o a a.c && exit 3", "./a"],
  ["g++ -o main main.cpp", "./main # segv"],
  ["rustc main.rs", "./main # sleep"],
  ["go build -o main main.go", "./main # hog"],
  ["", "yes # flood"],
] as const;

export class Cluster {
  private tasks = new Map<string, MockTask>();
  private streams = new Set<ServerResponse>();
  private counter = 0;

  constructor(count: number) {
    this.reset(count);
    setInterval(() => this.write(": heartbeat\n\n"), 15_000).unref();
  }

  reset(count: number): void {
    this.tasks.clear();
    const now = Date.now();
    for (let index = count; index > 0; index -= 1) {
      const [compile, execute] = COMMANDS[index % COMMANDS.length] ?? COMMANDS[0];
      const form = new FormData();
      const fields = {
        user: `${index % 7}`,
        compile_command: compile,
        compile_timeout: "10",
        execute_command: execute,
        execute_timeout: "1",
        execute_input: "Hello World!\n",
        execute_standard: "",
      };
      for (const [name, value] of Object.entries(fields)) form.set(name, value);
      const task = this.create(form, new Map(), now - index * 47_000);
      if (index % 11 === 5) this.end(task, "cancelled", "cancelled");
      else if (index % 13 === 7) this.end(task, "error", "executor_lost_repeatedly");
      else if (index > 3) this.finish(task);
      else if (index > 1)
        Object.assign(task.view, { state: "running", executor: "exec-02", attempt: 1 });
    }
  }

  disconnect(): void {
    for (const stream of this.streams) stream.destroy();
    this.streams.clear();
  }

  stream(response: ServerResponse): void {
    response.setHeader("Content-Type", "text/event-stream");
    response.setHeader("Cache-Control", "no-store");
    response.write('event: hello\ndata: {"version":"0.1.0"}\n\n');
    this.streams.add(response);
    response.on("close", () => this.streams.delete(response));
  }

  list(query: URLSearchParams): unknown {
    let tasks = [...this.tasks.values()].map((task) => task.view);
    const exact = query.get("id");
    const user = query.get("user");
    const from = query.get("start_time");
    const to = query.get("end_time");
    if (exact) tasks = tasks.filter((task) => task.id === exact);
    if (user) tasks = tasks.filter((task) => task.user === Number(user));
    if (from) tasks = tasks.filter((task) => task.created_at >= from);
    if (to) tasks = tasks.filter((task) => task.created_at <= `${to}Z`);
    if (!query.get("old_to_new")) tasks.reverse();
    const limit = Number(query.get("limit"));
    const page = Number(query.get("page"));
    return {
      pages: Math.ceil(tasks.length / limit),
      result: 0,
      tasks: tasks.slice(page * limit, (page + 1) * limit).map((task) => ({
        id: task.id,
        user: task.user,
        status: kv2(task),
        done: isDone(task.state),
        executor: isDone(task.state) ? null : task.executor,
        add_time: task.created_at.slice(0, -1),
        report_time: task.updated_at.slice(0, -1),
      })),
    };
  }

  view(id: string): Task | null {
    return this.tasks.get(id)?.view ?? null;
  }

  submitted(id: string): unknown {
    const task = this.tasks.get(id);
    if (!task) return { result: 2, task: null };
    const { view, files } = task;
    const text = (name: string) => files.get(name)?.toString() ?? "";
    return {
      result: 0,
      task: {
        user: view.user,
        compile: {
          command: text("compile_command"),
          source: files.has("compile_source"),
          timeout: view.stages.compile?.timeout_s ?? 0,
        },
        execute: {
          command: text("execute_command"),
          data: files.has("execute_data"),
          input: text("execute_input"),
          standard: text("execute_standard"),
          timeout: view.stages.execute?.timeout_s ?? 0,
        },
      },
    };
  }

  file(id: string, name: string): Buffer<ArrayBuffer> | null {
    return this.tasks.get(id)?.files.get(name) ?? null;
  }

  async add(form: FormData): Promise<string> {
    const files = new Map<string, Buffer<ArrayBuffer>>();
    for (const name of ["compile_source", "execute_data"]) {
      const upload = form.get(name);
      if (upload instanceof File) files.set(name, Buffer.from(await upload.arrayBuffer()));
      const text = form.get(`${name}_str`);
      const fileName = form.get(`${name}_name`);
      if (typeof text === "string" && typeof fileName === "string" && fileName)
        files.set(name, storedZip(fileName, text));
    }
    const task = this.create(form, files, Date.now());
    this.emit(task);
    setTimeout(() => this.move(task, "starting"), 700);
    setTimeout(() => this.move(task, "compiling"), 1000);
    setTimeout(() => this.move(task, "running"), 2200);
    setTimeout(() => {
      if (isDone(task.view.state)) return;
      this.finish(task);
      this.emit(task);
    }, 3500);
    return task.view.id;
  }

  cancel(id: string): number {
    const task = this.tasks.get(id);
    if (!task || isDone(task.view.state)) return 2;
    this.end(task, "cancelled", "cancelled");
    this.emit(task);
    return 0;
  }

  nodes(): Nodes {
    const seen_at = new Date().toISOString();
    const executor = (name: string, state: ExecutorNode["state"], free: number) => ({
      name,
      state,
      slots: 8,
      free,
      seen_at: state === "lost" ? new Date(Date.now() - 41_000).toISOString() : seen_at,
      version: "0.1.0",
      enforcement: { mode: "cgroup_v2", root: true, unenforced: [] },
      cache: {
        hits: 12,
        misses: 4,
        stored: 4,
        evicted: 0,
        entries: 4,
        size_bytes: 3_400_000,
        max_bytes: 1_073_741_824,
      },
      images: [{ name: "gcc-13", identity: "3f0c9a", size_bytes: 734_003_200 }],
    });
    if (this.tasks.size === 0)
      return {
        executors: [],
        judicators: [
          {
            name: "jud-a",
            address: "10.0.0.1:4000",
            leader: true,
            serving: true,
            version: "0.1.0",
          },
        ],
      };
    return {
      executors: [
        executor("exec-01", "online", 8),
        executor("exec-02", "online", 6),
        executor("exec-03", "draining", 7),
        executor("exec-04", "lost", 0),
      ],
      judicators: ["a", "b", "c"].map((letter, index) => ({
        name: `jud-${letter}`,
        address: `10.0.0.${index + 1}:4000`,
        leader: index === 0,
        serving: index < 2,
        version: index < 2 ? "0.1.0" : "",
      })),
    };
  }

  status(): unknown {
    const views = [...this.tasks.values()].map((task) => task.view);
    const running = views.filter((view) => !isDone(view.state) && view.state !== "queued").length;
    const slots = this.tasks.size === 0 ? 0 : 24;
    return {
      version: "0.1.0",
      ready: true,
      queued: views.filter((view) => view.state === "queued").length,
      running,
      slots,
      free: Math.max(0, slots - running),
      notes: slots
        ? ["One judicator is not serving; no further failure is survived until it is back."]
        : [],
    };
  }

  private create(
    form: FormData,
    files: Map<string, Buffer<ArrayBuffer>>,
    createdAt: number,
  ): MockTask {
    this.counter += 1;
    const seconds = Math.floor(createdAt / 1000).toString(16);
    const id = `${seconds}7d852fb9eb${this.counter.toString(16).padStart(6, "0")}`;
    const created_at = new Date(createdAt).toISOString();
    const text = (name: string) => {
      const value = form.get(name);
      const plain = typeof value === "string" ? value.replaceAll("\r\n", "\n") : "";
      files.set(name, Buffer.from(plain));
      return plain;
    };
    const input = (name: string) => {
      const value = text(name);
      return { size: Buffer.byteLength(value), text: value };
    };
    const stored = (name: string) => {
      const bytes = files.get(name);
      if (!bytes) return null;
      return { size: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
    };
    const stage = (name: string) => ({
      command: text(`${name}_command`),
      timeout_s: Number(form.get(`${name}_timeout`)),
      limits: LIMITS,
      env: form.get("user") === "3" ? { GREETING: "hello", LEVEL: "2" } : {},
      result: null,
    });
    const view: Task = {
      id,
      user: Number(form.get("user")),
      state: "queued",
      reason: null,
      message: null,
      attempt: 0,
      crashes: 0,
      executor: null,
      created_at,
      started_at: null,
      finished_at: null,
      updated_at: created_at,
      enforcement: null,
      stages: { compile: stage("compile"), execute: stage("execute") },
      inputs: {
        compile_source: stored("compile_source"),
        execute_data: stored("execute_data"),
        execute_input: input("execute_input"),
        execute_standard: input("execute_standard"),
      },
      artifacts: null,
      name: "",
      labels: {},
      priority: 0,
      image: form.get("user") === "3" ? "gcc-13" : "",
      cache: form.get("user") === "3" ? "off" : "auto",
      artifacts_request:
        form.get("user") === "3"
          ? { collect: ["out/**", "*.log"], max_total: 32 * 1024 * 1024, max_files: 1000 }
          : null,
    };
    const task = { view, files };
    this.tasks.set(id, task);
    return task;
  }

  private move(task: MockTask, state: State): void {
    if (isDone(task.view.state)) return;
    task.view = {
      ...task.view,
      state,
      executor: "exec-01",
      attempt: 1,
      updated_at: new Date().toISOString(),
      started_at: task.view.started_at ?? new Date().toISOString(),
    };
    this.emit(task);
  }

  private finish(task: MockTask): void {
    const started = Date.parse(task.view.started_at ?? task.view.created_at) + 300;
    Object.assign(task.view, {
      executor: "exec-01",
      attempt: 1,
      started_at: task.view.started_at ?? new Date(started).toISOString(),
    });
    for (const name of ["compile", "execute"] as const) {
      const stage = task.view.stages[name];
      if (!stage || stage.command.trim() === "") continue;
      const ended = stageEnd(stage.command, name, task.files);
      stage.result = ended;
      if (ended.reason !== "ok") return this.end(task, "failed", ended.reason);
    }
    this.end(task, "succeeded", "ok");
  }

  private end(task: MockTask, state: State, reason: string): void {
    const end = new Date(
      Math.min(Date.now(), Date.parse(task.view.started_at ?? task.view.created_at) + 1900),
    ).toISOString();
    Object.assign(task.view, { state, reason, finished_at: end, updated_at: end });
  }

  private emit(task: MockTask): void {
    const { view } = task;
    const event = {
      id: view.id,
      user: view.user,
      state: view.state,
      kv2_status: kv2(view),
      reason: view.reason,
      executor: view.executor,
      attempt: view.attempt,
      created_at: view.created_at,
      updated_at: view.updated_at,
      done: isDone(view.state),
    };
    this.write(`event: task\ndata: ${JSON.stringify(event)}\n\n`);
  }

  private write(text: string): void {
    for (const stream of this.streams) stream.write(text);
  }
}

function isDone(state: State): boolean {
  return ["succeeded", "failed", "cancelled", "error"].includes(state);
}

function kv2(task: Task): number {
  switch (task.state) {
    case "compiling":
      return 1;
    case "running":
      return 3;
    case "succeeded":
      return 5;
    case "cancelled":
      return 7;
    case "error":
      return 8;
    case "failed":
      return task.stages.compile?.result && task.stages.compile.result.reason !== "ok" ? 2 : 4;
    default:
      return 0;
  }
}
