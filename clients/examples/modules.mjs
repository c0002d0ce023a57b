/**
 * The modules' app with the official clients: `node clients/examples/modules.mjs` (after `cargo build` and `npm ci` in clients/).
 *
 * Starts a private Postgres and a server, lets a module come online, shows what its owner's page hears, sends it a command, and renames it
 * with plain SQL.
 */

import { World } from '../tests/apps/modules/world.mjs';

const world = new World();
try {
  await world.start();
  console.log(`serving ${world.url}: Socket.IO at /socket.io/, modules at /esp32\n`);

  const page = await world.user(7, 'modules');
  page.socket.onAny((name, payload) => console.log(`page   ← ${name} ${JSON.stringify(payload).slice(0, 110)}`));
  const module = await world.device('M1').identify();
  module.socket.on('message', (data) => console.log(`module ← ${data}`));

  module.send('telemetry', { uptime: 12, position: 'left' });
  await page.heard.first('rt_telemetry_updated');
  page.say('send_module_command', { moduleId: 'M1', command: 'right', params: { speed: 2 } });
  await module.heard.first('command');
  module.send('command_response', { command: 'right', success: true, position: 'right' });
  await page.heard.first('module_command_response');
  await world.sql.query(`UPDATE modules SET name = 'Renamed by SQL' WHERE module_id = 'M1'`);
  await page.heard.first('user:module:updated');
  module.kill();
  await page.heard.first('rt_module_offline');
} finally {
  await world.end();
}
process.exit();
