// node-postgres: simple and parameterised queries, named statements, transactions, a cursor, a pool of 16, errors.
'use strict';
const assert = require('assert');
const { Client, Pool } = require('pg');
const Cursor = require('pg-cursor');

const at = process.argv.indexOf('--dsn');
if (at < 0) {
  console.error('usage: node node_scenario.js --dsn URL');
  process.exit(2);
}
const dsn = process.argv[at + 1];
const ssl = /sslmode=(require|verify)/.test(dsn) ? { rejectUnauthorized: false } : undefined;
const config = { connectionString: dsn.replace(/[?&]sslmode=[^&]*/, ''), ssl };
const table = 'node_' + Math.random().toString(36).slice(2, 10);

async function rejects(promise, code) {
  await assert.rejects(promise, (error) => error.code === code);
}

async function basics() {
  const client = new Client(config);
  await client.connect();
  await client.query(`create table ${table} (a int primary key, b text, c jsonb)`);
  for (let i = 0; i < 40; i++) {
    await client.query(`insert into ${table} values ($1, $2, $3)`, [i, `row ${i}`, { i }]);
  }
  for (let i = 0; i < 40; i++) {
    const named = { name: 'by-key', text: `select b, c from ${table} where a = $1`, values: [i] };
    const { rows } = await client.query(named);
    assert.deepStrictEqual(rows, [{ b: `row ${i}`, c: { i } }]);
  }
  await rejects(client.query(`insert into ${table} values ($1)`, [1]), '23505');
  await rejects(client.query('selec 1'), '42601');
  const many = await client.query('select 1 as a; select 2 as b');
  assert.deepStrictEqual(many.map((result) => result.rows), [[{ a: 1 }], [{ b: 2 }]]);
  const all = await Promise.all([1, 2, 3, 4].map((i) => client.query('select $1::int as i', [i])));
  assert.deepStrictEqual(all.map((result) => result.rows[0].i), [1, 2, 3, 4]);
  await client.end();
}

async function transactions() {
  const client = new Client(config);
  await client.connect();
  await client.query('begin');
  await client.query(`delete from ${table} where a < $1`, [10]);
  await client.query('savepoint s');
  await rejects(client.query('select 1/0'), '22012');
  await rejects(client.query('select 1'), '25P02');
  await client.query('rollback to s');
  assert.strictEqual((await client.query(`select count(*)::int as n from ${table}`)).rows[0].n, 30);
  await client.query('rollback');
  assert.strictEqual((await client.query(`select count(*)::int as n from ${table}`)).rows[0].n, 40);
  await client.end();
}

async function cursors() {
  const client = new Client(config);
  await client.connect();
  const cursor = client.query(new Cursor(`select a from ${table} where a >= $1 order by a`, [5]));
  const seen = [];
  for (let rows = await cursor.read(6); rows.length > 0; rows = await cursor.read(6)) {
    seen.push(...rows.map((row) => row.a));
  }
  await cursor.close();
  assert.deepStrictEqual(seen, Array.from({ length: 35 }, (_, i) => i + 5));
  const early = client.query(new Cursor('select i from generate_series(1, 100) i'));
  assert.strictEqual((await early.read(3)).length, 3);
  await early.close();
  assert.strictEqual((await client.query('select 7 as i')).rows[0].i, 7);
  await client.end();
}

async function concurrent() {
  const pool = new Pool({ ...config, max: 16 });
  await Promise.all(Array.from({ length: 16 }, async (_, number) => {
    for (let i = 0; i < 40; i++) {
      const { rows } = await pool.query('select $1::text as t', [`${number}/${i}`]);
      assert.strictEqual(rows[0].t, `${number}/${i}`);
      const client = await pool.connect();
      try {
        await client.query('begin');
        await client.query(`update ${table} set b = $2 where a = $1`, [number, `${i}`]);
        await client.query('commit');
      } finally {
        client.release();
      }
    }
  }));
  await pool.end();
}

(async () => {
  try {
    for (const step of [basics, transactions, cursors, concurrent]) {
      await step();
      console.log(`node-postgres: ${step.name} ok`);
    }
  } finally {
    const client = new Client(config);
    await client.connect();
    await client.query(`drop table if exists ${table}`);
    await client.end();
  }
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
