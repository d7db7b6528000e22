//! Refusals that take a hand in the database.

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor};

use super::Door::{Gateway, OAuth, V1};
use super::Rows;
use crate::device::Device;
use crate::postgres;
use crate::support::disk::block_on;
use crate::support::{Install, Request, eventually};

pub(super) fn play(rows: &mut Rows) {
    faults(rows);
    blind(rows);
    elsewhere(rows);
}

/// Changes the database under the server.
fn sql(install: &Install, statement: &str) {
    let path = install.host.data_dir().join("hardtack.db");
    block_on(async {
        let mut database = SqliteConnectOptions::new()
            .filename(path)
            .connect()
            .await
            .unwrap();
        let statement = AssertSqlSafe(statement.to_owned());
        database.execute(sqlx::raw_sql(statement)).await.unwrap();
    });
}

fn faults(rows: &mut Rows) {
    let install = Install::new();
    let (server, local) = (&install.server, install.local());
    let paired = install.pair(1, "operator.read");
    let ask = Request::post("/v1/pairing-requests").json(&json!({"scopes": ["operator.read"]}));
    sql(
        &install,
        "CREATE UNIQUE INDEX one_role ON pairing_request (role)",
    );
    let answer = server.prove(&Device::new(2), &ask);
    rows.keep(server, V1, "409 conflict", &answer);
    sql(
        &install,
        "DROP INDEX one_role; UPDATE pairing_request SET scopes = '!'",
    );
    let list = Request::get("/v1/pairing-requests");
    rows.keep(server, V1, "500 internal", &server.call(&local, &list));
    sql(
        &install,
        "UPDATE pairing_request SET scopes = 'operator.read'",
    );
    sql(&install, "DELETE FROM grant_ WHERE local = 0");
    let answer = server.call(&paired, &Request::get("/v1/whoami"));
    rows.keep(server, V1, "401 unknown_grant", &answer);
    // Rotated, and the new secret is not here.
    std::fs::remove_file(install.host.data_dir().join("secret.key")).unwrap();
    sql(
        &install,
        "UPDATE install SET keys_version = keys_version + 1, key_check = zeroblob(32)",
    );
    let answer = server.call(&local, &Request::get("/v1/whoami"));
    rows.keep(server, V1, "503 not_ready", &answer);
}

/// A node that cannot read its database any more.
fn blind(rows: &mut Rows) {
    let install = Install::new();
    let server = &install.server;
    let paired = install.pair(1, "operator.read");
    let token = server.token(&paired);
    sql(&install, "ALTER TABLE install RENAME TO elsewhere");
    let stale = eventually("the gateway denies", || {
        let answer = server.through(&token, Request::get("/api/x"));
        (answer.member("code") != "no_upstream").then_some(answer)
    });
    rows.keep(server, Gateway, "503 revocations_stale", &stale);
}

/// What only PostgreSQL says, or a database that is gone.
fn elsewhere(rows: &mut Rows) {
    let url = block_on(postgres::new_database());
    let install = Install::with(&["--database-url", &url]);
    let server = &install.server;
    let backup = Request::post("/v1/backup");
    let answer = server.call(&install.local(), &backup);
    rows.keep(server, V1, "422 no_backup", &answer);
    let paired = install.pair(1, "operator.read");
    crate::nodes::open_to_all(&url, false);
    let answer = server.call(&paired, &Request::get("/v1/whoami"));
    rows.keep(server, V1, "503 store_unavailable", &answer);
    let answer = server.exchange(&paired, &[]);
    rows.keep(server, OAuth, "503 store_unavailable", &answer);
    crate::nodes::open_to_all(&url, true);
}
