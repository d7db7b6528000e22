//! The authority in process, with a clock that is moved by hand: the whole
//! suite on SQLite and on PostgreSQL.

#[cfg(test)]
#[path = "../support/device.rs"]
mod device;
#[cfg(test)]
mod parity;
#[cfg(test)]
#[path = "../support/postgres.rs"]
mod postgres;

#[cfg(test)]
#[path = "suite/mod.rs"]
mod on_sqlite;

#[cfg(test)]
#[path = "suite/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the same tests on another database")]
mod on_postgres;
