//! The two databases have the same migrations, tables and columns.

use std::collections::BTreeSet;
use std::fs;

use hardtack::store::{DatabaseUrl, Store};
use sqlx::Row;

fn migrations(database: &str) -> BTreeSet<String> {
    let dir = format!("{}/migrations/{database}", env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_dir(dir).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn both_databases_have_the_same_migrations() {
    assert_eq!(migrations("sqlite"), migrations("postgres"));
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Store::open(&DatabaseUrl::in_data_dir(dir.path())).await;
    let postgres = DatabaseUrl::Postgres(crate::postgres::new_database().await);
    let postgres = Store::open(&postgres).await;
    let (Ok(Store::Sqlite { read, .. }), Ok(Store::Postgres(pool))) = (sqlite, postgres) else {
        panic!("the databases do not open");
    };
    let sqlite = sqlx::query(
        "SELECT m.name, c.name, c.\"notnull\" OR c.pk > 0 FROM sqlite_schema m, pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND m.name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND m.name NOT LIKE 'sqlite%'",
    )
    .fetch_all(&read)
    .await
    .unwrap();
    let postgres = sqlx::query(
        "SELECT table_name::text, column_name::text, is_nullable = 'NO' FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name NOT LIKE '\\_sqlx%'",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    let sqlite: BTreeSet<(String, String, bool)> = sqlite
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let postgres: BTreeSet<(String, String, bool)> = postgres
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert!(sqlite.len() > 50);
    assert_eq!(sqlite, postgres);
}
