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
    const line = JSON.stringify({ ...misuse, at: place() })
    if (told.has(line) || told.size >= MOST) return
    told.add(line)
    fs.appendFileSync(file, line + '\n')
  } catch {}
}

/** At the end of the chain of prototypes a proxy hears of what none of them has. `in`, keys and instanceof stay as they are. */
function listen(name, type, names) {
  const end = new Proxy(Object.create(Object.prototype), {
    get(target, key, receiver) {
      if (typeof key === 'string' && Object.hasOwn(names, key) && !(key in target)) {
        tell({ kind: 'member', on: name, name: key, instead: names[key][0] })
      }
      return Reflect.get(target, key, receiver)
    },
  })
  if (Object.getPrototypeOf(type.prototype) === Object.prototype) Object.setPrototypeOf(type.prototype, end)
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

/** Looks at what a method's promise is kept with. */
function after(type, method, look) {
  const own = Object.getOwnPropertyDescriptor(type.prototype, method)
  if (!own || typeof own.value !== 'function') return
  const original = own.value
  const { [method]: wrapper } = {
    [method](...given) {
      const promise = Reflect.apply(original, this, given)
      if (!(promise instanceof Promise)) return promise
      // The promise that is handed out rejects as the original does, also where nobody catches it.
      return promise.then((result) => {
        try {
          look(result)
        } catch {}
        return result
      })
    },
  }
  Object.defineProperty(wrapper, 'length', { value: original.length, configurable: true })
  Object.defineProperty(type.prototype, method, { ...own, value: wrapper })
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

function create([params]) {
  const language = params?.language
  if (language === undefined || LANGUAGES.includes(language)) return
  const argument = `language: ${JSON.stringify(language)}`
  tell({ kind: 'value', on: 'Daytona', name: 'create', argument, instead: "language: 'python', 'typescript' or 'javascript'" })
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
  if (name === 'Daytona') before(type, 'create', create)
  if (name === 'Sandbox') {
    // The journal has no tokens: what the program prints is searched for these.
    for (const method of ['getPreviewLink', 'getSignedPreviewUrl']) {
      after(type, method, ({ token }) => tell({ kind: 'token', on: name, name: method, argument: token }))
    }
  }
}

const patched = Symbol('daytona-conformance')

/** Called with the exports of each of the SDK's modules. */
function see(exports) {
  try {
    for (const name of Object.keys(wrong)) {
      if (exports && Object.hasOwn(exports, name)) patch(name, exports[name])
    }
  } catch {}
}

if (file) {
  globalThis[Symbol.for('daytona-conformance')] = see
  const load = Module._load
  Module._load = function (request, parent, ...rest) {
    const exports = Reflect.apply(load, this, [request, parent, ...rest])
    if (/daytona/.test(request) || (parent && SDK.test(parent.filename ?? ''))) see(exports)
    return exports
  }
  try {
    Module.register?.(pathToFileURL(path.join(__dirname, 'node-hooks.mjs')))
  } catch {}
}
