//! Archives that ADD takes apart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use fstree::{Changeset, Content, FileIdentity, TreeError};
use store::{Store, TemporaryDirectory};

use crate::error::chain;

/// Where the contents of archives are kept for as long as somebody reads them.
pub(crate) struct Archives {
    store: Store,
    /// What was taken apart already, by the file it was. `None` was no archive.
    known: Mutex<BTreeMap<FileIdentity, Option<Changeset>>>,
    spools: Mutex<Vec<TemporaryDirectory>>,
}

impl Archives {
    pub(crate) fn new(store: &Store) -> Self {
        Self { store: store.clone(), known: Mutex::default(), spools: Mutex::default() }
    }
}

impl fstree::fileop::Unpack for Archives {
    fn unpack(&self, file: &Content) -> Result<Option<Changeset>, TreeError> {
        let Content::Disk(on_disk) = file else { return self.read(file) };
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&on_disk.identity()) {
            return Ok(known.clone());
        }
        let changes = self.read(file)?;
        known().insert(on_disk.identity(), changes.clone());
        Ok(changes)
    }
}

impl Archives {
    fn read(&self, file: &Content) -> Result<Option<Changeset>, TreeError> {
        let invalid = |error: &dyn std::error::Error| TreeError::Invalid(chain(error));
        let spool = self.store.temporary_directory().map_err(|error| invalid(&error))?;
        let reader = file.open().map_err(TreeError::io("open", "archive"))?;
        let changes =
            match layer::read_archive(reader, spool.path(), &layer::tar::Limits::default()) {
                Ok(changes) => changes,
                Err(layer::ArchiveError::NotAnArchive) => return Ok(None),
                Err(error) => return Err(invalid(&error)),
            };
        self.spools.lock().unwrap_or_else(PoisonError::into_inner).push(spool);
        Ok(Some(changes))
    }
}
