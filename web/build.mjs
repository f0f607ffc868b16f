// Builds the pages into src/weft/web, which is committed so that installing Weft needs no Node.
// `node build.mjs --check` builds nothing: it fails when what is committed is not what these sources give.
import { build } from "esbuild";
import { readFile, writeFile, mkdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "src", "weft", "web");
const options = { bundle: true, minify: true, charset: "utf8", target: "es2022", legalComments: "none", write: false };
const source = (name) => join(here, "src", name);
const built = async (name, more) => Buffer.from((await build({ ...options, ...more, entryPoints: [source(name)] })).outputFiles[0].contents);
const styles = { loader: { ".css": "css" }, target: ["chrome123", "firefox120", "safari17.5"] };
const files = {
  "chat.js": await built("main.ts", { format: "esm" }),
  // Runs before the first line of the page is drawn: no module.
  "early.js": await built("early.ts", { format: "iife" }),
  "chat.css": await built("chat.css", styles),
  "index.html": await readFile(source("index.html")),
  // What the server fills in: it works without a script.
  "login.html": await readFile(source("login.html")),
  "login.css": await built("login.css", styles),
  "keys.html": await readFile(source("keys.html")),
  "keys.js": await built("keys.ts", { format: "esm" }),
  "keys.css": await built("keys.css", styles),
};
if (process.argv.includes("--check")) {
  const stale = [];
  for (const [name, content] of Object.entries(files)) {
    const committed = await readFile(join(out, name)).catch(() => Buffer.alloc(0));
    if (!committed.equals(content)) stale.push(name);
  }
  if (stale.length) {
    console.error(`src/weft/web is not what web/ builds: ${stale.join(", ")}; run: cd web && npm ci && npm run build`);
    process.exit(1);
  }
} else {
  await mkdir(out, { recursive: true });
  for (const [name, content] of Object.entries(files)) await writeFile(join(out, name), content);
}
