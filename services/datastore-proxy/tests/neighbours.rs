//! Several control planes on one database server, each with the rights that docs/datastore.md gives it: what one of them
//! can do to another, when whoever holds its password is hostile.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests may stop at the first surprise"
)]

mod support;

use datastore_proxy::config::{Config, DatabaseConfig};
use sextant_proto::etcd::etcdserverpb as pb;
use sextant_testkit::documented;
use support::database::{Server, User, on_each_server};
use support::{Served, list};

on_each_server! {
    the_documented_rights_are_enough_and_lead_to_no_neighbour,
}

/// What an administrator of the server runs for each plane, as it is documented.
const POSTGRES: &str = "\
CREATE ROLE plane_a LOGIN CONNECTION LIMIT 60;
GRANT CONNECT ON DATABASE sextant TO plane_a;
CREATE SCHEMA plane_a AUTHORIZATION plane_a;
";
const MYSQL: &str = "\
CREATE DATABASE plane_a;
CREATE USER plane_a@'%' IDENTIFIED BY '…' WITH MAX_USER_CONNECTIONS 60;
GRANT ALL ON `plane\\_a`.* TO plane_a@'%';
";

#[test]
fn the_rights_are_documented() {
    for (name, statements) in [("planes-postgres", POSTGRES), ("planes-mysql", MYSQL)] {
        documented("datastore.md", name, &format!("```sql\n{statements}```\n"));
    }
}

/// A plane called `name`, made as documented; its password.
async fn plane(server: &Server, name: &str) -> String {
    let password = format!("{:032x}", rand::random::<u128>());
    let statements = match server {
        Server::Postgres(_) => POSTGRES.replace("DATABASE sextant", "DATABASE postgres"),
        Server::MariaDb(_) => MYSQL.replace('…', &password),
    };
    let escaped = name.replace('_', "\\_");
    let statements = statements.replace("plane\\_a", &escaped);
    server
        .administer(&statements.replace("plane_a", name))
        .await;
    password
}

async fn the_documented_rights_are_enough_and_lead_to_no_neighbour(server: Server) {
    if let Server::Postgres(_) = server {
        let once = "REVOKE ALL ON DATABASE postgres FROM PUBLIC";
        server.administer(once).await;
    }
    let folder = tempfile::tempdir().unwrap();
    // In a MySQL grant `_` stands for any character: the attacker's database is called as such a grant would match.
    let (attacker, victim) = ("plane_b", "planexb");
    let password = plane(&server, attacker).await;
    let other = plane(&server, victim).await;
    let config = |user: &str, plane: &str, password: &str| {
        let file = folder.path().join(format!("{user}-{plane}"));
        std::fs::write(&file, password).unwrap();
        Config {
            database: DatabaseConfig {
                password_file: Some(file),
                ..DatabaseConfig::default()
            },
            ..support::replica(&server.endpoint_of(user, plane))
        }
    };
    let served = Served::start_with(config(victim, victim, &other)).await;
    works(&served).await;
    let own = Served::start_with(config(attacker, attacker, &password)).await;
    works(&own).await;

    let connections = server.number(&connections(&server, victim)).await;
    assert!((1..=12).contains(&connections), "{connections}");

    let starting = Served::told(config(attacker, victim, &password), " denied").await;
    starting.trigger.start();
    let user = User {
        name: attacker,
        password: &password,
    };
    for attack in attacks(&server, victim).await {
        let done = server.execute(user, &attack).await;
        assert!(done.is_err(), "done: {attack}");
    }
    // The attacks fail since they are refused, not since the statements are wrong.
    let harmless =
        format!("SELECT value FROM {attacker}.log; UPDATE {attacker}.log SET value = value");
    server.execute(user, &harmless).await.unwrap();

    works(&served).await;
    own.stop().await;
    served.stop().await;
}

/// How many a plane's user has open: a dozen at most, as it is documented.
fn connections(server: &Server, user: &str) -> String {
    match server {
        Server::Postgres(_) => {
            format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}'")
        }
        Server::MariaDb(_) => {
            format!("SELECT count(*) FROM information_schema.processlist WHERE user = '{user}'")
        }
    }
}

/// All that a plane asks of a database.
async fn works(served: &Served) {
    let mut clients = served.clients().await;
    let lease = clients
        .lease
        .lease_grant(pb::LeaseGrantRequest { id: 0, ttl: 600 });
    let lease = lease.await.unwrap().into_inner().id;
    for number in 0..20 {
        let leased = pb::PutRequest {
            lease,
            ..support::put(&format!("k/{number}"), "v")
        };
        clients.kv.put(leased).await.unwrap();
    }
    let revision = clients.put("k", "v").await;
    let compaction = pb::CompactionRequest {
        revision,
        physical: true,
    };
    clients.kv.compact(compaction).await.unwrap();
    let revoke = pb::LeaseRevokeRequest { id: lease };
    clients.lease.lease_revoke(revoke).await.unwrap();
    let defragment = pb::DefragmentRequest {};
    clients.maintenance.defragment(defragment).await.unwrap();
    let left = clients.kv.range(list("k")).await.unwrap().into_inner();
    assert_eq!(left.count, 1);
    let status = clients.maintenance.status(pb::StatusRequest {});
    assert!(status.await.unwrap().into_inner().db_size > 0);
}

/// What somebody with another plane's password would try.
async fn attacks(server: &Server, victim: &str) -> Vec<String> {
    let thread = format!(
        "SELECT CAST(max(id) AS SIGNED) FROM information_schema.processlist WHERE user = '{victim}'"
    );
    let common = [
        format!("SELECT value FROM {victim}.log"),
        format!("SELECT value FROM {victim}.meta"),
        format!("INSERT INTO {victim}.meta (name, value) VALUES ('x', 1)"),
        format!("UPDATE {victim}.log SET value = ''"),
        format!("DELETE FROM {victim}.log"),
        format!("DROP TABLE {victim}.log"),
        format!("CREATE TABLE {victim}.mine (x int)"),
        format!("CREATE VIEW stolen AS SELECT * FROM {victim}.log"),
    ];
    let own = match server {
        Server::Postgres(_) => vec![
            format!("SET ROLE {victim}"),
            format!("ALTER ROLE {victim} PASSWORD 'x'"),
            format!("GRANT {victim} TO plane_b"),
            format!("DROP SCHEMA {victim} CASCADE"),
            format!("LOCK TABLE {victim}.log IN ACCESS EXCLUSIVE MODE"),
            format!("SELECT pg_size_pretty(pg_relation_size('{victim}.log'))"),
            "CREATE SCHEMA another".to_owned(),
            "CREATE TABLE public.mine (x int)".to_owned(),
            "SELECT rolpassword FROM pg_authid".to_owned(),
            "SELECT pg_read_file('pg_hba.conf')".to_owned(),
            "COPY (SELECT 1) TO PROGRAM 'true'".to_owned(),
            "ALTER SYSTEM SET fsync = off".to_owned(),
            format!(
                "DO $$ BEGIN IF (SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE usename = '{victim}') = 0 THEN RAISE EXCEPTION 'nobody seen'; END IF; END $$"
            ),
        ],
        Server::MariaDb(_) => vec![
            format!("SHOW TABLES FROM {victim}"),
            format!("LOCK TABLES {victim}.log WRITE"),
            format!("DROP DATABASE {victim}"),
            format!("SET PASSWORD FOR {victim}@'%' = PASSWORD('x')"),
            format!("GRANT ALL ON {victim}.* TO plane_b@'%'"),
            format!("KILL {}", server.number(&thread).await),
            "CREATE DATABASE another".to_owned(),
            "SELECT authentication_string FROM mysql.user".to_owned(),
            "SET GLOBAL innodb_flush_log_at_trx_commit = 0".to_owned(),
            "SELECT 1 INTO OUTFILE '/tmp/out'".to_owned(),
            "FLUSH TABLES WITH READ LOCK".to_owned(),
        ],
    };
    common.into_iter().chain(own).collect()
}
