// node-postgres reads tables whose columns are masked: all of them in text, and in binary those types that it
// has a reader for. Arguments: the directory with node_modules, host, address, port, user, password, database,
// sslmode, file of roots, then the tables.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [home, host, address, port, user, password, database, , , ...tables] = process.argv.slice(2);
const pg = createRequire(home + "/package.json")("pg");
const client = new pg.Client({ host: address, port: Number(port), user, password, database, connectionTimeoutMillis: 15000 });
await client.connect();
for (const table of tables) {
  const { rows } = await client.query(`select * from typed.${table} order by id`);
  assert.deepEqual(rows.map((row) => row.id), [1, 2, 3]);
  console.log(`${table}:`, ...Object.keys(rows[0]).filter((name) => rows[0][name] !== null));
  console.log("shown", JSON.stringify(rows));
  const read = "id, v_text, v_varchar, v_int2, v_int4, v_int8, v_numeric, v_float4, v_float8, v_bool, v_oid, v_ints, v_texts";
  const text = `select ${read} from typed.${table} where id < 3 order by id`;
  const again = (await client.query({ text, binary: true })).rows;
  again.forEach((row, at) => {
    for (const [name, value] of Object.entries(row)) {
      const other = rows[at][name];
      const plain = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
      assert.equal(plain(value), plain(other), `${table}.${name}`);
    }
  });
}
await client.end();
