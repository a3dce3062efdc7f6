// Builds fwdscope-VERSION.vsix, which `code --install-extension` takes: npm install && npm run build
import { execFileSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import { build } from "esbuild";

const python = process.env.PYTHON ?? "python3";
const run = (program, ...args) => execFileSync(program, args, { stdio: "inherit" });

// The layer types and functions that the colours know are those of this checkout.
run(python, "grammar.py");
await build({
  entryPoints: ["extension.js"],
  outfile: "dist/extension.js",
  bundle: true,
  minify: true,
  platform: "node",
  target: "node18",
  external: ["vscode"],
});
copyFileSync("../../../LICENSE", "LICENSE");
run("npx", "vsce", "package", "--no-dependencies", "--allow-missing-repository", "--no-rewrite-relative-links");
