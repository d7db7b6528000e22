//! What lies on the disk, to be searched for what must not be there.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use hardtack::store::{DatabaseUrl, Store};
use sqlx::{AssertSqlSafe, SqlitePool};

use super::machine::Machine;

/// Something that must be nowhere, in every form that it could be written in.
pub(crate) struct Secret {
    forms: Vec<Vec<u8>>,
}

impl Secret {
    pub(crate) fn bytes(raw: &[u8]) -> Self {
        let base64 = URL_SAFE.encode(raw);
        let unpadded = base64.trim_end_matches('=').to_owned();
        let texts = [hex::encode(raw), hex::encode_upper(raw), unpadded];
        let texts = texts.map(String::into_bytes);
        Self {
            forms: [raw.to_vec()].into_iter().chain(texts).collect(),
        }
    }

    /// A token: its text, and the bytes of it.
    pub(crate) fn token(text: &str) -> Self {
        Self::bytes(&URL_SAFE.decode(text).unwrap())
    }

    pub(crate) fn is_in(&self, text: &[u8]) -> bool {
        let holds = |form: &Vec<u8>| text.windows(form.len()).any(|window| window == form);
        self.forms.iter().any(holds)
    }
}

impl Machine {
    /// The names and contents of all files in the data directory.
    pub(crate) fn files(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        collect(&self.data_dir(), &mut files);
        files
    }

    /// All rows of all tables, as SQL literals.
    pub(crate) fn tables(&self) -> String {
        let path = self.data_dir().join("hardtack.db");
        block_on(async {
            let pool = SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
            let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
            let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&pool).await.unwrap();
            let mut dump = String::new();
            for table in tables {
                let columns = "SELECT group_concat(format('quote(%s)', name), '||'' ''||') FROM pragma_table_info($1)";
                let columns: String = sqlx::query_scalar(columns)
                    .bind(&table)
                    .fetch_one(&pool)
                    .await
                    .unwrap();
                let rows = AssertSqlSafe(format!("SELECT {columns} FROM {table}"));
                let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&pool).await.unwrap();
                dump.push_str(
                    &[&[table], rows.as_slice(), &[String::new()]]
                        .concat()
                        .join("\n"),
                );
            }
            pool.close().await;
            dump
        })
    }

    pub(crate) async fn store(&self) -> Store {
        let url = DatabaseUrl::in_data_dir(&self.data_dir());
        Store::open(&url).await.unwrap()
    }
}

fn collect(dir: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            files.push((name, std::fs::read(&path).unwrap()));
        }
    }
}

/// Runs what the library does asynchronously.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}
