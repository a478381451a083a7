import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";

const OUTPUT = fileURLToPath(new URL("../src/ccflare/dashboard/", import.meta.url));
const WORTH_IT = /\.(js|css|html|svg)$/;

/** Writes each text file a second and third time, compressed, so that the server never has to. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    closeBundle() {
      const names = readdirSync(OUTPUT, { recursive: true }).map(String);
      for (const name of names.filter((each) => WORTH_IT.test(each))) {
        const content = readFileSync(OUTPUT + name);
        writeFileSync(`${OUTPUT}${name}.gz`, gzipSync(content, { level: 9 }));
        const params = { [constants.BROTLI_PARAM_SIZE_HINT]: content.length };
        writeFileSync(`${OUTPUT}${name}.br`, brotliCompressSync(content, { params }));
      }
    },
  };
}

export default defineConfig({
  plugins: [react(), compressed()],
  build: {
    outDir: OUTPUT,
    emptyOutDir: true,
    assetsInlineLimit: 0, // the Content-Security-Policy knows no data: addresses
    modulePreload: { polyfill: false },
    target: "es2022",
    license: { fileName: "licenses.md" },
  },
  server: { proxy: { "/api": "http://localhost:8080", "/health": "http://localhost:8080" } },
});
