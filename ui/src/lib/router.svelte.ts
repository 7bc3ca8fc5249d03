/**
 * Addresses of the pages, among them KV2's own, which are kept alive by redirecting to their
 * successors. Filters live in the query string, so every view can be linked to.
 */

export type Route =
  | { name: "tasks" }
  | { name: "new" }
  | { name: "task"; id: string }
  | { name: "jobs" }
  | { name: "job"; id: string }
  | { name: "presets" }
  | { name: "preset" }
  | { name: "queue" }
  | { name: "stats" }
  | { name: "tokens" }
  | { name: "users" }
  | { name: "audit" }
  | { name: "operations" }
  | { name: "cluster"; show: "all" | "executors" | "judicators" }
  | { name: "missing" };

export function match(path: string): Route {
  const clean = path.length > 1 ? path.replace(/\/+$/, "") : path;
  switch (clean) {
    case "/tasks":
      return { name: "tasks" };
    case "/tasks/new":
      return { name: "new" };
    case "/jobs":
      return { name: "jobs" };
    case "/presets":
      return { name: "presets" };
    case "/presets/edit":
      return { name: "preset" };
    case "/queue":
      return { name: "queue" };
    case "/stats":
      return { name: "stats" };
    case "/tokens":
      return { name: "tokens" };
    case "/users":
      return { name: "users" };
    case "/audit":
      return { name: "audit" };
    case "/operations":
      return { name: "operations" };
    case "/cluster":
      return { name: "cluster", show: "all" };
    case "/executors":
      return { name: "cluster", show: "executors" };
    case "/judicators":
      return { name: "cluster", show: "judicators" };
  }
  const task = /^\/tasks\/([0-9a-f]{24})$/.exec(clean);
  if (task?.[1]) return { name: "task", id: task[1] };
  const job = /^\/jobs\/([0-9a-f]{24})$/.exec(clean);
  return job?.[1] ? { name: "job", id: job[1] } : { name: "missing" };
}

/** Where an old address leads now, or null when the address is current. */
export function successor(url: URL): string | null {
  switch (url.pathname.replace(/(.)\/+$/, "$1")) {
    case "/":
    case "/frame":
    case "/search":
      return "/tasks";
    case "/add":
      return "/tasks/new";
    case "/get": {
      const id = url.searchParams.get("id") ?? "";
      return /^[0-9a-f]{24}$/.test(id) ? `/tasks/${id}` : "/tasks";
    }
    default:
      return null;
  }
}

class Router {
  url = $state.raw(new URL("http://localhost/"));
  /** Counts page changes (not changes of the query), so that focus can follow them. */
  visits = $state(0);

  get route(): Route {
    return match(this.url.pathname);
  }

  start(): void {
    window.addEventListener("popstate", () => this.settle());
    document.addEventListener("click", (event) => this.onClick(event));
    this.settle();
  }

  go(href: string, how: { replace?: boolean } = {}): void {
    const target = new URL(href, location.href);
    if (how.replace) history.replaceState(null, "", target);
    else history.pushState(null, "", target);
    const moved = target.pathname !== this.url.pathname;
    this.settle();
    if (moved) {
      this.visits += 1;
      window.scrollTo(0, 0);
    }
  }

  private settle(): void {
    const url = new URL(location.href);
    const next = successor(url);
    if (next !== null) {
      history.replaceState(null, "", next);
      this.url = new URL(location.href);
    } else {
      this.url = url;
    }
  }

  private onClick(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = event.target instanceof Element ? event.target.closest("a") : null;
    if (!link || link.target || link.hasAttribute("download")) return;
    const url = new URL(link.href, location.href);
    if (url.origin !== location.origin || url.pathname.startsWith("/api/")) return;
    if (url.hash && url.pathname === location.pathname && url.search === location.search) return;
    event.preventDefault();
    this.go(url.href);
  }
}

export const router = new Router();
