// Modules can't be changed from outside once they are loaded, but the SDK's own can say what they export.

const SDK = /\/@daytona(io)?\/sdk\/.*\/(Daytona|Sandbox|Process|PtyHandle|FileSystem|Git|index)\.m?js$/

export async function load(url, context, next) {
  const loaded = await next(url, context)
  if (loaded.format !== 'module' || !loaded.source || !SDK.test(url)) return loaded
  const source = Buffer.from(loaded.source).toString()
  // Hooks may be there twice: the thread that runs them is preloaded, too.
  if (source.includes('__conformance')) return loaded
  const tail = `\n;import * as __conformance from ${JSON.stringify(url)}; globalThis[Symbol.for('daytona-conformance')]?.(__conformance);\n`
  return { ...loaded, source: source + tail }
}
