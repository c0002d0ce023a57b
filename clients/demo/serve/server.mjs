// The app's files, and everything else from the server behind it: so the page has one origin, as it would behind a reverse proxy.

import { createHash } from 'node:crypto';
import { readFile, readdir } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, relative, sep } from 'node:path';
import { forward, upgrade } from './proxy.mjs';

/** The first free one of so many ports. */
const PORTS_TRIED = 10;
/** What belongs to the server behind; all else is a file. */
const BEHIND = /^\/(ws|demo\/|estadisticas\/|health$|ready$)/;

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

/** Other servers that the form may name, as in a deployment: `CONNECT_SRC="https://live.example.com wss://live.example.com"`. */
const CONNECT = process.env.CONNECT_SRC ? ` ${process.env.CONNECT_SRC}` : '';
const HEADERS = {
  'Content-Security-Policy': `default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'${CONNECT}; img-src 'self' data:; base-uri 'self'; form-action 'none'; frame-ancestors 'none'`,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
};

async function filesBelow(folder) {
  const files = new Map();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath ?? entry.path, entry.name);
    const bytes = await readFile(path);
    const tag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`;
    files.set(`/${relative(folder, path).split(sep).join('/')}`, { bytes, tag, type: TYPES[extname(path)] ?? 'application/octet-stream' });
  }
  return files;
}

function show(file, request, response) {
  const isKnown = request.headers['if-none-match'] === file.tag;
  const headers = { ...HEADERS, 'Content-Type': file.type, 'Cache-Control': 'no-cache', ETag: file.tag };
  response.writeHead(isKnown ? 304 : 200, headers);
  response.end(isKnown || request.method === 'HEAD' ? undefined : file.bytes);
}

/**
 * Listens on this machine alone.
 *
 * @param target the server behind
 * @param mayMove whether another port will do if that one is taken
 */
export async function listen(folder, target, port, mayMove) {
  const files = await filesBelow(folder);
  const server = createServer((request, response) => {
    const [path] = request.url.split('?');
    if (BEHIND.test(path)) return forward(target, request, response);
    if (request.method !== 'GET' && request.method !== 'HEAD') return response.writeHead(405, { Allow: 'GET, HEAD' }).end();
    const file = files.get(path === '/' ? '/index.html' : path);
    if (file) return show(file, request, response);
    response.writeHead(404, { ...HEADERS, 'Content-Type': 'text/plain' }).end('not found\n');
  });
  server.on('upgrade', (request, socket, head) => {
    if (BEHIND.test(request.url.split('?')[0])) upgrade(target, request, socket, head);
    else socket.destroy();
  });
  for (let tried = 1; ; tried++, port++) {
    try {
      await new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, '127.0.0.1', () => {
          server.off('error', reject);
          resolve();
        });
      });
      return server;
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || !mayMove || tried === PORTS_TRIED) throw error;
    }
  }
}
