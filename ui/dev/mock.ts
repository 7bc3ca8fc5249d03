/**
 * A stand-in for the gateway while the pages are developed: `npm run dev` and `npm run preview`
 * answer /api from memory. It is never part of a build. Tasks "run" by themselves; what their
 * commands contain decides how they end (see `OUTCOMES`).
 *
 * Scenes, for looking at a page in every state (they last until the next one is set):
 *   POST /dev/scene?name=normal|empty|many|down|token
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Plugin } from "vite";
import { Cluster } from "./tasks.ts";

type Next = () => void;

const PAGES = /^\/(?:tasks(?:\/.*)?|cluster|executors|judicators|search|add|get|frame)?$/;

export function mockGateway(): Plugin {
  const gateway = new MockGateway();
  const handle = (request: IncomingMessage, response: ServerResponse, next: Next) => {
    void gateway.handle(request, response, next);
  };
  return {
    name: "khala-mock-gateway",
    configureServer: (server) => void server.middlewares.use(handle),
    configurePreviewServer: (server) => void server.middlewares.use(handle),
  };
}

class MockGateway {
  private cluster = new Cluster(40);
  private down = false;
  private token = false;

  async handle(request: IncomingMessage, response: ServerResponse, next: Next): Promise<void> {
    const url = new URL(request.url ?? "/", "http://mock");
    if (url.pathname === "/dev/scene") {
      this.setScene(url.searchParams.get("name") ?? "normal");
      return json(response, 200, { scene: url.searchParams.get("name") });
    }
    if (PAGES.test(url.pathname)) {
      request.url = "/index.html";
      return next();
    }
    if (!url.pathname.startsWith("/api/")) return next();
    if (this.token && !this.allowed(request, url))
      return problem(response, 401, "a token is needed");
    if (this.down) {
      response.setHeader("Retry-After", "5");
      if (url.pathname.startsWith("/api/v2/"))
        return problem(
          response,
          503,
          "no judicator answers; are they running, and is --join right?",
        );
      return json(response, 503, { result: 1 });
    }
    const body = await read(request);
    await this.route(request, url, body, response);
  }

  private setScene(name: string): void {
    this.down = name === "down";
    this.token = name === "token";
    if (name === "normal") this.cluster.reset(40);
    if (name === "empty") this.cluster.reset(0);
    if (name === "many") this.cluster.reset(10_000);
    if (this.down || this.token) this.cluster.disconnect();
  }

  private allowed(request: IncomingMessage, url: URL): boolean {
    return (
      url.pathname === "/api/v2/session" ||
      (request.headers.cookie ?? "").includes("khala_mock=let-me-in")
    );
  }

  private async route(
    request: IncomingMessage,
    url: URL,
    body: Buffer<ArrayBuffer>,
    response: ServerResponse,
  ): Promise<void> {
    const { cluster } = this;
    const query = url.searchParams;
    const task = /^\/api\/v2\/tasks\/(.+)$/.exec(url.pathname);
    if (task?.[1]) {
      const view = cluster.view(task[1]);
      return view ? json(response, 200, view) : problem(response, 404, "there is no such task");
    }
    switch (`${request.method} ${url.pathname}`) {
      case "GET /api/task/list":
        return json(response, 200, cluster.list(query));
      case "GET /api/task": {
        const file = query.get("file");
        if (file) return sendFile(response, query.get("id") ?? "", file, cluster);
        return json(response, 200, cluster.submitted(query.get("id") ?? ""));
      }
      case "POST /api/task": {
        const type = request.headers["content-type"] ?? "";
        const form = await new Response(body, { headers: { "Content-Type": type } }).formData();
        return json(response, 200, { id: await cluster.add(form), result: 0 });
      }
      case "DELETE /api/task":
        return json(response, 200, { result: cluster.cancel(query.get("id") ?? "") });
      case "GET /api/v2/events":
        return cluster.stream(response);
      case "GET /api/v2/nodes":
        return json(response, 200, cluster.nodes());
      case "GET /api/v2/status":
        return json(response, 200, cluster.status());
      case "POST /api/v2/session": {
        const { token } = JSON.parse(body.toString()) as { token: string };
        if (token !== "let-me-in") return problem(response, 401, "this token is not known");
        response.setHeader("Set-Cookie", "khala_mock=let-me-in; HttpOnly; SameSite=Strict; Path=/");
        response.statusCode = 204;
        response.end();
        return;
      }
    }
    problem(response, 404, "the mock does not know this address");
  }
}

async function read(request: IncomingMessage): Promise<Buffer<ArrayBuffer>> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader(
    "Content-Type",
    status < 400 ? "application/json" : "application/problem+json",
  );
  response.end(JSON.stringify(body));
}

function problem(response: ServerResponse, status: number, detail: string): void {
  json(response, status, { type: "about:blank", title: "Problem", status, code: "mock", detail });
}

function sendFile(response: ServerResponse, id: string, name: string, cluster: Cluster): void {
  const bytes = cluster.file(id, name);
  if (!bytes) {
    response.statusCode = 404;
    response.end();
    return;
  }
  response.setHeader("Content-Disposition", `attachment; filename=${id}_${name}`);
  response.end(bytes);
}
