// `latido demo`: found, or started and stopped.

import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** What it says once it can be reached. */
const RUNNING = 'Latido is running: ';
/** A demo makes a database of its own the first time, and may have to fetch PostgreSQL for it. */
const START_MS = 300_000;
const FIND_MS = 1_000;
/** It gives its clients ten seconds to leave. */
const STOP_MS = 20_000;

/** The address of a demo that runs already, on the port where one would. */
export async function findDemo() {
  const address = `http://127.0.0.1:${process.env.PORT ?? 8080}/`;
  try {
    const answer = await fetch(`${address}demo/session`, { signal: AbortSignal.timeout(FIND_MS) });
    return answer.ok && typeof (await answer.json()).token === 'string' ? address : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Starts one, in a process group of its own: Ctrl-C reaches this process alone, which then ends them in order.
 *
 * @param onEnd called with an exit code if it ends by itself once it has been running
 */
export async function startDemo(program, onEnd) {
  const child = spawn(program, ['demo'], { detached: true, stdio: ['ignore', 'pipe', 'inherit'] });
  const ended = new Promise((resolve) => {
    child.once('exit', (code) => resolve(code ?? 1));
    child.once('error', (error) => {
      console.error(`${program}: ${error.message}`);
      resolve(1);
    });
  });
  // A demo must not outlive whoever started it.
  const kill = (signal) => child.pid && child.exitCode === null && child.signalCode === null && child.kill(signal);
  process.once('exit', () => kill('SIGTERM'));

  const lines = createInterface({ input: child.stdout });
  const address = await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the demo did not start')), START_MS);
    lines.on('line', (line) => {
      console.log(line);
      if (line.includes(RUNNING)) resolve(line.split(RUNNING)[1].trim());
    });
    void ended.then((code) => reject(new Error(`the demo ended with code ${code}`)));
    void ended.then(() => clearTimeout(timer));
  });
  void ended.then(onEnd);

  return {
    address,
    kill: () => kill('SIGKILL'),
    async stop() {
      kill('SIGTERM');
      const timer = setTimeout(() => kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(timer);
    },
  };
}
