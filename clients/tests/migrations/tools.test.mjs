/** `latido install --migration`: each tool applies it and rolls it back, in a project of its own. */

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { promisify } from 'node:util';

import pg from 'pg';
import { DataSource } from 'typeorm';
import ts from 'typescript';

import { Program, until } from '../apps/harness/program.mjs';
import { Demo } from '../demo.mjs';

/** The version of Flyway's plugin for Maven, which brings the rest. */
const FLYWAY = '13.12.0';
/** The version of PostgreSQL's driver for Java. */
const JDBC = '42.7.8';
const demo = new Demo();

before(() => demo.start());

after(() => demo.end());

/** A database with a table and no triggers, and a folder with the configuration of a stream over it. */
class Project {
  constructor(name) {
    this.name = name;
    this.folder = join(demo.home, name);
    this.config = { ...demo.server, database: name };
    this.url = `postgres://postgres@/${name}?host=${encodeURIComponent(demo.server.host)}&port=5432&sslmode=disable`;
  }

  static async create(name) {
    const project = new Project(name);
    await run({ ...demo.server, database: 'latido' }, `CREATE DATABASE ${name}`);
    await project.execute(`
      CREATE TABLE pedidos (id int PRIMARY KEY, tienda_id bigint, total int);
      CREATE TABLE lineas (pedido_id int REFERENCES pedidos, "cantidad \`$\{x}\\" int)`);
    mkdirSync(project.folder);
    writeFileSync(join(project.folder, 'latido.toml'), `
      builtin_streams = false
      [streams.ventas]
      query = """SELECT u.id, s.* FROM unnest($1::bigint[], $2::date[]) AS u (id, hoy) CROSS JOIN LATERAL (
        SELECT sum(p.total) AS total, sum(l."cantidad \`$\{x}\\\\") AS unidades
        FROM pedidos p JOIN lineas l ON l.pedido_id = p.id WHERE p.tienda_id = u.id) s"""
      key_field = "tienda_id"
      [[streams.ventas.tables]]
      table = "pedidos"
      key = "tienda_id"
      [[streams.ventas.tables]]
      table = "lineas"
      via = "SELECT p.tienda_id FROM changed c JOIN pedidos p ON p.id = c.pedido_id"`);
    return project;
  }

  execute(sql) {
    return run(this.config, sql);
  }

  async latido(...args) {
    const program = new Program('latido', args, { HOME: demo.home, DATABASE_URL: this.url, LATIDO_CONFIG: 'latido.toml' }, this.folder);
    await until('latido ends', () => !program.alive);
    assert.equal(program.exitCode, 0, program.printed);
    return program.printed;
  }

  /** Writes the migration of a tool to a folder, and returns the names of its files. */
  async migrate(tool, out) {
    await this.latido('install', '--migration', tool, '--out', out);
    return readdirSync(join(this.folder, out), { recursive: true, encoding: 'utf8' }).sort();
  }

  async isInstalled() {
    const { rows } = await this.execute("SELECT to_regnamespace('latido') IS NOT NULL AS is_there");
    if (!rows[0].is_there) return false;
    assert.match(await this.latido('install', '--migration', 'sql', '--out', 'none'), /^nothing to migrate/);
    return true;
  }

  async triggers() {
    const { rows } = await this.execute('SELECT count(*)::int AS n FROM pg_trigger WHERE NOT tgisinternal');
    return rows[0].n;
  }

  /** Runs a program of this project to its end; its failure has what it printed. */
  async run(program, ...args) {
    await promisify(execFile)(program, args, { cwd: this.folder, env: { ...process.env, DATABASE_URL: this.url } });
  }
}

async function run(config, sql) {
  const client = new pg.Client(config);
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

/** Says aloud what was not run, and why. */
function skip(test, tool, reason) {
  const text = `the migration was NOT run by ${tool}: ${reason}`;
  console.error(`latido: ${text}`);
  test.diagnostic(text);
}

it('dbmate applies it and rolls it back', async (test) => {
  const project = await Project.create('dbmate');
  assert.match((await project.migrate('dbmate', 'db/migrations')).join(), /^\d{14}_latido\.sql$/);
  // The package with the program for this system alone: not every registry has those of the others.
  const dbmate = join(import.meta.dirname, '../../node_modules/@dbmate/linux-x64/bin/dbmate');
  if (!existsSync(dbmate)) return skip(test, 'dbmate', 'its package has a program for 64-bit Linux alone');
  for (let round = 0; round < 2; round += 1) {
    await project.run(dbmate, '--no-dump-schema', 'up');
    assert.ok(await project.isInstalled());
    await project.run(dbmate, '--no-dump-schema', 'rollback');
    assert.ok(!(await project.isInstalled()));
    assert.equal(await project.triggers(), 0);
  }
});

it('TypeORM applies it and rolls it back', async () => {
  const project = await Project.create('typeorm');
  const [file] = await project.migrate('typeorm', 'migrations');
  const source = readFileSync(join(project.folder, 'migrations', file), 'utf8');
  // A project that compiles to ECMAScript, as TypeORM's own command line expects it.
  const { outputText } = ts.transpileModule(source, { compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 } });
  writeFileSync(join(project.folder, 'migrations', file.replace('.ts', '.mjs')), outputText);
  const options = { ...project.config, username: 'postgres', type: 'postgres', migrations: [join(project.folder, 'migrations/*.mjs')] };
  const database = new DataSource(options);
  await database.initialize();
  try {
    for (let round = 0; round < 2; round += 1) {
      assert.equal((await database.runMigrations()).length, 1);
      assert.ok(await project.isInstalled());
      await database.undoLastMigration();
      assert.ok(!(await project.isInstalled()));
    }
    assert.equal(await project.triggers(), 0);
  } finally {
    await database.destroy();
  }
});

it('Prisma finds the form of its folder', async () => {
  const project = await Project.create('prisma');
  const files = await project.migrate('prisma', 'prisma/migrations');
  assert.match(files.join(), /^(\d{14}_latido),\1\/down\.sql,\1\/migration\.sql$/);
  const text = (name) => readFileSync(join(project.folder, 'prisma/migrations', files[0], name), 'utf8');
  // `migrate deploy` sends the file as it is, and so does `db execute --file` on the way back.
  await project.execute(text('migration.sql'));
  assert.ok(await project.isInstalled());
  await project.execute(text('down.sql'));
  assert.equal(await project.triggers(), 0);
});

it('Flyway applies it, and the other file undoes it', async (test) => {
  const project = await Project.create('flyway');
  const files = await project.migrate('flyway', 'sql');
  assert.match(files.join(), /^U(\d{14})__latido\.sql,V\1__latido\.sql,V\1__latido\.sql\.conf$/);
  const undo = readFileSync(join(project.folder, 'sql', files[0]), 'utf8');
  if (spawnSync('mvn', ['--version']).status !== 0) return skip(test, 'Flyway', 'mvn is needed (https://maven.apache.org)');
  // The private server has no address, and JDBC no socket in the file system.
  const relay = net.createServer((client) => {
    const socket = net.connect(`${demo.server.host}/.s.PGSQL.5432`);
    client.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.pipe(socket).pipe(client);
  });
  await new Promise((listening) => relay.listen(0, '127.0.0.1', listening));
  try {
    writeFileSync(join(project.folder, 'pom.xml'), pom(relay.address().port, project.name));
    await project.run('mvn', '--batch-mode', '--quiet', 'flyway:migrate');
  } catch (error) {
    if (!/could not be resolved|could not transfer|Unknown host/i.test(error.stdout)) throw error;
    return skip(test, 'Flyway', 'its plugin could not be fetched');
  } finally {
    relay.close();
  }
  assert.ok(await project.isInstalled());
  // Flyway runs undo files in its paid editions alone.
  await project.execute(`BEGIN; ${undo}; COMMIT`);
  assert.equal(await project.triggers(), 0);
});

function pom(port, database) {
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>latido</groupId><artifactId>migrations</artifactId><version>1</version>
  <build><plugins><plugin>
    <groupId>org.flywaydb</groupId><artifactId>flyway-maven-plugin</artifactId><version>${FLYWAY}</version>
    <configuration>
      <url>jdbc:postgresql://127.0.0.1:${port}/${database}</url><user>postgres</user><password>none</password>
      <locations><location>filesystem:sql</location></locations><baselineOnMigrate>true</baselineOnMigrate>
    </configuration>
    <dependencies>
      <dependency><groupId>org.flywaydb</groupId><artifactId>flyway-database-postgresql</artifactId><version>${FLYWAY}</version></dependency>
      <dependency><groupId>org.postgresql</groupId><artifactId>postgresql</artifactId><version>${JDBC}</version></dependency>
    </dependencies>
  </plugin></plugins></build>
</project>`;
}
