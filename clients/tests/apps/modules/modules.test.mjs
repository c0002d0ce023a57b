/** Two users, an administrator and three modules against the real server: official `socket.io-client`, plain `ws`. */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';

import { until } from '../harness/program.mjs';
import { World, cookie, token } from './world.mjs';

const world = new World();

before(() => world.start());
afterEach(() => world.clear());
after(() => world.end());

/** A session as connect-pg-simple stores it. */
async function session(sid, sess) {
  await world.sql.query(
    `INSERT INTO session (sid, sess, expire) VALUES ($1, $2, now() + interval '1 hour')
     ON CONFLICT (sid) DO UPDATE SET sess = excluded.sess`,
    [sid, JSON.stringify(sess)],
  );
}

describe('who somebody is', () => {
  test('a token proves it, and the page begins', async () => {
    const ana = await world.user(7, 'modules');
    const success = await ana.heard.first('client:auth:success');
    assert.equal(success.message, 'Authenticated successfully');
    assert.match(success.timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    const state = await ana.heard.first('modules:initial:state');
    assert.deepEqual(Object.keys(state), ['M1', 'M2'], 'her own, and no others');
    assert.equal(state.M1.moduleInfo.name, 'Loop');
  });

  test('the handshake gives slow firmware the time that it always had', async () => {
    const opened = await (await fetch(`${world.url}/socket.io/?EIO=4&transport=polling`)).text();
    const { pingInterval, pingTimeout } = JSON.parse(opened.slice(1));
    assert.deepEqual({ pingInterval, pingTimeout }, { pingInterval: 25_000, pingTimeout: 60_000 });
  });

  test('a token may come with the event, in the query, or under the older name', async () => {
    for (const name of ['token', 'sessionToken']) {
      await world.page().authenticate({ userId: 7, [name]: token({ id: 7 }) });
    }
    await world.page({ query: { token: token({ id: 7 }) } }).authenticate({ userId: '7' });
  });

  test('the session cookie proves it without a word; polling too', async () => {
    await session('abc', { cookie: {}, user_id: 7, is_admin: 0, nickname: 'Ana' });
    for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
      const page = world.page({ transports, extraHeaders: { cookie: cookie('abc') } });
      page.say('register_page', { page: 'modules' });
      page.say('request_module_states');
      const { states } = await page.heard.first('module_states_sync');
      assert.deepEqual(Object.keys(states), ['M1', 'M2']);
      page.say('client:page:changed', { page: 'dashboard' });
      assert.match((await page.heard.first('dashboard:initial:summary')).message, /Ana/);
    }
  });

  test('a cookie that nobody signed, of another site, or of a session that has ended, proves nothing', async () => {
    await session('abc', { user_id: 7 });
    const bad = [
      { cookie: cookie('abc', 'guessed') },
      { cookie: 'connect.sid=s%3Aabc.AAAA' },
      { cookie: cookie('gone') },
      { cookie: cookie('abc'), origin: 'https://evil.example' },
    ];
    for (const extraHeaders of bad) {
      const page = world.page({ extraHeaders });
      page.say('client:authenticate', { userId: '7', userType: 'admin', page: 'modules' });
      assert.equal((await page.heard.first('client:auth:error')).message, 'Authentication failed');
      page.say('request_module_states');
      assert.equal((await page.heard.first('error')).message, 'Not authenticated');
      assert.equal(page.heard.count('module_states_sync'), 0);
    }
  });

  test('a session that ends, ends its pages', async () => {
    await session('short', { user_id: 7 });
    const page = await world.page({ reconnection: false, extraHeaders: { cookie: cookie('short') } }).authenticate({ userId: 7 });
    await world.sql.query(`DELETE FROM session WHERE sid = 'short'`);
    assert.equal((await page.heard.first('client:auth:error')).message, 'Session expired');
    await page.heard.first('(disconnect)');
  });

  test('a claim is compared, never believed', async () => {
    const page = world.page({ auth: { token: token({ id: 7 }) } });
    page.say('client:authenticate', { userId: '8', userType: 'user', page: 'modules' });
    assert.equal((await page.heard.first('client:auth:error')).message, 'Authentication failed');
    await page.authenticate({ userId: '7', userType: 'admin', page: 'admin' });
    page.say('client:sync:request');
    await page.heard.first('client:sync:success');
    assert.equal(page.heard.count('admin:initial:stats'), 0, 'who says it is an administrator is none');
    const nobody = world.page();
    nobody.say('client:authenticate', {});
    assert.equal((await nobody.heard.first('client:auth:error')).message, 'User ID required');
    nobody.say('client:sync:request');
    assert.equal((await nobody.heard.first('client:sync:error')).message, 'Not authenticated');
    nobody.say('send_module_command', { moduleId: 'M1', command: 'left' });
    const refused = await nobody.heard.first('command_error');
    assert.deepEqual([refused.error, refused.message], ['Not authenticated', 'Not authenticated']);
  });

  test('who proves nothing in ten seconds must go', async () => {
    const page = world.page({ reconnection: false });
    await page.heard.first('(disconnect)');
    assert.equal(page.heard.count('client:auth:error'), 1);
  });
});

describe('modules come, tell and go', () => {
  test('each hears what is theirs, once, under every name', async () => {
    const [ana, tab, eva, root] = await Promise.all([
      world.user(7, 'modules'),
      world.user(7, 'dashboard'),
      world.user(8, 'modules'),
      world.admin('modules'),
    ]);
    const device = await world.device('M1').identify();
    device.send('telemetry', { uptime: 9, position: 'left', isMoving: true });
    const told = await ana.heard.first('rt_telemetry_updated');
    assert.deepEqual(told.telemetry, { uptime: 9, position: 'left', isMoving: true });
    assert.match(told.lastSeenFormatted, /^\d\d\/\d\d\/\d{4} \d\d:\d\d:\d\d$/);
    const formatted = new Date(told.lastSeen).toLocaleString('fr-FR', { timeZone: 'Europe/Paris' });
    assert.equal(told.lastSeenFormatted, formatted);
    const flat = await tab.heard.first('module_telemetry');
    assert.deepEqual([flat.moduleId, flat.uptime, flat.position], ['M1', 9, 'left']);
    await root.heard.first('module_telemetry');
    device.kill();
    const offline = await root.heard.first('rt_module_offline');
    assert.deepEqual([offline.moduleId, offline.online, offline.userId, offline.name], ['M1', false, 7, 'Loop']);
    await ana.heard.first('user:module:offline');
    for (const name of ['rt_module_online', 'module:status:changed', 'rt_telemetry_updated', 'module:telemetry:updated']) {
      const times = name === 'module:status:changed' ? 2 : 1;
      assert.equal(ana.heard.count(name), times, `${name} for Ana`);
      assert.equal(root.heard.count(name), times, `${name} for the administrator`);
      assert.equal(tab.heard.count(name), 0, `${name} where the page is not open`);
    }
    for (const name of ['user:module:online', 'module_online', 'user:module:offline', 'module_offline']) {
      assert.equal(ana.heard.count(name), 1, name);
      assert.equal(root.heard.count(name), 0, name);
    }
    assert.deepEqual(eva.heard.names().filter((name) => name.includes('module:') || name.includes('telemetry')), []);
    assert.deepEqual(root.heard.names().filter((name) => JSON.stringify(root.heard.events).includes('s3cret') && name), []);
  });

  test('firmware hears what it waits for, and a second connection takes the first one’s place in silence', async () => {
    const ana = await world.user(7, 'modules');
    const first = await world.device('M1').identify({ uptime: 4 });
    assert.deepEqual((await first.heard.first('connected')).initialState.uptime, 4);
    const second = await world.device('M1').identify();
    assert.deepEqual(await first.closed, [1000, 'New session']);
    second.send('heartbeat');
    ana.say('request_module_states');
    await ana.heard.first('module_states_sync', ({ states }) => states.M1.online);
    assert.equal(ana.heard.count('rt_module_online'), 1);
    assert.equal(ana.heard.count('rt_module_offline'), 0);
    second.password = 'wrong';
    second.send('telemetry', { uptime: 1 });
    assert.deepEqual(await second.closed, [1008, 'Authentication failed']);
    await ana.heard.first('rt_module_offline');
  });

  test('a burst is grouped and the newest wins', async () => {
    const ana = await world.user(7, 'modules');
    const device = await world.device('M1').identify();
    for (let uptime = 1; uptime <= 150; uptime++) device.send('telemetry', { uptime });
    await ana.heard.first('rt_telemetry_updated', ({ telemetry }) => telemetry.uptime === 150);
    assert.ok(ana.heard.count('rt_telemetry_updated') < 75, `${ana.heard.count('rt_telemetry_updated')} of 150`);
  });

  test('older firmware speaks Socket.IO', async () => {
    const ana = await world.user(7, 'modules');
    for (const [identify, telemetry, command] of [
      ['module_identify', 'telemetry', 'command'],
      ['esp_register', 'esp_telemetry', 'esp_command'],
    ]) {
      ana.heard.clear();
      const module = world.page({ reconnection: false });
      module.say(identify, { moduleId: 'M2', type: 'Tower', password: 's3cret' });
      assert.equal((await module.heard.first('connected')).status, 'authenticated');
      module.say(telemetry, { uptime: 3, password: 's3cret' });
      await ana.heard.first('rt_telemetry_updated', ({ telemetry: told }) => told.uptime === 3 && !('password' in told));
      ana.say('module_command', { moduleId: 'M2', command: 'drop', params: { speed: 2 } });
      const told = await module.heard.first(command);
      assert.deepEqual([told.command, told.payload.command, told.payload.params.speed], ['drop', 'drop', 2]);
      module.say('command_response', { command: 'drop', success: true });
      assert.equal((await ana.heard.first('module_command_response')).status, 'success');
      module.close();
      await ana.heard.first('user:module:offline');
    }
    const liar = world.page({ reconnection: false });
    liar.say('module_identify', { moduleId: 'M2', type: 'Tower' });
    assert.equal((await liar.heard.first('error')).message, 'Missing credentials');
    await liar.heard.first('(disconnect)');
  });
});

describe('commands', () => {
  test('they reach the module from who may, and answers come back to who asked', async () => {
    const [ana, tab, eva, root] = await Promise.all([
      world.user(7, 'modules'),
      world.user(7, 'dashboard'),
      world.user(8, 'modules'),
      world.admin(),
    ]);
    ana.say('send_module_command', { moduleId: 'M1', command: 'left' });
    assert.equal((await ana.heard.first('command_error')).message, 'Module offline');
    const device = await world.device('M1').identify();
    ana.say('send_module_command', { moduleId: 'M1', command: 'left', params: { speed: 3 } });
    const { data } = await device.heard.first('command');
    assert.deepEqual(data, { command: 'left', moduleId: 'M1', params: { speed: 3 } });
    assert.equal((await ana.heard.first('command_sent')).command, 'left');
    device.send('command_response', { command: 'left', success: true, position: 'left' });
    for (const page of [ana, tab, root]) {
      const response = await page.heard.first('module_command_response');
      assert.deepEqual([response.moduleId, response.status, response.position], ['M1', 'success', 'left']);
      assert.equal(page.heard.count('module_command_response'), 1);
    }
    assert.equal((await tab.heard.first('user:command:sent')).userId, 7);
    await root.heard.first('admin:command:sent');
    await root.heard.first('admin:user:activity', ({ activity }) => activity === 'send_module_command');
    eva.say('send_module_command', { moduleId: 'M1', command: 'left' });
    const refused = await eva.heard.first('command_error');
    assert.deepEqual([refused.moduleId, refused.error], ['M1', 'Module not found or access denied']);
    assert.equal(eva.heard.count('module_command_response') + eva.heard.count('command_sent'), 0);
    root.say('send_module_command', { moduleId: 'M1', command: 'stop' });
    await device.heard.first('command', (frame) => frame.data.command === 'stop');
  });
});

describe('rows', () => {
  test('whoever changes one by SQL, its owners and administrators hear of it', async () => {
    const [ana, eva, root] = await Promise.all([world.user(7, 'modules'), world.user(8, 'modules'), world.admin()]);
    await world.sql.query(`INSERT INTO modules (module_id, name, type, user_id, claimed) VALUES ('N1', 'New', 'Coaster', 7, true)`);
    const added = await ana.heard.first('user:module:added');
    assert.deepEqual([added.action, added.moduleId, added.module.module_id, added.module.userId], ['added', 'N1', 'N1', 7]);
    for (const name of ['rt_module_added', 'admin:module:added', 'admin:modules:list_changed']) await root.heard.first(name);
    await world.sql.query(`UPDATE modules SET name = 'Newer' WHERE module_id = 'N1'`);
    assert.equal((await ana.heard.first('user:module:updated')).module.name, 'Newer');
    await world.sql.query(`UPDATE modules SET user_id = 8 WHERE module_id = 'N1'`);
    const removed = await ana.heard.first('user:module:removed');
    assert.equal(removed.module.userId, null, 'who has it now is not hers to know');
    await eva.heard.first('user:module:added');
    await world.sql.query(`DELETE FROM modules WHERE module_id = 'N1'`);
    await eva.heard.first('user:module:removed');
    await root.heard.first('rt_module_removed');
    assert.equal(eva.heard.count('user:module:updated'), 0);
  });

  test('a module is claimed with its code, and only while it is nobody’s', async () => {
    const [ana, eva] = await Promise.all([world.user(7, 'modules'), world.user(8, 'modules')]);
    ana.say('module_claim', { moduleId: 'M4' });
    assert.equal((await ana.heard.first('error')).message, 'Module code required');
    eva.say('module_claim', { moduleId: 'M4', code: 'c9' });
    assert.match((await eva.heard.first('error')).message, /No unclaimed module/);
    ana.say('module_claim', { moduleId: 'M4', code: 'c4' });
    assert.equal((await ana.heard.first('claim_ack')).moduleId, 'M4');
    assert.deepEqual(await ana.heard.first('module_presence'), { moduleId: 'M4', online: false });
    await ana.heard.first('user:module:added');
    eva.heard.clear();
    eva.say('module_claim', { moduleId: 'M4', code: 'c4' });
    await eva.heard.first('error');
    await world.sql.query(`UPDATE modules SET user_id = NULL, claimed = false WHERE module_id = 'M4'`);
    await ana.heard.first('user:module:removed');
  });
});

describe('administrators and the emit API', () => {
  test('counts are told when they change', async () => {
    const root = await world.admin();
    const initial = await root.heard.first('admin:initial:stats');
    assert.equal(initial.modules.total, 4);
    root.heard.clear();
    await world.device('M1').identify();
    await root.heard.first('simple_stats_update', ({ modules }) => modules.online === 1);
    for (const name of ['rt_global_stats_updated', 'admin:stats:updated']) {
      await root.heard.first(name, ({ stats }) => stats.modules.online === 1);
    }
    await world.sql.query(`INSERT INTO users (id, name) VALUES (99, 'Zoe')`);
    const { stats } = await root.heard.first('rt_global_stats_updated', (payload) => payload.stats.users.total === 4);
    assert.deepEqual(Object.keys(stats), ['users', 'modules', 'websocket', 'system', 'lastUpdate']);
    await world.sql.query(`DELETE FROM users WHERE id = 99`);
  });

  test('what a server publishes reaches whom it is for', async () => {
    const [ana, root, other, elsewhere] = await Promise.all([
      world.user(7, 'modules'),
      world.admin(),
      world.user(2, 'admin', 'admin'),
      world.user(3, 'dashboard', 'admin'),
    ]);
    const all = [ana, root, other, elsewhere];
    const user = { id: 7, name: 'Ana', email: 'a@x', sessionId: 's3cr3t' };
    const calls = [
      ['emitUserLoggedIn', [user, 's3cr3t'], 'rt_user_logged_in', [root, other, elsewhere]],
      ['emitUserLoggedOut', { user }, 'rt_user_logged_out', [root, other, elsewhere]],
      ['emitUserRegistered', { user }, 'admin:user:registered', [root, other, elsewhere]],
      ['emitUserProfileUpdated', { user }, 'rt_user_profile_updated', all],
      ['emitUserPasswordChanged', { userId: 7 }, 'user:security:password_changed', [ana]],
      ['emitUserSessionNew', { userId: 7 }, 'user:session:new', [ana]],
      ['emitUserWelcome', { user }, 'user:welcome', [ana]],
      ['emitAdminAction', { adminUserId: 1, action: 'ban' }, 'admin:action:performed', [other, elsewhere]],
      ['emitSystemMaintenance', [true, 'update', 1], 'system:maintenance', all],
      ['emitSystemAlert', ['critical', 'hot'], 'system:alert', [root, other, elsewhere]],
      ['emitPerformance', { performance: { cpu: 1 } }, 'admin:performance:updated', [root, other]],
      ['emitUsersListChanged', ['added', user], 'admin:users:list_changed', [root, other]],
    ];
    for (const [method, body, name, audience] of calls) {
      assert.equal((await world.emit(method, body)).status, 200, method);
      await Promise.all(audience.map((page) => page.heard.first(name)));
    }
    await world.emit('emitSystemMaintenance', { inMaintenance: false });
    await Promise.all(all.map((page) => page.heard.first('system:maintenance', ({ inMaintenance }) => !inMaintenance)));
    for (const [method, , name, audience] of calls.filter(([, , name]) => name !== 'system:maintenance')) {
      for (const page of all) assert.equal(page.heard.count(name), audience.includes(page) ? 1 : 0, method);
    }
    assert.ok(!all.some((page) => JSON.stringify(page.heard.events).includes('s3cr3t')), 'no session is told to anybody');
    assert.equal((await world.emit('emitSystemAlert', ['critical', 'hot'], 'wrong')).status, 401);
  });
});

describe('many tabs, kills, and back again', () => {
  test('all tabs of a user agree, whatever the modules do', async () => {
    const tabs = await Promise.all(Array.from({ length: 6 }, () => world.user(7, 'modules')));
    const shown = tabs.map((tab) => {
      const state = new Map();
      tab.socket.on('rt_module_online', ({ moduleId }) => state.set(moduleId, true));
      tab.socket.on('rt_module_offline', ({ moduleId }) => state.set(moduleId, false));
      tab.socket.on('rt_telemetry_updated', ({ moduleId, telemetry }) => state.set(`${moduleId}.uptime`, telemetry.uptime));
      return state;
    });
    let uptime = 0;
    for (let round = 0; round < 10; round++) {
      const devices = await Promise.all(['M1', 'M2', 'M3'].map((id) => world.device(id).identify()));
      for (const device of devices) device.send('telemetry', { uptime: ++uptime });
      if (round % 2) for (const device of devices) device.kill();
    }
    const last = await world.device('M1').identify();
    last.send('telemetry', { uptime: 1000 });
    await until('all tabs know the last', () => shown.every((state) => state.get('M1.uptime') === 1000));
    await until('and the other is gone', () => shown.every((state) => state.get('M1') === true && state.get('M2') === false));
    assert.ok(shown.every((state) => !state.has('M3')), 'another’s is not seen');
    for (const state of shown) assert.deepEqual([...state].sort(), [...shown[0]].sort());
  });

  test('a server that was killed comes back with what was known', async () => {
    const ana = await world.user(7, 'modules');
    const device = await world.device('M1').identify();
    device.send('telemetry', { uptime: 77, position: 'right' });
    const kept = `SELECT telemetry->>'uptime' AS uptime FROM module_state WHERE module_id = 'M1'`;
    await until('it is kept', async () => (await world.sql.query(kept)).rows[0]?.uptime === '77');
    await world.server.end('SIGKILL');
    await ana.heard.first('(disconnect)');
    ana.heard.clear();
    await world.serve();
    await until('the page is back', () => ana.socket.connected);
    await ana.authenticate({ userId: '7', page: 'modules' });
    const state = await ana.heard.first('modules:initial:state');
    assert.deepEqual([state.M1.online, state.M1.telemetry.position], [false, 'right']);
    const again = await world.device('M1').identify({ uptime: undefined, position: undefined });
    assert.equal((await again.heard.first('connected')).initialState.position, 'right');
    await ana.heard.first('rt_module_online');
  });
});
