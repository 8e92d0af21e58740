// node-postgres through whatever lies between. Arguments: the directory with node_modules, host,
// address, port, user, password, database, sslmode, file of roots.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";

const [home, host, address, port, user, password, database, sslmode, roots] = process.argv.slice(2);
const pg = createRequire(home + "/package.json")("pg");
const done = (what) => console.log("ok", what);

const ssl = {
  disable: false,
  require: { rejectUnauthorized: false, servername: host },
  "verify-full": { ca: fs.existsSync(roots) ? fs.readFileSync(roots) : undefined, servername: host },
}[sslmode];
const settings = { host: address, port: Number(port), user, password, database, ssl, connectionTimeoutMillis: 15000 };

const client = new pg.Client(settings);
await client.connect();
assert.equal((await client.query("select 41 + 1 as n")).rows[0].n, 42);
done("simple");

const many = await client.query("select 1 as a; select 2 as b, 'x' as c");
assert.deepEqual(many.map((result) => result.rows), [[{ a: 1 }], [{ b: 2, c: "x" }]]);
done("several statements");

const text = "select $1::int as i, $2::text as t, $3::jsonb as j, $4::bytea as b, $5::timestamptz as d, $6::text as n";
const values = [7, "naïve 'quoted' \\", { a: [1, null] }, Buffer.from([0, 255, 10]), new Date("2024-02-29T12:30:01.005Z"), null];
for (const query of [{ text, values }, { name: "named", text, values }, { name: "named", text, values }]) {
  const [row] = (await client.query(query)).rows;
  assert.deepEqual([row.i, row.t, row.j, row.b, row.d, row.n], values);
}
done("parameters and named statements");

const [binary] = (await client.query({ text: "select $1::int4 as i, true as b, 'x'::text as t", values: [7], binary: true })).rows;
assert.equal(binary.i, 7);
done("binary");

await client.query("create table if not exists t_node (id int primary key, v text)");
await client.query("truncate t_node");
await client.query("begin");
await client.query("insert into t_node select g, 'v' || g from generate_series(1, 500) g");
await assert.rejects(client.query("insert into t_node values (1, 'again')"), (error) => error.code === "23505" && error.constraint === "t_node_pkey");
await assert.rejects(client.query("select 1"), (error) => error.code === "25P02");
await client.query("rollback");
assert.equal((await client.query("select count(*)::int as n from t_node")).rows[0].n, 0);
done("errors in a transaction");

const notice = new Promise((resolve) => client.once("notice", resolve));
await client.query("do $$ begin raise notice 'hello'; end $$");
assert.equal((await notice).message, "hello");
done("notice");

const heard = new Promise((resolve) => client.once("notification", resolve));
await client.query("listen channel_node");
await client.query("notify channel_node, 'payload'");
assert.equal((await heard).payload, "payload");
done("notify");

const rows = (await client.query("select g, repeat('x', 100) as x from generate_series(1, 20000) g")).rows;
assert.equal(rows.length, 20000);
done("many rows");
await client.query("drop table t_node");
await client.end();

const pool = new pg.Pool({ ...settings, max: 4 });
const sums = await Promise.all(Array.from({ length: 200 }, (_, n) => pool.query("select $1::int + 1 as n", [n])));
assert.deepEqual(sums.map((result) => result.rows[0].n), Array.from({ length: 200 }, (_, n) => n + 1));
await pool.end();
done("pool");
