//! tokio-postgres as a client. Run by `drivers`, in this same program, inside the labelled cgroup.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, TryStreamExt as _, pin_mut};
use node_agent_tests::client::{MakeTls, client_config};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn talks_when_asked() {
    let Ok(to) = std::env::var("TOKIO_POSTGRES_TO") else {
        return; // the driver matrix sets it
    };
    let words: Vec<&str> = to.split(' ').collect();
    let &[host, address, port, user, password, database, tls, roots] = words.as_slice() else {
        panic!("{to}");
    };
    let mut config = Config::new();
    config
        .host(host)
        .hostaddr(address.parse().unwrap())
        .port(port.parse().unwrap());
    config.user(user).password(password).dbname(database);
    let make = match tls {
        "disable" => None,
        "require" => Some(MakeTls::unverified()),
        _ => Some(MakeTls::new(client_config(roots.as_ref()).unwrap())),
    };
    let client = match make.clone() {
        None => {
            let (client, connection) = config
                .ssl_mode(SslMode::Disable)
                .connect(NoTls)
                .await
                .unwrap();
            tokio::spawn(connection);
            client
        }
        Some(make) => {
            let (client, connection) = config
                .ssl_mode(SslMode::Require)
                .connect(make)
                .await
                .unwrap();
            tokio::spawn(connection);
            client
        }
    };
    talk(&client).await;
    cancel(&client, make).await;
}

async fn talk(client: &Client) {
    client
        .batch_execute("create temp table t_tokio (id int primary key, v text)")
        .await
        .unwrap();
    let row = client
        .query_one(
            "select $1::int4, $2::text, $3::bytea, $4::float8",
            &[
                &7_i32,
                &"naïve \\ 'text'",
                &b"\0\xff\n".as_slice(),
                &1.5_f64,
            ],
        )
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1)), (7_i32, "naïve \\ 'text'"));
    assert_eq!(
        (row.get::<_, &[u8]>(2), row.get::<_, f64>(3)),
        (b"\0\xff\n".as_slice(), 1.5)
    );
    println!("ok binary");

    let insert = client
        .prepare("insert into t_tokio values ($1, $2)")
        .await
        .unwrap();
    let values: Vec<(i32, String)> = (0..200).map(|n| (n, format!("v{n}"))).collect();
    // Polled together: all are sent before the first is answered.
    let all = values.iter().map(|(id, v)| {
        let params: [&(dyn ToSql + Sync); 2] = [id, v];
        let (client, insert) = (client, insert.clone());
        async move { client.execute(&insert, &params).await }
    });
    assert_eq!(
        futures_util::future::try_join_all(all).await.unwrap(),
        vec![1; 200]
    );
    println!("ok pipeline");

    let error = client
        .execute(&insert, &[&1_i32, &"again"])
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_eq!(
        error.as_db_error().unwrap().constraint(),
        Some("t_tokio_pkey")
    );

    let sink = client.copy_in("copy t_tokio from stdin").await.unwrap();
    pin_mut!(sink);
    for part in ["1000\tone\n10", "01\ttwo\n", "1002\t\\N\n"] {
        sink.send(Bytes::from_static(part.as_bytes()))
            .await
            .unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 3);
    let out =
        client.copy_out("copy (select * from t_tokio where id >= 1000 order by id) to stdout");
    let parts: Vec<Bytes> = out.await.unwrap().try_collect().await.unwrap();
    assert_eq!(parts.concat(), b"1000\tone\n1001\ttwo\n1002\t\\N\n");
    println!("ok copy");
}

async fn cancel(client: &Client, make: Option<MakeTls>) {
    let token = client.cancel_token();
    let slow = client.batch_execute("select pg_sleep(30)");
    let asked = async {
        // A cancel that comes before the statement is lost by design, so it is asked for again.
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let outcome = match make.clone() {
                None => token.cancel_query(NoTls).await,
                Some(make) => token.cancel_query(make).await,
            };
            outcome.unwrap();
        }
    };
    let error = tokio::select! {
        ended = slow => ended.unwrap_err(),
        () = asked => unreachable!("it asks for ever"),
        () = tokio::time::sleep(Duration::from_secs(15)) => panic!("no cancel in 15 s"),
    };
    assert_eq!(error.code(), Some(&SqlState::QUERY_CANCELED));
    client.batch_execute("select 1").await.unwrap();
    println!("ok cancel");
}
