//! sqlx as a client of tables whose columns are masked, prepared (binary) and not (text). Run by
//! `masked_types`, in this same program, inside the labelled cgroup.

use std::fmt::Debug;

use sqlx_core::connection::Connection as _;
use sqlx_core::decode::Decode;
use sqlx_core::row::Row as _;
use sqlx_core::type_info::TypeInfo as _;
use sqlx_core::types::BitVec;
use sqlx_core::types::ipnetwork::IpNetwork;
use sqlx_core::types::mac_address::MacAddress;
use sqlx_core::types::{BigDecimal, JsonValue, Uuid, time};
use sqlx_core::value::ValueRef as _;
use sqlx_postgres::types::{PgInterval, PgTimeTz};
use sqlx_postgres::{
    PgConnectOptions, PgConnection, PgSslMode, PgValueFormat, PgValueRef, Postgres,
};

type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::test]
async fn reads_when_asked() {
    let Ok(at) = std::env::var("MASKED_SQLX_AT") else {
        return; // `masked_types` sets it
    };
    let words: Vec<&str> = at.split(' ').collect();
    let &[_, address, port, user, password, database, ..] = words.as_slice() else {
        panic!("{at}");
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(address)
        .port(port.parse().unwrap())
        .username(user)
        .password(password)
        .database(database)
        .ssl_mode(PgSslMode::Disable);
    let mut client = PgConnection::connect_with(&options).await.unwrap();
    println!();
    for table in super::masked_types::tables() {
        let query = format!("select * from typed.{table} order by id");
        let binary = sqlx_core::query::query::<Postgres>(&query);
        let binary = binary.fetch_all(&mut client).await.unwrap();
        let text = sqlx_core::raw_sql::raw_sql(&query);
        let text = text.fetch_all(&mut client).await.unwrap();
        assert_eq!((binary.len(), text.len()), (3, 3));
        for (number, (binary, text)) in binary.iter().zip(&text).enumerate() {
            let mut valued = Vec::new();
            for at in 0..binary.len() {
                use sqlx_core::column::Column as _;
                let name = binary.column(at).name();
                let (one, other) = (read(binary.try_get_raw(at)), read(text.try_get_raw(at)));
                assert_eq!(one.is_some(), other.is_some(), "{table}.{name}");
                let (Some(one), Some(other)) = (one, other) else {
                    continue;
                };
                let (one, other) = match (one, other) {
                    (Ok(one), Ok(other)) => (one, other),
                    (one, other) => {
                        panic!("{table}.{name}: {one:?} {other:?}");
                    }
                };
                println!("shown {one} {other}");
                // It reads no intervals and nothing with a zone from text.
                assert!(
                    one == other || one.starts_with("Pg") || name == "v_timestamptz",
                    "{table}.{name}: {one} {other}"
                );
                if one != "Null" {
                    valued.push(name.to_owned());
                }
            }
            if number == 0 {
                println!("{table}: {}", valued.join(" "));
            }
        }
    }
}

fn read(value: Result<PgValueRef<'_>, sqlx_core::Error>) -> Option<Result<String, Failed>> {
    let value = value.unwrap();
    (!value.is_null()).then(|| read_as(value))
}

fn read_as(value: PgValueRef<'_>) -> Result<String, Failed> {
    fn shown<'r, T: Decode<'r, Postgres> + Debug>(value: PgValueRef<'r>) -> Result<String, Failed> {
        Ok(format!("{:?}", T::decode(value)?))
    }
    let of = value.type_info().name().to_ascii_uppercase();
    if value.format() == PgValueFormat::Text
        && matches!(&*of, "INTERVAL" | "TIMETZ" | "TIMESTAMPTZ" | "INTERVAL[]")
    {
        return Ok(value.as_str()?.to_owned());
    }
    // A field of more than one dimension is nothing that it reads.
    match of.as_str() {
        "TEXT" | "VARCHAR" | "CHAR" | "NAME" => shown::<String>(value),
        "XML" => Ok(format!("{:?}", value.as_str()?)),
        "INT2" => shown::<i16>(value),
        "INT4" => shown::<i32>(value),
        "INT8" => shown::<i64>(value),
        "FLOAT4" => shown::<f32>(value),
        "FLOAT8" => shown::<f64>(value),
        "NUMERIC" => shown::<BigDecimal>(value),
        "UUID" => shown::<Uuid>(value),
        "DATE" => shown::<time::Date>(value),
        "TIME" => shown::<time::Time>(value),
        "TIMETZ" => shown::<PgTimeTz<time::Time, time::UtcOffset>>(value),
        "TIMESTAMP" => shown::<time::PrimitiveDateTime>(value),
        "TIMESTAMPTZ" => shown::<time::OffsetDateTime>(value),
        "INTERVAL" => shown::<PgInterval>(value),
        "JSON" | "JSONB" => shown::<JsonValue>(value),
        "BYTEA" => shown::<Vec<u8>>(value),
        "BIT" | "VARBIT" => shown::<BitVec>(value),
        "INET" | "CIDR" => shown::<IpNetwork>(value),
        "MACADDR" => shown::<MacAddress>(value),
        "MACADDR8" => Ok("eight bytes".to_owned()),
        "TEXT[]" => shown::<Vec<Option<String>>>(value),
        // One of the two has more dimensions than it reads.
        "INT4[]" => Ok(shown::<Vec<Option<i32>>>(value).unwrap_or_else(|_| "a grid".to_owned())),
        "NUMERIC[]" => shown::<Vec<Option<BigDecimal>>>(value),
        "FLOAT8[]" => shown::<Vec<Option<f64>>>(value),
        "DATE[]" => shown::<Vec<Option<time::Date>>>(value),
        "INTERVAL[]" => Ok(format!(
            "Pg {:?}",
            Vec::<Option<PgInterval>>::decode(value)?
        )),
        "INET[]" => shown::<Vec<Option<IpNetwork>>>(value),
        "BYTEA[]" => shown::<Vec<Option<Vec<u8>>>>(value),
        "UUID[]" => shown::<Vec<Option<Uuid>>>(value),
        "JSONB[]" => shown::<Vec<Option<JsonValue>>>(value),
        other => Err(format!("a value of type {other}").into()),
    }
}
