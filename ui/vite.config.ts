import { readFileSync } from "node:fs";
import { svelte } from "@sveltejs/vite-plugin-svelte";
import { defineConfig, type Plugin } from "vitest/config";
import { CSP } from "./dev/csp.ts";

/**
 * The gateway that `npm run dev` and `npm run preview` pass /api on to: `build/up` serves one there.
 * It lets no page of another origin act, so a request comes to it as from its own.
 */
const gateway = process.env["KHALA_GATEWAY"] ?? "http://127.0.0.1:7000";
const proxy = {
  "/api": { target: gateway, changeOrigin: true, headers: { origin: new URL(gateway).origin } },
};

/**
 * The theme must be set before the first paint, so it cannot be a module (those are deferred), and
 * it cannot be inline (the content security policy forbids that): a small hashed file of its own.
 */
function themeScript(): Plugin {
  const source = readFileSync(new URL("./src/theme-boot.js", import.meta.url), "utf8");
  let built = "";
  return {
    name: "khala-theme-script",
    apply: "build",
    buildStart() {
      built = this.emitFile({ type: "asset", name: "theme.js", source });
    },
    transformIndexHtml: {
      order: "post",
      handler(_html, context) {
        const file = Object.values(context.bundle ?? {}).find(
          (chunk) => chunk.type === "asset" && chunk.names.includes("theme.js"),
        );
        if (!file || !built) throw new Error("theme.js was not emitted");
        return [{ tag: "script", attrs: { src: `/${file.fileName}` }, injectTo: "head" as const }];
      },
    },
  };
}

/** The fonts' licence asks to travel with them. */
function fontLicences(): Plugin {
  return {
    name: "khala-font-licences",
    apply: "build",
    generateBundle() {
      for (const font of ["inter", "jetbrains-mono"]) {
        const path = new URL(
          `./node_modules/@fontsource-variable/${font}/LICENSE`,
          import.meta.url,
        );
        this.emitFile({
          type: "asset",
          fileName: `licences/${font}.txt`,
          source: readFileSync(path, "utf8"),
        });
      }
    },
  };
}

export default defineConfig({
  plugins: [svelte(), themeScript(), fontLicences()],
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    assetsInlineLimit: 0,
    license: { fileName: "licences/packages.md" },
    modulePreload: { polyfill: false },
  },
  server: { proxy },
  preview: { proxy, headers: { "Content-Security-Policy": CSP } },
  // A busy machine may need long for what takes milliseconds.
  test: { include: ["src/**/*.test.ts"], environment: "node", testTimeout: 60_000 },
});
