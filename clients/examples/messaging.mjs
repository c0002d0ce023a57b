/**
 * Two people talk, with the official `phoenix` client. From `clients/`, after `cargo build` and `npm ci`:
 *
 *     node examples/messaging.mjs
 *
 * It starts a database and a server of its own, and ends them.
 */

import * as phoenix from 'phoenix-1.8';

import { Device, until, World } from '../tests/apps/messaging/world.mjs';

const world = await new World().start();
const server = await world.serve();
const { id, topic, users } = world.conversation();
const say = (...words) => process.stdout.write(`${words.join(' ')}\n`);

const ana = await (await new Device(phoenix, server, users[0]).arrive()).enter(topic);
const eva = await (await new Device(phoenix, server, users[1]).arrive()).enter(topic);
eva.channel.on('new_message', ({ message }) => say('Eva reads:', message.content));
eva.channel.on('user_typing', ({ typing }) => say(typing ? 'Ana is typing …' : 'Ana has stopped typing'));
ana.channel.on('message_read', () => say('Ana knows that it was read'));

ana.channel.push('user_typing', { typing: true });
const { message } = await ana.send('Hola, Eva');
await until('it has come', () => eva.heard.length === 1);
await eva.push('message_read', { message_id: message.id });
world.sql(`INSERT INTO messages (conversation_id, sender_id, content) VALUES ('${id}', '${users[0]}', 'This one was written by SQL')`);
await until('it has come', () => eva.heard.length === 2);

await server.kill();
say('The server is killed …');
await server.start();
await until('both are back', () => ana.channel.state === 'joined' && eva.channel.state === 'joined');
await ana.send('… and nothing was lost');
await until('it has come', () => eva.heard.length === 3);

await Promise.all([ana.leave(), eva.leave()]);
await world.end();
process.exit(0);
