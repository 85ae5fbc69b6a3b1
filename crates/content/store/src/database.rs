//! The `SQLite` database: write-ahead log, short transactions, several processes at once.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::StoreError;

/// The newest layout of database and directory known to this version.
pub(crate) const LAYOUT: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE blob(digest TEXT PRIMARY KEY, size INTEGER NOT NULL, made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE layer_blob(digest TEXT PRIMARY KEY, diff_id TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL,
    form TEXT NOT NULL, compression TEXT NOT NULL, annotations TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX layer_blob_diff_id ON layer_blob(diff_id);
CREATE TABLE location(digest TEXT NOT NULL, repository TEXT NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY(digest, repository)) WITHOUT ROWID;
CREATE TABLE tree(id TEXT PRIMARY KEY, size INTEGER, made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE cache(id TEXT PRIMARY KEY, made INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE name(name TEXT PRIMARY KEY, digest TEXT NOT NULL, descriptor TEXT NOT NULL, made INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE record(namespace TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, made INTEGER NOT NULL,
    used INTEGER NOT NULL, PRIMARY KEY(namespace, key)) WITHOUT ROWID;
CREATE TABLE record_ref(namespace TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    PRIMARY KEY(namespace, key, kind, id)) WITHOUT ROWID;
CREATE INDEX record_ref_target ON record_ref(kind, id);
CREATE TABLE file_digest(device INTEGER NOT NULL, inode INTEGER NOT NULL, size INTEGER NOT NULL, mtime INTEGER NOT NULL,
    ctime INTEGER NOT NULL, digest TEXT NOT NULL, used INTEGER NOT NULL, PRIMARY KEY(device, inode)) WITHOUT ROWID;
CREATE TABLE build(id INTEGER PRIMARY KEY, made INTEGER NOT NULL, record TEXT NOT NULL);
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counter VALUES('roots', 0);
";

/// Whether a commit survives a power cut, or only the death of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commit {
    /// What a user was told is done.
    Durable,
    /// What can be made again.
    Lazy,
}

pub(crate) struct Database {
    dir: PathBuf,
    connection: Mutex<Option<(Connection, Commit)>>,
}

impl Database {
    /// Nothing is opened before the first use.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), connection: Mutex::new(None) }
    }

    fn connection(&self) -> Result<MutexGuard<'_, Option<(Connection, Commit)>>, StoreError> {
        let mut guard = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if guard.is_none() {
            *guard = Some((open(&self.dir)?, Commit::Lazy));
        }
        Ok(guard)
    }

    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let guard = self.connection()?;
        match guard.as_ref() {
            Some((connection, _)) => query(connection).map_err(failed(doing)),
            None => Err(StoreError::Locked { what: "the database", holder: None }),
        }
    }

    /// One short transaction. `change` must not wait for anything.
    pub(crate) fn write<T>(
        &self,
        doing: &'static str,
        commit: Commit,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let mut guard = self.connection()?;
        let Some((connection, current)) = guard.as_mut() else {
            return Err(StoreError::Locked { what: "the database", holder: None });
        };
        let run = || {
            if *current != commit {
                let level = if commit == Commit::Durable { "FULL" } else { "NORMAL" };
                connection.pragma_update(None, "synchronous", level)?;
                *current = commit;
            }
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = change(&transaction)?;
            transaction.commit()?;
            Ok(value)
        };
        run().map_err(failed(doing))
    }
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
    move |error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => {
            StoreError::Locked { what: "the store's database", holder: None }
        }
        _ => StoreError::Database { doing, source: Box::new(error) },
    }
}

fn open(dir: &Path) -> Result<Connection, StoreError> {
    let doing = "open the tables";
    let path = dir.join("store.db");
    let mut connection = Connection::open(&path).map_err(failed(doing))?;
    let prepared = (|| {
        connection.busy_handler(Some(wait_a_little))?;
        // The log is folded in when it has grown, not at the end of every command.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(
            "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=256; PRAGMA temp_store=MEMORY;",
        )?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
    })();
    match prepared.map_err(failed(doing))? {
        LAYOUT => {}
        0 => create(&mut connection).map_err(failed("make the tables"))?,
        found => return Err(StoreError::Newer { dir: dir.to_owned(), found, known: LAYOUT }),
    }
    Ok(connection)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // SQLite does not call the busy handler while another process changes the journal mode.
    let mut tries = 0;
    while let Err(error) = connection.pragma_update(None, "journal_mode", "WAL") {
        tries += 1;
        if error.sqlite_error_code() != Some(rusqlite::ErrorCode::DatabaseBusy) || tries > 5000 {
            return Err(error);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
    }
    transaction.commit()
}

/// `SQLite`'s own handler waits longer and longer, so that a late comer overtakes; equal short waits are fairer.
fn wait_a_little(tries: i32) -> bool {
    std::thread::sleep(Duration::from_millis(if tries < 4 { 1 } else { 3 }));
    tries < 20_000
}

/// `SQLite` knows signed numbers only; sizes fit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
