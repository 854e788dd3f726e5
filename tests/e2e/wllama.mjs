// A WebAssembly runtime to measure: wllama, llama.cpp compiled to WebAssembly, behind the HTTP API of LlamaEdge.
//
//     node wllama.mjs --port PORT --model FILE.gguf --packages NODE_MODULES
//
// The tokens, their times and the counts are wllama's. What is around them is as LlamaEdge's api-server has it
// (crates/llama-core/src/chat/chat_completions.rs): a role in every chunk, no reason at the end, usage only
// where it is asked for, whatever model is named the one that there is, plain text as errors.
// Standard output has a line of JSON per answer: the timings that llama.cpp itself took.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Worker as NodeWorker } from 'node:worker_threads';

const CONTEXT = 2048;
const OPTIONS = { port: { type: 'string' }, model: { type: 'string' }, packages: { type: 'string' } };
const options = parseArgs({ options: OPTIONS }).values;
const name = path.basename(options.model, '.gguf');
const { version } = JSON.parse(await readFile(path.join(options.packages, '@wllama/wllama/package.json'), 'utf8'));
const compat = path.join(options.packages, '@wllama/wllama-compat/wasm');

// --- What wllama expects of a browser ---------------------------------------------------------------------------------

// It makes its worker's code a blob; Node's workers take code, but no blobs.
const blobs = new Map();
const createObjectURL = URL.createObjectURL;
URL.createObjectURL = (blob) => {
  const url = createObjectURL.call(URL, blob);
  blobs.set(url, blob);
  return url;
};

// Emscripten's code is to take the worker for a browser's, not for Node's.
const WORKER_OF_A_BROWSER = `
  const { parentPort } = require('node:worker_threads');
  Object.defineProperty(process, 'type', { value: 'renderer' });
  globalThis.self = globalThis;
  globalThis.WorkerGlobalScope = class {};
  globalThis.location = { href: 'file:///worker' };
  globalThis.navigator ??= { userAgent: 'node', hardwareConcurrency: 1 };
  globalThis.postMessage = (message, transfer) => parentPort.postMessage(message, transfer);
  parentPort.on('message', (data) => globalThis.onmessage({ data }));
`;

globalThis.Worker = class {
  constructor(url) {
    this.started = blobs.get(url).text().then((code) => {
      const worker = new NodeWorker(WORKER_OF_A_BROWSER + code, { eval: true });
      worker.on('message', (data) => this.onmessage({ data }));
      worker.on('error', (error) => fail(error));
      return worker;
    });
  }

  postMessage(message, options) {
    this.started.then((worker) => worker.postMessage(message, options?.transfer));
  }

  terminate() {
    this.started.then((worker) => worker.terminate());
  }
};
globalThis.self = globalThis;
globalThis.location = { href: 'file:///page' };
globalThis.navigator ??= { userAgent: 'node', hardwareConcurrency: 1 };

function fail(error) {
  console.error(error);
  process.exit(1);
}

async function loaded() {
  const { Wllama } = await import(pathToFileURL(path.join(options.packages, '@wllama/wllama/esm/index.js')));
  // The build for engines that lack 64-bit memories, which Node 20 does.
  const wasm = `data:application/wasm;base64,${await readFile(path.join(compat, 'wllama.wasm'), 'base64')}`;
  const code = await readFile(path.join(compat, 'wllama.js'), 'utf8');
  const logger = { ...console, debug() {} };
  const wllama = new Wllama({ default: wasm }, { suppressNativeLog: true, cacheManager: {}, logger });
  wllama.setCompat({ worker: { code }, wasm });
  const settings = { n_ctx: CONTEXT, n_threads: 1, n_gpu_layers: 0 };
  await wllama.loadModel([new Blob([await readFile(options.model)])], settings);
  return wllama;
}

// --- LlamaEdge's API --------------------------------------------------------------------------------------------------

const seconds = () => Math.floor(Date.now() / 1000);
const headers = (kind) => ({
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Allow-Methods': '*',
  'Access-Control-Allow-Headers': '*',
  'Content-Type': kind,
});

let count = 0;
const shared = (id, object) => ({ id, object, created: seconds(), model: name, system_fingerprint: 'fp_44709d6fcb' });

// The model works on one request at a time; LlamaEdge has the others wait, too.
let turn = Promise.resolve();

async function* answer(wllama, request) {
  const { messages, max_tokens, temperature, stop, seed } = request;
  const streamed = { stream: true, stream_options: { include_usage: true } };
  const wanted = { messages, max_tokens, temperature, stop, seed, ...streamed };
  const given = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value != null));
  for await (const chunk of await wllama.createChatCompletion(given)) {
    if (chunk.timings) console.log(JSON.stringify(chunk.timings));
    yield chunk;
  }
}

const counts = ({ prompt_tokens, completion_tokens, total_tokens }) => ({
  prompt_tokens,
  completion_tokens,
  total_tokens,
});

async function stream(response, chunks, withUsage) {
  const id = `chatcmpl-${++count}`;
  const send = (rest) => {
    const head = { ...headers('text/event-stream'), 'Cache-Control': 'no-cache' };
    if (!response.headersSent) response.writeHead(200, head);
    response.write(`data: ${JSON.stringify({ ...shared(id, 'chat.completion.chunk'), ...rest })}\n\n`);
  };
  let usage;
  for await (const chunk of chunks) {
    usage = chunk.usage ?? usage;
    const content = chunk.choices[0]?.delta.content;
    if (content == null) continue;
    send({ choices: [{ index: 0, delta: { role: 'assistant', content }, logprobs: null, finish_reason: null }] });
  }
  if (withUsage) send({ choices: [], usage: counts(usage) });
  response.end('data: [DONE]\n\n');
}

async function whole(response, chunks) {
  let content = '', reason, usage;
  for await (const chunk of chunks) {
    content += chunk.choices[0]?.delta.content ?? '';
    reason = chunk.choices[0]?.finish_reason ?? reason;
    usage = chunk.usage ?? usage;
  }
  const choices = [{ index: 0, message: { content, role: 'assistant' }, finish_reason: reason, logprobs: null }];
  response.writeHead(200, headers('application/json'));
  response.end(JSON.stringify({ ...shared(`chatcmpl-${++count}`, 'chat.completion'), choices, usage: counts(usage) }));
}

function refuse(response, status, text) {
  if (response.headersSent) return response.destroy();
  response.writeHead(status, headers('text/plain'));
  response.end(text);
}

async function chat(wllama, request, response) {
  let body;
  try {
    const parts = [];
    for await (const part of request) parts.push(part);
    body = JSON.parse(Buffer.concat(parts));
  } catch (error) {
    return refuse(response, 400, `400 Bad Request: Fail to deserialize chat completion request: ${error.message}`);
  }
  const before = turn;
  let done;
  turn = new Promise((resolve) => (done = resolve));
  await before;
  try {
    const chunks = answer(wllama, body);
    await (body.stream ? stream(response, chunks, body.stream_options?.include_usage) : whole(response, chunks));
  } catch (error) {
    console.error(error);
    refuse(response, 500, `500 Internal Server Error: Failed to get chat completions. Reason: ${error.message}`);
  } finally {
    done();
  }
}

function serve(wllama, request, response) {
  const json = (value) => {
    response.writeHead(200, headers('application/json'));
    response.end(JSON.stringify(value));
  };
  switch (`${request.method} ${request.url}`) {
    case 'GET /v1/models':
      return json({
        object: 'list',
        data: [{ id: name, created: seconds(), object: 'model', owned_by: 'Not specified' }],
      });
    case 'GET /v1/info':
      return json({ api_server: { type: 'llama', version }, chat_model: { name, type: 'chat' } });
    case 'POST /v1/chat/completions':
      return chat(wllama, request, response);
    default:
      return refuse(response, 404, '404 The requested service endpoint is not found');
  }
}

try {
  const wllama = await loaded();
  createServer((request, response) => serve(wllama, request, response)).listen(Number(options.port), '127.0.0.1');
} catch (error) {
  fail(error);
}
