'use strict'
// Records uses of members that the SDK doesn't have, and methods called without what they need. Changes nothing else: whatever
// goes wrong in here is swallowed, and the program sees the SDK's own errors.

const fs = require('node:fs')
const Module = require('node:module')
const path = require('node:path')
const { pathToFileURL } = require('node:url')

const file = process.env.DAYTONA_CONFORMANCE_MISUSES
const wrong = JSON.parse(fs.readFileSync(path.join(__dirname, 'wrong.json'), 'utf8'))
const told = new Set()
const MOST = 500
const SDK = /[\\/]@daytona(io)?[\\/]sdk[\\/]/
const JEST = /(^|[\\/])jest-runtime([\\/]|$)/
const LANGUAGES = ['python', 'typescript', 'javascript']

/** The first line of the stack that is the program's own. */
function place() {
  const limit = Error.stackTraceLimit
  Error.stackTraceLimit = 30
  const lines = String(new Error().stack).split('\n').slice(1)
  Error.stackTraceLimit = limit
  const own = lines.find((line) => !line.includes(__filename) && !/node:|[\\/]node_modules[\\/]/.test(line))
  const found = own && /\(?((?:file:\/\/)?[^()\s]+:\d+:\d+)\)?$/.exec(own)
  if (!found) return undefined
  const at = found[1].replace(/^file:\/\//, '')
  const short = path.relative(process.cwd(), at)
  return short.startsWith('..') ? at : short
}

function tell(misuse) {
  try {
    const line = JSON.stringify({ at: place(), ...misuse })
    if (told.has(line) || told.size >= MOST) return
    told.add(line)
    fs.appendFileSync(file, line + '\n')
  } catch {}
}

/** At the end of the chain of prototypes a proxy hears of what none of them has. `in`, keys and instanceof stay as they are. */
function listen(name, type, names) {
  // Jest's tests have an Object of their own.
  const base = Object.getPrototypeOf(type.prototype)
  if (base && Object.getPrototypeOf(base) === null) Object.setPrototypeOf(type.prototype, ear(base, name, names))
}

/** Stands in a chain of prototypes before `base`, and hears of names that nothing there has. */
function ear(base, name, names) {
  return new Proxy(Object.create(base), {
    get(target, key, receiver) {
      if (typeof key === 'string' && Object.hasOwn(names, key) && !(key in target)) {
        tell({ kind: 'member', on: name, name: key, instead: names[key][0] })
      }
      return Reflect.get(target, key, receiver)
    },
  })
}

/** Looks at a method's arguments before it gets them. */
function before(type, method, look) {
  const own = Object.getOwnPropertyDescriptor(type.prototype, method)
  if (!own || typeof own.value !== 'function') return
  const original = own.value
  const { [method]: wrapper } = {
    [method](...given) {
      try {
        look(given)
      } catch {}
      return Reflect.apply(original, this, given)
    },
  }
  Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true })
  Object.defineProperty(type.prototype, method, { ...own, value: wrapper })
}

/** Looks at what a method returned, and at what its promise is kept with. */
function after(type, method, { kept, returned }) {
  const own = Object.getOwnPropertyDescriptor(type.prototype, method)
  if (!own || typeof own.value !== 'function') return
  const original = own.value
  const looked = (look, result) => {
    try {
      look?.(result)
    } catch {}
    return result
  }
  const { [method]: wrapper } = {
    [method](...given) {
      const result = Reflect.apply(original, this, given)
      // The promise that is handed out rejects as the original does, also where nobody catches it.
      const handed = kept && isPromise(result) ? result.then((value) => looked(kept, value)) : result
      return looked(returned, handed)
    },
  }
  Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true })
  Object.defineProperty(type.prototype, method, { ...own, value: wrapper })
}

/** Hears of members of what a promise is kept with that are looked for in the promise: `await` was forgotten. */
function awaited(name, method, members) {
  const names = Object.fromEntries(members.map((member) => [member, [`(await …${method}(…)).${member}`]]))
  return (promise) => {
    if (isPromise(promise)) Object.setPrototypeOf(promise, ear(Object.getPrototypeOf(promise), `the promise of ${name}.${method}()`, names))
  }
}

const AWAITED = {
  Process: {
    executeCommand: ['result', 'exitCode', 'artifacts'],
    codeRun: ['result', 'exitCode', 'artifacts'],
    executeSessionCommand: ['cmdId', 'exitCode', 'stdout', 'output'],
    createPty: ['sendInput', 'wait', 'kill', 'resize', 'waitForConnection', 'disconnect'],
    connectPty: ['sendInput', 'wait', 'kill', 'resize', 'waitForConnection', 'disconnect'],
  },
  Daytona: { create: ['id', 'process', 'fs', 'git', 'delete', 'state'], get: ['id', 'process', 'fs', 'git', 'delete', 'state'] },
}

/** A result has `result` and `exitCode` only. */
const RESULT = { stdout: 'result', stderr: 'result', output: 'result', exit_code: 'exitCode', code: 'exitCode' }

function result(given) {
  if (!given || typeof given !== 'object' || !Object.hasOwn(given, 'result')) return
  for (const [name, right] of Object.entries(RESULT)) {
    if (name in given) continue
    const get = () => {
      const at = place()
      if (at && !chooses(at, right)) tell({ kind: 'member', on: 'ExecuteResponse', name, instead: right, at })
    }
    const set = (value) => Object.defineProperty(given, name, { value, enumerable: true, configurable: true, writable: true })
    // Neither printed, copied nor compared.
    Object.defineProperty(given, name, { get, set, enumerable: false, configurable: true })
  }
}

/** Whether the program asks for the right one beside it (`given.stdout ?? given.result`), and takes what is there. */
function chooses(at, right) {
  try {
    const [, file, line] = /^(.*):(\d+):\d+$/.exec(at)
    const near = fs.readFileSync(path.resolve(file), 'utf8').split('\n').slice(Math.max(0, line - 3), Number(line) + 2)
    // As a member, not as a variable that is called so.
    return near.some((text) => new RegExp(`(?:[.'"]|[{,]\\s*)${right}\\b(?!\\s*[.[])`).test(text))
  } catch {
    return true
  }
}

/** Sandboxes come one after the other: `for await (const sandbox of daytona.list())`. */
const LIST = Object.fromEntries(
  ['items', 'length', 'map', 'filter', 'forEach', 'find', 'total'].map((name) => [name, ['for await (const sandbox of daytona.list(…))']]),
)

function list(sandboxes) {
  if (typeof sandboxes?.[Symbol.asyncIterator] !== 'function' || isPromise(sandboxes)) return
  Object.setPrototypeOf(sandboxes, ear(Object.getPrototypeOf(sandboxes), 'what Daytona.list() returns', LIST))
}

/** The first `least` arguments of a method have to be there. */
const NEEDED = {
  Process: {
    executeCommand: ['command'],
    codeRun: ['code'],
    connectPty: ['sessionId'],
    createSession: ['sessionId'],
    deleteSession: ['sessionId'],
    executeSessionCommand: ['sessionId', 'request: { command }'],
    getSessionCommandLogs: ['sessionId', 'commandId'],
    killPtySession: ['sessionId'],
    resizePtySession: ['sessionId', 'cols', 'rows'],
  },
  PtyHandle: { sendInput: ['data'], resize: ['cols', 'rows'] },
  FileSystem: {
    createFolder: ['path', "mode: '755'"],
    deleteFile: ['path'],
    downloadFile: ['remotePath'],
    uploadFile: ['file', 'remotePath'],
    uploadFiles: ['files'],
    listFiles: ['path'],
    getFileDetails: ['path'],
  },
  Daytona: { get: ['sandboxIdOrName'], delete: ['sandbox'] },
  Sandbox: { getPreviewLink: ['port'], setLabels: ['labels'] },
}

const INSTEAD = "createPty({ id: 'main', cols: 120, rows: 30, onData: (bytes) => … })"

function pty([options]) {
  const lacks = (argument) => tell({ kind: 'argument', on: 'Process', name: 'createPty', argument, instead: INSTEAD })
  if (options === undefined || options === null) return lacks('options')
  if (!options.id) lacks('id')
  if (typeof options.onData !== 'function') lacks('onData: what the PTY says is lost')
  const argument = ['cols', 'rows'].filter((name) => options[name] === undefined).join(' and ')
  if (argument) tell({ kind: 'default', on: 'Process', name: 'createPty', argument })
}

/** Names that other APIs have for it. */
const FIELDS = {
  env: 'envVars',
  envs: 'envVars',
  environment: 'envVars',
  environmentvariables: 'envVars',
  ttl: 'ttlMinutes',
  timeout: 'create(params, { timeout })',
  timeoutseconds: 'create(params, { timeout })',
  timeoutms: 'create(params, { timeout })',
  cpu: 'resources: { cpu }, with an image',
  memory: 'resources: { memory }, with an image',
  disk: 'resources: { disk }, with an image',
  gpu: 'resources: { gpu }, with an image',
}

/** The field that was meant by one that isn't there. Whatever else a program keeps in its object is its own. */
function meant(name, known) {
  const plain = name.toLowerCase().replace(/[^a-z]/g, '')
  if (Object.hasOwn(FIELDS, plain)) return FIELDS[plain]
  const auto = /^auto(stop|pause|archive|delete)/.exec(plain)
  if (auto) return known.find((field) => field.toLowerCase().startsWith(auto[0]))
  return known.find((field) => field.length > 4 && distance(plain, field.toLowerCase()) <= (field.length > 6 ? 2 : 1))
}

/** Letters to change, leave out, put in or exchange. */
function distance(one, two) {
  if (Math.abs(one.length - two.length) > 2) return 3
  let [before, row] = [[], Array.from({ length: two.length + 1 }, (_, at) => at)]
  for (let at = 1; at <= one.length; at++) {
    const next = [at]
    for (let to = 1; to <= two.length; to++) {
      const same = one[at - 1] === two[to - 1]
      next[to] = Math.min(row[to] + 1, next[to - 1] + 1, row[to - 1] + (same ? 0 : 1))
      if (at > 1 && to > 1 && one[at - 1] === two[to - 2] && one[at - 2] === two[to - 1]) next[to] = Math.min(next[to], before[to - 2] + 1)
    }
    ;[before, row] = [row, next]
  }
  return row[two.length]
}

/** What the SDK itself reads of the parameters of create(). Empty where its text doesn't show that (bundled, made smaller). */
function fields(type) {
  const text = String(type)
  const read = [...text.matchAll(/\bparams\??\.(\w+)/g), ...text.matchAll(/['"](\w+)['"] in params\b/g)]
  const known = [...new Set(read.map(([, name]) => name))]
  return known.includes('labels') && known.includes('envVars') ? known : []
}

function create(known) {
  return ([params]) => {
    if (!params || typeof params !== 'object') return
    const { language } = params
    if (language !== undefined && !LANGUAGES.includes(language)) {
      const argument = `language: ${JSON.stringify(language)}`
      tell({ kind: 'value', on: 'Daytona', name: 'create', argument, instead: "language: 'python', 'typescript' or 'javascript'" })
    }
    const on = 'image' in params ? 'CreateSandboxFromImageParams' : 'CreateSandboxFromSnapshotParams'
    for (const [name, value] of Object.entries(params)) {
      if (!known.length || known.includes(name) || value === undefined || value === null) continue
      const instead = meant(name, known)
      if (instead) tell({ kind: 'dropped', on, name, instead })
    }
  }
}

/** `uploadFile(source, remotePath)`: the other way round the source would be a path on this machine. */
function upload([, remotePath]) {
  if (remotePath === undefined || remotePath === null || typeof remotePath === 'string') return
  const argument = `a ${remotePath?.constructor?.name ?? typeof remotePath} as remotePath`
  tell({ kind: 'value', on: 'FileSystem', name: 'uploadFile', argument, instead: 'uploadFile(Buffer.from(text), remotePath)' })
}

function patch(name, type) {
  if (typeof type !== 'function' || !wrong[name] || type[patched]) return
  Object.defineProperty(type, patched, { value: true })
  listen(name, type, wrong[name])
  for (const [method, names] of Object.entries(NEEDED[name] ?? {})) {
    before(type, method, (given) => {
      const at = names.findIndex((_, index) => given[index] === undefined)
      if (at >= 0) tell({ kind: 'argument', on: name, name: method, argument: names[at], instead: `${method}(${names.join(', ')})` })
    })
  }
  if (name === 'Process') before(type, 'createPty', pty)
  if (name === 'FileSystem') before(type, 'uploadFile', upload)
  if (name === 'Process') {
    for (const method of ['executeCommand', 'codeRun']) after(type, method, { kept: result })
  }
  if (name === 'Daytona') {
    before(type, 'create', create(fields(type)))
    after(type, 'list', { returned: list })
  }
  if (name === 'Sandbox') {
    // The journal has no tokens: what the program prints is searched for these.
    for (const method of ['getPreviewLink', 'getSignedPreviewUrl']) {
      after(type, method, { kept: ({ token }) => tell({ kind: 'token', on: name, name: method, argument: token }) })
    }
  }
  for (const [method, members] of Object.entries(AWAITED[name] ?? {})) {
    after(type, method, { returned: awaited(name, method, members) })
  }
}

/** Also one of Jest's tests, which have a Promise of their own. */
const { isPromise } = require('node:util').types

const patched = Symbol('daytona-conformance')

/** Called with the exports of each of the SDK's modules. */
function see(exports) {
  try {
    for (const name of Object.keys(wrong)) {
      if (exports && Object.hasOwn(exports, name)) patch(name, exports[name])
    }
  } catch {}
}

/** Jest has a registry of its own for what its tests require. (jest-runtime 26 to 30, Runtime.requireModule) */
function jest(exports) {
  try {
    const type = exports?.default ?? exports
    if (typeof type?.prototype?.requireModule !== 'function' || type[patched]) return
    Object.defineProperty(type, patched, { value: true })
    const original = type.prototype.requireModule
    type.prototype.requireModule = function (from, request, ...rest) {
      const exports = Reflect.apply(original, this, [from, request, ...rest])
      if (/daytona/.test(request ?? '') || SDK.test(from ?? '')) see(exports)
      return exports
    }
  } catch {}
}

if (file) {
  globalThis[Symbol.for('daytona-conformance')] = see
  const load = Module._load
  Module._load = function (request, parent, ...rest) {
    const exports = Reflect.apply(load, this, [request, parent, ...rest])
    if (JEST.test(request)) jest(exports)
    if (/daytona/.test(request) || (parent && SDK.test(parent.filename ?? ''))) see(exports)
    return exports
  }
  try {
    Module.register?.(pathToFileURL(path.join(__dirname, 'node-hooks.mjs')))
  } catch {}
}
